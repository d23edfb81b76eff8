//! The harness of the end-to-end tests: databases of their own, servers, fakes.

pub mod chaos;
mod database;
pub mod fakes;
pub mod kit;
pub mod program;
pub mod proxy;
pub mod seed;

pub use database::{TestDb, redis_url, server_url};
