//! The operators' dashboard over HTTP.
#![allow(clippy::unwrap_used)]

mod access;
mod actions;
mod commissions;
mod endpoints;
mod limits;
mod live;
mod progress;
mod screens;
mod steer;
pub mod support;
mod taken_back;
mod workflows;
