//! The queues, a file each, behind one trait.

pub mod apalis_postgres;
pub mod apalis_redis;
pub mod graphile;
pub mod river;

use crate::job::{Nothing, Tally};
use anyhow::Context as _;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the benches need of a queue.
pub trait Queue: Sized {
    /// How it enqueues one job, for the table of figures.
    const SINGLY: &'static str;
    /// How it enqueues many.
    const BATCHED: &'static str;

    /// Connects, and makes its tables if they are not there.
    async fn connect() -> anyhow::Result<Self>;

    /// Removes all jobs.
    async fn empty(&self) -> anyhow::Result<()>;

    /// Enqueues one; durable (as far as the queue goes) when it returns.
    async fn add(&self, job: Nothing) -> anyhow::Result<()>;

    /// Enqueues all in one call.
    async fn add_all(&self, jobs: Vec<Nothing>) -> anyhow::Result<()>;

    /// What is fair to do before the clock of `work` starts.
    async fn prepare(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Works until it is dropped; returns only if it cannot go on.
    async fn work(&self, tally: Tally) -> anyhow::Result<()>;
}

/// Connections to the peers' database, as many as callers in flight.
pub async fn postgres() -> anyhow::Result<PgPool> {
    let url = std::env::var("PG_URL").context("PG_URL must say where the database is")?;
    let pool = PgPoolOptions::new().max_connections(50).connect(&url).await;
    pool.context("no connection to the database that PG_URL names")
}

/// Runs SQL that has no parameters.
pub async fn execute(pool: &PgPool, sql: &'static str) -> anyhow::Result<()> {
    sqlx::raw_sql(sql).execute(pool).await.context(sql)?;
    Ok(())
}

/// A name that no worker had before: apalis takes one that is registered for alive.
pub fn worker_name() -> String {
    static WORKERS: AtomicU64 = AtomicU64::new(0);
    format!("peers-{}-{}", std::process::id(), WORKERS.fetch_add(1, Ordering::Relaxed))
}
