//! What happens around every request.

mod context;
mod headers;
mod metrics;

pub use context::RequestContext;
pub(crate) use context::observe;
pub(crate) use headers::harden;
pub use metrics::{DURATION_BUCKETS, describe};
