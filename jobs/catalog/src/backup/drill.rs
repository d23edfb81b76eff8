//! `backup.drill`: proves that the newest backup restores, by restoring it.

use super::Backups;
use super::perform::{Ask, perform};
use crate::fault::OrFail;
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use switchyard_backup::{BackupFault, Progress, compare_with_full, drill};
use switchyard_queue::{Context, Job, JobResult, Options, QueueName, Retention};
use switchyard_store::Scope;
use switchyard_store::backups::runs::{self, Came, Run, RunKind};
use uuid::Uuid;

/// Restores the newest chain into a scratch database, compares every table, times it, and drops the
/// database.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProveRestore {
    /// See [`super::TakeFull::after`].
    #[serde(default)]
    pub after: Option<Uuid>,
    /// By whom it was asked for; none: the schedule.
    #[serde(default)]
    pub asked_by: Option<String>,
}

impl Job for ProveRestore {
    type State = Platform;

    const KIND: &'static str = "backup.drill";
    const ABOUT: &'static str =
        "Restores the newest backup into a scratch database and compares it.";
    const QUEUE: QueueName = queues::BACKUPS;
    const TIMEOUT: Duration = Duration::from_secs(24 * 3600);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Long;
    const STUCK_AFTER: Option<Duration> = Some(Duration::from_secs(15 * 60));

    fn options(&self) -> Options {
        Options::new().unique_by(self.after)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
        let latest = runs::latest(&mut tx).await.or_fail()?;
        tx.rollback().await.or_fail()?;
        let compare = unproven(&latest);
        let ask = Ask { after: self.after, asked_by: self.asked_by };
        perform(cx, RunKind::Drill, ask, move |b, progress| async move {
            prove(&b, compare, &progress).await
        })
        .await
    }
}

/// Whether the newest full backup is still to be compared with what the one before it and its increments
/// make.
fn unproven(latest: &[Run]) -> bool {
    let of = |kind| latest.iter().find(|r| r.kind == kind);
    let full = of(RunKind::Full).and_then(|r| r.backup.as_deref());
    let drill = of(RunKind::Drill).and_then(|r| r.evidence.as_ref());
    let compared = drill.and_then(|e| e.get("comparison")?.get("full")?.as_str());
    full.is_some() && full != compared
}

/// Restores the newest chain and compares it; with `compare` also the full backup before the newest one,
/// brought forward by its increments, with the newest one.
///
/// # Errors
/// What passes. That something does not restore is no error but a problem of what it came to.
pub async fn prove(
    b: &Backups,
    compare: bool,
    progress: &dyn Progress,
) -> Result<Came, BackupFault> {
    let restore = drill(&b.source, &b.vault, b.scratch.clone(), progress).await?;
    let mut comparison = None;
    if compare && let Some(full) = restore.full.as_ref() {
        let scratch = b.scratch.clone();
        match compare_with_full(&b.source, &b.vault, full, scratch, progress).await {
            Ok(evidence) => comparison = Some(evidence),
            // The first full backup, the first one after a change of the schema, or no increment
            // reaches so far yet: the next drill comes back to it.
            Err(BackupFault::OutOfReach { .. }) => {}
            Err(fault) => return Err(fault),
        }
    }
    let both = [Some(&restore), comparison.as_ref()];
    let problem = both.into_iter().flatten().filter(|e| !e.proven).find_map(|e| e.problem.clone());
    Ok(Came {
        backup: restore.full.as_ref().map(ToString::to_string),
        covers: restore.covers,
        evidence: Some(json!({
            "restore_seconds": restore.seconds,
            "restore": restore,
            "comparison": comparison,
        })),
        problem,
        ..Came::default()
    })
}
