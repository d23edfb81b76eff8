//! Workers on a real PostgreSQL.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod faults;
mod flaky;
mod foreign;
mod leaving;
mod limits;
mod outcomes;
mod priorities;
mod progress;
mod sharing;
mod stage;
mod suspects;
mod workflows;
