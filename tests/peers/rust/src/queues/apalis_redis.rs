//! apalis-redis.

use super::apalis_postgres::nothing;
use super::{Queue, worker_name};
use crate::job::{Nothing, Tally};
use anyhow::Context as _;
use apalis::prelude::{BackendExt as _, ParallelizeExt as _, TaskSink as _, WorkerBuilder};
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use redis::AsyncCommands as _;
use std::time::Duration;

/// Its storage of our job.
pub struct ApalisRedis {
    connection: ConnectionManager,
    config: Config,
}

impl ApalisRedis {
    /// A queue that is set up like this.
    pub async fn with(config: Config) -> anyhow::Result<Self> {
        Ok(Self { connection: connect().await?, config })
    }

    /// What adds jobs and hands them out.
    pub fn storage(&self) -> RedisStorage<Nothing> {
        RedisStorage::new(self.connection.clone()).with_config(self.config.clone())
    }
}

/// A connection to a database of its own (1), which benches and faults may flush.
pub async fn connect() -> anyhow::Result<ConnectionManager> {
    let port = std::env::var("REDIS_PORT").unwrap_or_else(|_| "6379".to_owned());
    let connection = apalis_redis::connect(format!("redis://127.0.0.1:{port}/1")).await;
    connection.with_context(|| format!("no Redis on port {port} (REDIS_PORT)"))
}

impl Queue for ApalisRedis {
    const SINGLY: &'static str = "apalis-redis push";
    const BATCHED: &'static str = "apalis-redis push_bulk";

    async fn connect() -> anyhow::Result<Self> {
        let config = Config::default().queue("peers").batch_size(500);
        Self::with(config.lock_tasks(false).emit_events(false)).await
    }

    async fn empty(&self) -> anyhow::Result<()> {
        let mut connection = self.connection.clone();
        redis::cmd("FLUSHDB").query_async::<()>(&mut connection).await?;
        Ok(())
    }

    async fn add(&self, job: Nothing) -> anyhow::Result<()> {
        Ok(self.storage().push(job).await?)
    }

    async fn add_all(&self, jobs: Vec<Nothing>) -> anyhow::Result<()> {
        Ok(self.storage().push_bulk(jobs).await?)
    }

    /// It pushes every job as if it were to run later, and 8,000 due at once wedge it (the fault
    /// `redis-many-due`). So they are moved to where its own worker would have moved them.
    async fn prepare(&self) -> anyhow::Result<()> {
        let mut connection = self.connection.clone();
        let (scheduled, active) =
            (self.config.scheduled_jobs_set(), self.config.active_jobs_list());
        loop {
            let due: Vec<String> = connection.zrange(&scheduled, 0, 999).await?;
            if due.is_empty() {
                return Ok(());
            }
            let mut both = redis::pipe();
            both.atomic().rpush(&active, &due).ignore().zrem(&scheduled, &due).ignore();
            both.query_async::<()>(&mut connection).await?;
        }
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
