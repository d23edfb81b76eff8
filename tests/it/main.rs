//! End-to-end tests on real servers, a file an area.
#![allow(missing_docs)] // tests are documented by their names

mod api;
mod backup;
mod browser;
mod cli;
mod commissions;
mod dashboard;
mod deploy;
mod docs;
mod engine;
mod imports;
mod kit;
mod line;
mod migrations;
mod outbound;
mod providers;
mod rough;
mod scheduler;
mod up;
mod wake;
mod workers;
