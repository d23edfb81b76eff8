//! `backup.full`, `.incremental`, `.differential`, `.verify`, `.prune`, `.copy`: one run each.

use super::perform::{Ask, perform};
use super::{Backups, notes_or_none, told};
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use switchyard_backup::model::{BackupId, Kind, Manifest};
use switchyard_backup::verify::{Depth, Verified, Which};
use switchyard_backup::{BackupFault, Progress, Vault, copy, prune, verify};
use switchyard_queue::{Context, Job, JobResult, Options, QueueName, Retention};
use switchyard_store::backups::runs::{Came, RunKind};
use uuid::Uuid;

/// A large database takes hours; whoever runs says every second that it is alive.
const HOURS: Duration = Duration::from_secs(24 * 3600);
/// Silence of this length is no progress.
const SILENT: Option<Duration> = Some(Duration::from_secs(15 * 60));

/// What a backup's manifest says, for the record of runs.
#[must_use]
pub fn came(manifest: &Manifest) -> Came {
    let (from, to, rows) = match &manifest.kind {
        Kind::Full { start, tables, .. } => {
            (None, Some(*start), tables.iter().map(|t| t.sums.rows).sum())
        }
        Kind::Incremental { from, to, changes, .. } => (Some(*from), Some(*to), *changes),
        Kind::Differential { from, to, segments, .. } => {
            (Some(*from), Some(*to), segments.iter().flatten().map(|o| o.rows).sum())
        }
    };
    Came {
        backup: Some(manifest.id.to_string()),
        covers: Some(manifest.covers),
        from_lsn: from.map(|l| l.to_string()),
        to_lsn: to.map(|l| l.to_string()),
        stored_bytes: Some(manifest.stored_bytes()),
        rows: Some(rows),
        evidence: None,
        problem: None,
    }
}

/// Declares a job whose arguments are only whose doing it is.
macro_rules! run_of_a_kind {
    ($(#[$doc:meta])* $name:ident, $text:literal, $about:literal, $kind:expr, $tries:literal, $work:expr) => {
        $(#[$doc])*
        #[derive(Debug, Serialize, Deserialize)]
        pub struct $name {
            /// The run of this kind that succeeded last when this one was planned; none: asked for by
            /// hand. One that is not the last any more makes this run needless.
            #[serde(default)]
            pub after: Option<Uuid>,
            /// By whom it was asked for; none: the schedule.
            #[serde(default)]
            pub asked_by: Option<String>,
        }

        impl Job for $name {
            type State = Platform;

            const KIND: &'static str = $text;
            const ABOUT: &'static str = $about;
            const QUEUE: QueueName = queues::BACKUPS;
            const TIMEOUT: Duration = HOURS;
            const MAX_ATTEMPTS: u16 = $tries;
            const RETENTION: Retention = Retention::Long;
            const STUCK_AFTER: Option<Duration> = SILENT;

            fn options(&self) -> Options {
                Options::new().unique_by(self.after)
            }

            async fn run(self, cx: &Context<Platform>) -> JobResult {
                let ask = Ask { after: self.after, asked_by: self.asked_by };
                perform(cx, $kind, ask, $work(cx)).await
            }
        }
    };
}

run_of_a_kind!(
    /// Copies every row into the archive.
    TakeFull,
    "backup.full",
    "Backs the whole database up.",
    RunKind::Full,
    5,
    |cx: &Context<Platform>| {
        let db = cx.state().db.clone();
        move |b: std::sync::Arc<Backups>, progress| async move {
            let notes = notes_or_none(&db).await;
            switchyard_backup::full(&b.source, &b.vault, notes, &progress).await.map(|m| came(&m))
        }
    }
);

run_of_a_kind!(
    /// Takes the changes since the last increment.
    TakeIncremental,
    "backup.incremental",
    "Backs up what changed since the last backup.",
    RunKind::Incremental,
    8,
    |cx: &Context<Platform>| {
        let db = cx.state().db.clone();
        move |b: std::sync::Arc<Backups>, progress| async move {
            let notes = notes_or_none(&db).await;
            let taken = switchyard_backup::incremental(&b.source, &b.vault, notes, &progress);
            let taken = taken.await?;
            Ok(taken.as_ref().map(came).unwrap_or_default())
        }
    }
);

run_of_a_kind!(
    /// Puts the changes since the full backup together, which makes restores quicker.
    TakeDifferential,
    "backup.differential",
    "Puts the changes since the last full backup together.",
    RunKind::Differential,
    3,
    |_: &Context<Platform>| {
        |b: std::sync::Arc<Backups>, progress| async move {
            switchyard_backup::differential(&b.vault, &progress).await.map(|m| came(&m))
        }
    }
);

run_of_a_kind!(
    /// Takes away what retention does not keep.
    PruneBackups,
    "backup.prune",
    "Takes away the backups that retention does not keep.",
    RunKind::Prune,
    3,
    |cx: &Context<Platform>| {
        let now = cx.clock().now();
        move |b: std::sync::Arc<Backups>, _progress| async move {
            let pruned = prune::prune(&b.vault, &b.policy, now, false).await?;
            let second = match b.vault.of_second() {
                Some(second) => Some(prune::prune(&second, &b.policy, now, false).await?),
                None => None,
            };
            let second = second.as_ref().map(told::pruned);
            let evidence = json!({ "archive": told::pruned(&pruned), "second": second });
            Ok(Came { evidence: Some(evidence), ..Came::default() })
        }
    }
);

run_of_a_kind!(
    /// Copies what the second archive does not have.
    CopyBackups,
    "backup.copy",
    "Copies backups to the second archive.",
    RunKind::Copy,
    5,
    |_: &Context<Platform>| {
        |b: std::sync::Arc<Backups>, progress| async move {
            let copied = copy::copy(&b.vault, &progress).await?;
            Ok(Came { evidence: Some(told::copied(&copied)), ..Came::default() })
        }
    }
);

/// Reads what is in the archive and checks every signature and every hash.
#[derive(Debug, Serialize, Deserialize)]
pub struct VerifyBackups {
    /// See [`TakeFull::after`].
    #[serde(default)]
    pub after: Option<Uuid>,
    /// By whom it was asked for; none: the schedule.
    #[serde(default)]
    pub asked_by: Option<String>,
    /// Only this one; none: all.
    #[serde(default)]
    pub backup: Option<String>,
}

impl Job for VerifyBackups {
    type State = Platform;

    const KIND: &'static str = "backup.verify";
    const ABOUT: &'static str = "Reads backups from the archive and checks that they are whole.";
    const QUEUE: QueueName = queues::BACKUPS;
    const TIMEOUT: Duration = HOURS;
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Long;
    const STUCK_AFTER: Option<Duration> = SILENT;

    fn options(&self) -> Options {
        Options::new().unique_by((&self.after, &self.backup))
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let ask = Ask { after: self.after, asked_by: self.asked_by };
        let which = self.backup;
        perform(cx, RunKind::Verify, ask, move |b, progress| async move {
            let what = match &which {
                Some(id) => Which::One(read_id(id)?),
                None => Which::All,
            };
            // Who can read looks at the contents, too.
            let can = b.vault.keys.can_read();
            let depth = if can { Depth::Contents } else { Depth::Stored };
            let first = verify::verify(&b.vault, &what, depth, &progress).await?;
            let second = match b.vault.of_second() {
                Some(second) => verified_copy(&second, &what, depth, &progress).await?,
                None => None,
            };
            let mut evidence = told::verified(&first);
            evidence["second"] = json!(second.as_ref().map(told::verified));
            let problem = first.into_sound().err().map(|fault| fault.to_string());
            let of_second = second.and_then(|s| s.into_sound().err());
            let problem = problem.or_else(|| of_second.map(|f| format!("the second archive: {f}")));
            Ok(Came { backup: which, evidence: Some(evidence), problem, ..Came::default() })
        })
        .await
    }
}

/// The same of the second archive. A single backup may not have been copied yet.
async fn verified_copy(
    second: &Vault,
    what: &Which,
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Option<Verified>, BackupFault> {
    match (verify::verify(second, what, depth, progress).await, what) {
        (Err(BackupFault::OutOfReach { .. }), Which::One(_)) => Ok(None),
        (verified, _) => verified.map(Some),
    }
}

/// The name of a backup as people write it.
pub(super) fn read_id(text: &str) -> Result<BackupId, BackupFault> {
    text.parse()
        .map_err(|problem: String| BackupFault::unfit(problem, "look at `switchyard backup list`"))
}
