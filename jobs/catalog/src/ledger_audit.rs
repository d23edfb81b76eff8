//! `ledger.audit`: hashes every entry anew, compares the log with the heads that backups keep, and raises
//! an alarm if anything was changed behind the triggers.

use crate::backup::kept_heads;
use crate::fault::OrFail;
use crate::{Platform, alarms, queues};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use switchyard_queue::{Context, Job, JobError, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::StoreFault;
use switchyard_store::backups::alarms::{Severity, Wrong};
use switchyard_store::backups::restored;
use switchyard_store::ledger::{self, AuditReport, Finding, HeadSeen};

/// What the keys of these alarms begin with.
const ALARMS: &str = "ledger.";

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
        let kept = kept(cx).await.or_fail()?;
        let key = db.head_key().map(|key| key.public());
        let step = |n| cx.heartbeat(format!("{n} entries audited"));
        let seen = kept.as_deref().unwrap_or_default();
        let report = ledger::audit(db, key, seen, step).await.or_fail()?;
        let changed = report.findings.first().map(|first| told(&report, first)).transpose()?;
        let wrong = changed.as_ref().map(|text| Wrong {
            key: format!("{ALARMS}changed"),
            severity: Severity::Critical,
            text: text.clone(),
        });
        let mut tx = db.begin_job(cx.job()).await.or_fail()?;
        alarms::keep(&mut tx, cx, ALARMS, wrong.as_slice()).await?;
        tx.commit().await.or_fail()?;
        match changed {
            // A dead letter: somebody has to look, and trying again finds the same.
            Some(text) => Err(JobError::permanent(text)),
            None => {
                let mut result = serde_json::to_value(&report).or_fail()?;
                result["kept_heads"] = json!(kept.map(|kept| kept.len()));
                Ok(Outcome::DoneWith(result))
            }
        }
    }
}

/// What was found, and what to do.
fn told(report: &AuditReport, first: &Finding) -> Result<String, JobError> {
    Ok(format!(
        "the ledger was changed behind its triggers: {} findings, the first {}; run `switchyard \
         commission audit` for all of them and compare with a backup",
        report.found,
        serde_json::to_string(first).or_fail()?
    ))
}

/// The heads that backups keep; `None`: there are no backups, or the archive cannot be asked, of which
/// `backup.watch` tells.
async fn kept(cx: &Context<Platform>) -> Result<Option<Vec<HeadSeen>>, StoreFault> {
    let Some(backups) = &cx.state().backups else { return Ok(None) };
    let restored = restored::get(&cx.state().db).await?;
    match kept_heads(backups, restored.as_ref()).await {
        Ok(heads) => Ok(Some(heads)),
        Err(fault) => {
            tracing::warn!(error = %fault, "the ledger is audited without the backups' heads");
            Ok(None)
        }
    }
}
