//! riverqueue: River for Rust.

use super::{Queue, execute, postgres};
use crate::job::{Nothing, Tally};
use riverqueue::migrate::PostgresMigrator;
use riverqueue::{BoxError, Client, Job, QueueConfig, WorkContext, WorkOutcome, Workers};
use sqlx::PgPool;
use std::time::Duration;

/// More do not help; its default of 64 with a cooldown of 100 ms is some seventy times slower.
const WORKERS: usize = 1000;

/// A client that only inserts, and the connections for one that works.
pub struct River {
    pool: PgPool,
    client: Client,
}

impl Queue for River {
    const SINGLY: &'static str = "riverqueue insert";
    const BATCHED: &'static str = "riverqueue insert_many";

    async fn connect() -> anyhow::Result<Self> {
        let pool = postgres().await?;
        PostgresMigrator::new(pool.clone()).migrate_up().await?;
        let client = Client::builder(pool.clone()).build()?;
        Ok(Self { pool, client })
    }

    async fn empty(&self) -> anyhow::Result<()> {
        execute(&self.pool, "truncate river_job").await
    }

    async fn add(&self, job: Nothing) -> anyhow::Result<()> {
        self.client.insert(job).await?;
        Ok(())
    }

    async fn add_all(&self, jobs: Vec<Nothing>) -> anyhow::Result<()> {
        self.client.insert_many(jobs).await?;
        Ok(())
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        execute(&self.pool, "vacuum analyze river_job").await
    }

    async fn work(&self, tally: Tally) -> anyhow::Result<()> {
        let mut workers = Workers::new();
        workers.add_fn(move |_: WorkContext, _: Job<Nothing>| {
            tally.count();
            async { Ok::<_, BoxError>(WorkOutcome::Complete) }
        })?;
        let client = Client::builder(self.pool.clone())
            .workers(workers)
            .fetch_cooldown(Duration::from_millis(1))
            .queue("default", QueueConfig::new(WORKERS))
            .build()?;
        client.start()?.wait().await?;
        Ok(())
    }
}
