//! The routes, a file a resource.

pub(crate) mod admin_auth;
pub(crate) mod agencies;
pub(crate) mod bulk;
pub(crate) mod endpoints;
pub(crate) mod errors;
pub(crate) mod events;
pub(crate) mod health;
mod job_views;
pub(crate) mod jobs;
pub(crate) mod jobs_enqueue;
pub(crate) mod limits;
pub(crate) mod line;
pub(crate) mod metrics;
pub(crate) mod own_leads;
pub(crate) mod portal_doors;
pub(crate) mod portal_steer;
pub(crate) mod portals;
pub(crate) mod queues;
pub(crate) mod replays;
pub(crate) mod search;
pub(crate) mod territories;
mod views;
pub(crate) mod webhooks;
mod workflow_views;
pub(crate) mod workflows;
