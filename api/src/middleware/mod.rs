//! What happens around every request.

mod context;
mod headers;

pub use context::RequestContext;
pub(crate) use context::observe;
pub(crate) use headers::harden;
