//! The operators' dashboard over HTTP.
#![allow(clippy::unwrap_used)]

mod access;
mod actions;
mod live;
mod screens;
pub mod support;
