//! The queue's tables: enqueue, claim, settle.

pub(crate) mod enqueue;
pub(crate) mod settle;
