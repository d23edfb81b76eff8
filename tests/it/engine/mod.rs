//! The queue on a real PostgreSQL.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod bulk;
mod bulk_features;
mod churn;
mod claim;
mod cut_off;
mod deadline;
mod effects;
mod enqueue;
mod errors;
mod forgetting;
mod jobs_tx;
mod leases;
mod limits;
mod model;
mod once;
mod operators;
mod parking;
mod plans;
mod presence;
mod progress;
mod random;
mod retention;
mod roles;
mod sealed;
mod search;
mod settle;
mod slices;
mod sql_enqueue;
pub mod support;
mod uniques;
mod versions;
mod why;
mod workflows;
mod workflows_many;
mod workflows_random;
