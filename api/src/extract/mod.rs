//! Extractors whose refusals are in the envelope.

mod body;
mod json;
mod page;
mod parts;

pub(crate) use body::read_body;
pub(crate) use json::{ApiJson, BatchJson};
pub(crate) use page::{Paging, paged};
pub(crate) use parts::{ApiPath, ApiQuery, IdempotencyKey};
