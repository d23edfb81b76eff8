//! Switchyard, the program: it reads the configuration, puts the parts together and runs them.
//! Also a library, so that the tests start the same private servers and read the same settings.

pub mod backups;
pub mod cli;
pub mod compose;
pub mod config;
mod database_help;
pub mod demo;
mod doctor;
pub mod fault;
pub mod folder;
pub mod local;
pub mod logging;
mod metrics_server;
pub mod portal_file;
mod redis_ping;
pub mod signals;
mod supervise;
pub mod up;

pub use fault::Fault;
