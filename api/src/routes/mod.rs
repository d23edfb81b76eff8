//! The routes, a file a resource.

pub(crate) mod admin_auth;
pub(crate) mod agencies;
pub(crate) mod health;
pub(crate) mod metrics;
