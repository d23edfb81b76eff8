//! A worker in a process of its own that knows the kinds of the chaos tests and nothing else:
//! `chaos-worker WITNESS LEASE_MS`, with the database in `DATABASE_URL`.
//!
//! It leaves in good order when its standard input ends: whoever started it holds the other end, so
//! no worker outlives its test, however that ended.

use anyhow::Context;
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;
use switchyard_queue::{SystemClock, SystemEntropy, Wake};
use switchyard_store::{Db, DbConfig, PgJobStore, PgWake};
use switchyard_tests::chaos::{self, Stage};
use switchyard_workers::WorkerConfig;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |what| arguments.next().with_context(|| format!("{what} is missing"));
    let witness = argument("the witness's address")?.parse()?;
    let lease = Duration::from_millis(argument("the lease in milliseconds")?.parse()?);
    let url = SecretString::from(std::env::var("DATABASE_URL").context("DATABASE_URL")?);

    // Many of these share one server with the other tests.
    let config = DbConfig { app_connections: 6, engine_connections: 1, ..DbConfig::new(url) };
    let end = CancellationToken::new();
    let wake: Arc<dyn Wake> = PgWake::start(&config, end.clone())?;
    let db = Db::connect(config, Arc::clone(&wake))?;
    let stage = Stage { db: db.clone(), witness };
    let dispatcher = chaos::registry().bind(stage, Arc::new(SystemClock), Arc::new(SystemEntropy));
    let worker = WorkerConfig {
        concurrency: 8,
        lease,
        poll_interval: Duration::from_millis(100),
        ..WorkerConfig::default()
    };

    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
        asked.cancel();
    });
    switchyard_workers::run(PgJobStore::new(&db), dispatcher, wake, worker, shutdown).await;
    end.cancel();
    Ok(())
}
