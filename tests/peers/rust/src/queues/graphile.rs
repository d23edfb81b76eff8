//! `graphile_worker`: Graphile Worker for Rust.

use super::{Queue, execute, postgres};
use crate::job::{Nothing, Tally};
use anyhow::Context as _;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions,
    WorkerUtils,
};
use sqlx::PgPool;
use std::time::Duration;

/// Not the name that the Node edition uses: both may live in one database, at different revisions.
const SCHEMA: &str = "graphile_worker_rust";

impl TaskHandler for Nothing {
    const IDENTIFIER: &'static str = "nothing";

    async fn run(self, cx: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(tally) = cx.get_ext::<Tally>() {
            tally.count();
        }
        Ok::<(), String>(())
    }
}

/// What adds jobs, and the connections for what runs them.
pub struct Graphile {
    pool: PgPool,
    utils: WorkerUtils,
}

impl Queue for Graphile {
    const SINGLY: &'static str = "graphile_worker (Rust) add_job";
    const BATCHED: &'static str = "graphile_worker (Rust) add_jobs";

    async fn connect() -> anyhow::Result<Self> {
        let pool = postgres().await?;
        let utils = WorkerUtils::new(pool.clone(), SCHEMA);
        utils.migrate().await.context("graphile_worker could not make its tables")?;
        Ok(Self { pool, utils })
    }

    async fn empty(&self) -> anyhow::Result<()> {
        execute(&self.pool, "truncate graphile_worker_rust._private_jobs cascade").await
    }

    async fn add(&self, job: Nothing) -> anyhow::Result<()> {
        self.utils.add_job(job, JobSpec::default()).await?;
        Ok(())
    }

    async fn add_all(&self, jobs: Vec<Nothing>) -> anyhow::Result<()> {
        let spec = JobSpec::default();
        let jobs: Vec<(Nothing, &JobSpec)> = jobs.into_iter().map(|job| (job, &spec)).collect();
        self.utils.add_jobs(&jobs).await?;
        Ok(())
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        execute(&self.pool, "vacuum analyze graphile_worker_rust._private_jobs").await
    }

    async fn work(&self, tally: Tally) -> anyhow::Result<()> {
        let worker = WorkerOptions::default()
            .schema(SCHEMA)
            .pg_pool(self.pool.clone())
            .concurrency(10)
            .local_queue(LocalQueueConfig::default().with_size(500))
            .complete_job_batch_delay(Duration::from_millis(1))
            .fail_job_batch_delay(Duration::from_millis(1))
            .add_extension(tally)
            .define_job::<Nothing>()
            .init()
            .await?;
        worker.run().await?;
        Ok(())
    }
}
