//! keygate: an authenticating reverse proxy and ingestion gateway.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod drain;
pub mod keys;
pub mod proxy;
pub mod store;
pub mod telemetry;
