//! `backup.drill`: proves that the newest backup restores, by restoring it.

use super::Backups;
use super::perform::{Ask, perform};
use crate::fault::OrFail;
use crate::{Platform, queues};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use switchyard_backup::{BackupFault, Progress, compare_with_full, drill};
use switchyard_queue::{Context, Job, JobResult, Options, QueueName, Retention};
use switchyard_store::backups::runs::{self, Came, Run, RunKind};
use switchyard_store::{Db, Scope};
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
        let before = Before::read(&cx.state().db).await.or_fail()?;
        let ask = Ask { after: self.after, asked_by: self.asked_by };
        perform(cx, RunKind::Drill, ask, move |b, progress| async move {
            prove(&b, &before, &progress).await
        })
        .await
    }
}

/// The newest full backup that was looked at whether the one before it and its increments make the same.
/// Each drill carries it on in its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The full backup.
    pub full: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Why no older backup leads to it: it is the first one, or the schema was changed before it.
    pub out_of_reach: Option<String>,
}

impl Compared {
    /// What a drill knows of it.
    pub(super) fn of(drill: &Run) -> Option<Self> {
        let known = drill.evidence.as_ref()?.get("compared")?;
        serde_json::from_value(known.clone()).ok()
    }
}

/// What is on record before a drill begins.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// The newest state that a backup was taken of: what the archive restores must not be older.
    covers: Option<DateTime<Utc>>,
    /// The last comparison.
    compared: Option<Compared>,
    /// The newest full backup can be compared: an increment has gone beyond it.
    owed: bool,
}

impl Before {
    /// Reads it.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn read(db: &Db) -> switchyard_store::Result<Self> {
        let mut tx = db.begin(Scope::Platform).await?;
        let latest = runs::latest(&mut tx).await?;
        tx.rollback().await?;
        Ok(Self::of(&latest))
    }

    fn of(latest: &[Run]) -> Self {
        let of = |kind| latest.iter().find(|r| r.kind == kind);
        let backups = [of(RunKind::Full), of(RunKind::Incremental)];
        Self {
            covers: backups.into_iter().flatten().filter_map(|r| r.covers).max(),
            compared: of(RunKind::Drill).and_then(Compared::of),
            owed: owed(latest),
        }
    }
}

/// Whether the newest full backup is still to be compared with what the one before it and its increments
/// make, and one of these went beyond it.
pub(super) fn owed(latest: &[Run]) -> bool {
    let of = |kind| latest.iter().find(|r| r.kind == kind);
    let (Some(full), Some(increment)) = (of(RunKind::Full), of(RunKind::Incremental)) else {
        return false;
    };
    let compared = of(RunKind::Drill).and_then(Compared::of).map(|c| c.full);
    let beyond = full.finished_at.is_some_and(|ended| increment.began_at >= ended);
    beyond && full.backup.is_some() && full.backup != compared
}

/// Restores the newest chain and compares it; and if that was not done yet, also the full backup before the
/// newest one, brought forward by its increments, with the newest one.
///
/// # Errors
/// What passes. That something does not restore is no error but a problem of what it came to.
pub async fn prove(
    b: &Backups,
    before: &Before,
    progress: &dyn Progress,
) -> Result<Came, BackupFault> {
    let restore = drill(&b.source, &b.vault, b.scratch.clone(), progress).await?;
    let mut comparison = None;
    let mut compared = before.compared.clone();
    if let Some(full) = &restore.full
        && compared.as_ref().is_none_or(|c| c.full != full.as_str())
    {
        let scratch = b.scratch.clone();
        let known = |out_of_reach| {
            Some(Compared { full: full.to_string(), at: restore.began, out_of_reach })
        };
        match compare_with_full(&b.source, &b.vault, full, scratch, progress).await {
            Ok(evidence) => {
                compared = known(None);
                comparison = Some(evidence);
            }
            // Not before an increment goes beyond it; and then there is nothing to be compared with.
            Err(BackupFault::OutOfReach { why, .. }) if before.owed => compared = known(Some(why)),
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
            "compared": compared,
        })),
        problem: problem.or_else(|| cut(restore.covers, before.covers)),
        ..Came::default()
    })
}

/// What is wrong if the archive restores less than was backed up: whoever takes away the newest manifests
/// leaves a chain that is whole, signed, and short.
fn cut(restored: Option<DateTime<Utc>>, recorded: Option<DateTime<Utc>>) -> Option<String> {
    let (restored, recorded) = (restored?, recorded?);
    let shown = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    (restored < recorded).then(|| {
        format!(
            "the archive restores the state of {} and no later one, but backups up to {} were taken: the newest \
             files are gone or damaged. Look at who can delete there and at `switchyard backup verify`, restore \
             from the second archive if it must be, and run `switchyard backup now full`",
            shown(restored),
            shown(recorded)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::sample::run;
    use chrono::TimeDelta;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn latest(increment: i64, compared: Option<&str>) -> Vec<Run> {
        let full = Run { backup: Some("b".to_owned()), ..run(RunKind::Full, at(0), at(3)) };
        let compared =
            compared.map(|full| json!({ "full": full, "at": at(1), "out_of_reach": null }));
        let evidence = Some(json!({ "compared": compared }));
        let drill = Run { evidence, ..run(RunKind::Drill, at(4), at(5)) };
        vec![full, drill, run(RunKind::Incremental, at(increment), at(increment))]
    }

    #[test]
    fn a_comparison_is_owed_once_an_increment_went_beyond_the_full_backup_and_once_only() {
        assert!(!owed(&latest(2, Some("a"))), "the increment began before the full backup ended");
        assert!(owed(&latest(10, Some("a"))) && owed(&latest(10, None)));
        assert!(!owed(&latest(10, Some("b"))));
        assert!(!owed(&latest(10, None)[..1]), "there is no increment");
    }

    #[test]
    fn an_archive_that_restores_less_than_was_taken_is_a_problem() {
        assert_eq!(cut(Some(at(10)), Some(at(10))), None);
        assert_eq!(cut(Some(at(11)), Some(at(10))), None);
        assert_eq!(cut(Some(at(11)), None), None);
        assert!(
            cut(Some(at(9)), Some(at(10))).is_some_and(|told| told.contains("1970-01-01T00:09"))
        );
    }
}
