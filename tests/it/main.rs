//! End-to-end tests on real servers, a file an area.
#![allow(missing_docs)] // tests are documented by their names

mod browser;
mod dashboard;
mod engine;
mod migrations;
