//! `ledger.sequence`: gives new entries their place in the Merkle log, signs its head, folds balances.

use crate::fault::OrFail;
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_queue::{Context, Job, JobResult, Options, QueueName, Retention};
use switchyard_store::ledger;

/// Entries a transaction.
const BATCH: i64 = 2000;

/// Sequences what waits. Without the master key nothing is signed: then another process signs.
#[derive(Debug, Serialize, Deserialize)]
pub struct SequenceLedger {}

impl Job for SequenceLedger {
    type State = Platform;

    const KIND: &'static str = "ledger.sequence";
    const ABOUT: &'static str =
        "Gives new entries of the ledger their place in its Merkle log and signs its head.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(300);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Short;

    fn options(&self) -> Options {
        Options::new().unique_by("all")
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let db = &cx.state().db;
        let mut sum = 0;
        loop {
            let mut tx = db.begin_job(cx.job()).await.or_fail()?;
            ledger::fold(&mut tx).await.or_fail()?;
            let Some(done) = ledger::sequence(&mut tx, BATCH).await.or_fail()? else {
                return tx.done().await;
            };
            sum += done.entries;
            if done.entries == 0 || cx.cancelled().is_cancelled() {
                if let Some(key) = db.head_key() {
                    ledger::sign(&mut tx, key, cx.clock().now()).await.or_fail()?;
                }
                return tx.done().await;
            }
            tx.commit().await.or_fail()?;
            cx.heartbeat(format!("{sum} entries sequenced"));
        }
    }
}
