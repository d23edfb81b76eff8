//! `ledger.audit`: hashes every entry anew and fails if anything was changed behind the triggers.

use crate::fault::OrFail;
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_queue::{Context, Job, JobError, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::ledger;

/// Audits the whole ledger.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditLedger {}

impl Job for AuditLedger {
    type State = Platform;

    const KIND: &'static str = "ledger.audit";
    const ABOUT: &'static str =
        "Finds entries of the ledger that somebody changed behind its triggers.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Long;

    fn options(&self) -> Options {
        Options::new().unique_by("all").priority(10)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let db = &cx.state().db;
        let key = db.head_key().map(|key| key.public());
        let step = |n| cx.heartbeat(format!("{n} entries audited"));
        let report = ledger::audit(db, key, &[], step).await.or_fail()?;
        match report.findings.first() {
            None => Ok(Outcome::DoneWith(serde_json::to_value(&report).or_fail()?)),
            // A dead letter: somebody has to look, and trying again finds the same.
            Some(first) => Err(JobError::permanent(format!(
                "the ledger was changed behind its triggers: {} findings, the first {}; run `switchyard \
                 commission audit` for all of them and compare with a backup",
                report.found,
                serde_json::to_string(first).or_fail()?
            ))),
        }
    }
}
