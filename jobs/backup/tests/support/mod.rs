//! What the tests share: a private PostgreSQL, databases on it, a schema that is hard to back up, and
//! writers that keep it busy.

#![allow(dead_code, unused_imports, reason = "no test program uses all of it")]

pub mod child;
pub mod kit;
pub mod replay;
pub mod server;
pub mod shop;
pub mod vault;
pub mod writers;

pub use server::{Database, Server};
pub use vault::TestVault;
