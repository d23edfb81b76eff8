//! apalis-postgres 1.0.0.

use super::{Verdict, ended_before};
use crate::job::Tally;
use crate::queues::apalis_postgres::ApalisPostgres;
use crate::queues::{execute, worker_name};
use anyhow::bail;
use apalis::prelude::{BackendExt as _, BoxDynError, Data, TaskSink as _, WorkerBuilder};
use apalis_postgres::{Config, PostgresStorage};
use std::time::Duration;

/// `max_attempts` unless a task says otherwise.
const ATTEMPTS: u64 = 25;
/// Any pause between attempts makes them take longer than this.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A job that fails is tried again without a pause, so an outage of seconds uses up all attempts.
pub async fn attempts() -> anyhow::Result<Verdict> {
    let pool = ApalisPostgres::set_up().await?;
    execute(&pool, "truncate apalis.jobs cascade").await?;
    let config = Config::default().queue("fails");
    let mut storage = PostgresStorage::<u32>::new(&pool).with_config(config);
    storage.push(1).await?;
    let tally = Tally::new(ATTEMPTS);
    let worker = WorkerBuilder::new(worker_name())
        .backend(storage.poll_with_interval(Duration::from_millis(5)))
        .data(tally.clone())
        .build(fail);
    let ended = tokio::time::timeout(AT_ONCE, ended_before(worker.run(), &tally)).await;
    match ended {
        Ok(Ok(None)) => {
            let took = tally.took().await?;
            let seen = format!("a job that fails used up {ATTEMPTS} attempts in {took:?}");
            Ok(Verdict { still_there: true, seen })
        }
        Ok(Ok(Some(error))) => bail!("the worker ended: {error}"),
        Ok(Err(stalled)) => Err(stalled),
        Err(_) => {
            let seen = format!("{} attempts in {AT_ONCE:?}", tally.done());
            Ok(Verdict { still_there: false, seen })
        }
    }
}

async fn fail(_: u32, tally: Data<Tally>) -> Result<(), BoxDynError> {
    tally.count();
    Err("it fails".into())
}
