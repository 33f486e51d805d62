//! keygate: an authenticating reverse proxy and ingestion gateway.

pub mod config;
pub mod demo;
pub mod drain;
pub mod keys;
pub mod proxy;
pub mod telemetry;
