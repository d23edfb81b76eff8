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
pub mod support;
mod workflows;
