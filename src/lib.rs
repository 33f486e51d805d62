//! keygate: an authenticating reverse proxy and ingestion gateway.

pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod keys;
pub mod store;
