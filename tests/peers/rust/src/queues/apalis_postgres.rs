//! apalis-postgres.

use super::{Queue, execute, postgres, worker_name};
use crate::job::{Nothing, Tally};
use apalis::prelude::{
    BackendExt as _, BoxDynError, Data, ParallelizeExt as _, TaskSink as _, WorkerBuilder,
};
use apalis_postgres::{Config, PostgresStorage};
use sqlx::PgPool;
use std::time::Duration;

/// Its storage of our job.
pub struct ApalisPostgres {
    pool: PgPool,
}

impl ApalisPostgres {
    /// Makes its tables.
    pub async fn set_up() -> anyhow::Result<PgPool> {
        let pool = postgres().await?;
        PostgresStorage::<()>::setup(&pool).await?;
        Ok(pool)
    }

    fn storage(&self) -> PostgresStorage<Nothing> {
        let config = Config::default().queue("peers").batch_size(500).lock_tasks(false);
        PostgresStorage::new(&self.pool).with_config(config)
    }
}

impl Queue for ApalisPostgres {
    const SINGLY: &'static str = "apalis-postgres push";
    const BATCHED: &'static str = "apalis-postgres push_bulk";

    async fn connect() -> anyhow::Result<Self> {
        Ok(Self { pool: Self::set_up().await? })
    }

    async fn empty(&self) -> anyhow::Result<()> {
        execute(&self.pool, "truncate apalis.jobs cascade").await
    }

    async fn add(&self, job: Nothing) -> anyhow::Result<()> {
        Ok(self.storage().push(job).await?)
    }

    async fn add_all(&self, jobs: Vec<Nothing>) -> anyhow::Result<()> {
        Ok(self.storage().push_bulk(jobs).await?)
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        execute(&self.pool, "vacuum analyze apalis.jobs").await
    }

    async fn work(&self, tally: Tally) -> anyhow::Result<()> {
        let worker = WorkerBuilder::new(worker_name())
            .backend(self.storage().poll_with_interval(Duration::from_millis(5)))
            .data(tally)
            .parallelize(tokio::spawn)
            .build(nothing);
        Ok(worker.run().await?)
    }
}

/// The handler of both apalis queues.
pub async fn nothing(_: Nothing, tally: Data<Tally>) -> Result<(), BoxDynError> {
    tally.count();
    Ok(())
}
