//! The HTTP front: webhooks, the agencies' and the administrators' routes, health, documentation,
//! and the operators' dashboard. Handlers parse, call and map; SQL is in `store`.

mod api;
mod audit;
pub mod auth;
mod config;
pub mod dashboard;
mod door;
mod envelope;
mod error;
mod extract;
mod ingest;
mod middleware;
mod openapi;
pub mod orders;
pub mod password;
mod portals;
mod router;
mod routes;
mod serve;

pub use api::{Api, ApiParts, Inner, Kinds, Probe, ProbeFuture};
pub use config::{ApiConfig, IngestConfig, ThrottleConfig};
pub use envelope::{Answer, Envelope, Page, Reply};
pub use error::{ApiError, ErrorBody, ErrorEnvelope};
pub use middleware::{DURATION_BUCKETS, RequestContext};
pub use portals::is_code as is_portal_code;
pub(crate) use router::app;
pub use router::{openapi, router};
pub use serve::serve;
