//! How backups stand: for the API, the command line and the dashboard the same.

use super::watch::Look;
use super::{Backups, Compared, Next, plan};
use chrono::{DateTime, Utc};
use serde::Serialize;
use switchyard_store::backups::alarms::{self, Alarm};
use switchyard_store::backups::restored::{self, Restored};
use switchyard_store::backups::runs::{self, Figures, Run, RunKind};
use switchyard_store::{Db, Result, Scope};

/// Runs that failures are looked for in.
const RECENT: u16 = 50;

/// The last restore that was proven.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// The run.
    pub run: uuid::Uuid,
    /// When it began.
    pub at: DateTime<Utc>,
    /// How old that is, in seconds.
    pub age_seconds: u64,
    /// The full backup that was restored.
    pub backup: Option<String>,
    /// The state it came to is at least as new as this.
    pub covers: Option<DateTime<Utc>>,
    /// How long the restore took, in seconds.
    pub restore_seconds: Option<f64>,
    /// The newest full backup that was compared with what the one before it and its increments make.
    pub compared: Option<Compared>,
}

/// How backups stand.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The archive; `null`: none is configured here.
    pub archive: Option<String>,
    /// The second archive.
    pub second: Option<String>,
    /// This system was restored; while `released_at` is `null`, nothing leaves it.
    pub restored: Option<Restored>,
    /// How old what could be restored now is, in seconds; `null`: nothing could.
    pub exposed_seconds: Option<u64>,
    /// The promise: the most data that may be lost, in seconds.
    pub rpo_seconds: Option<u64>,
    /// The promise: the longest time of a restore, in seconds.
    pub rto_seconds: Option<u64>,
    /// What was measured over 30 days.
    pub figures: Figures,
    /// The last restore that was proven.
    pub proof: Option<Proof>,
    /// The newest run of each kind that succeeded.
    pub latest: Vec<Run>,
    /// The newest runs, whatever they came to.
    pub recent: Vec<Run>,
    /// What is due next.
    pub next: Vec<Next>,
    /// What is wrong.
    pub alarms: Vec<Alarm>,
}

/// Reads it.
///
/// # Errors
/// If the database is not available.
pub async fn status(db: &Db, backups: Option<&Backups>, now: DateTime<Utc>) -> Result<Status> {
    let restored = restored::get(db).await?;
    let mut tx = db.begin(Scope::Platform).await?;
    let latest = runs::latest(&mut tx).await?;
    let recent = runs::list(&mut tx, None, None, RECENT).await?;
    let gap = backups.map_or(3600.0, |b| b.promise.rpo.as_secs_f64() * 4.0);
    let figures = runs::figures(&mut tx, gap).await?;
    let mut alarms = alarms::open(&mut tx).await?;
    alarms.retain(|a| a.key.starts_with("backup."));
    let next = match backups {
        Some(backups) => plan::read(&mut tx, backups).await?,
        None => Vec::new(),
    };
    tx.rollback().await?;
    let look =
        |backups| Look { backups, latest: &latest, recent: &recent, figures, awaited: None, now };
    Ok(Status {
        archive: backups.map(|b| b.vault.archive.name().to_owned()),
        second: backups.and_then(|b| Some(b.vault.second.as_ref()?.name().to_owned())),
        restored,
        exposed_seconds: backups.and_then(|b| Some(look(b).exposed()?.as_secs())),
        rpo_seconds: backups.map(|b| b.promise.rpo.as_secs()),
        rto_seconds: backups.map(|b| b.promise.rto.as_secs()),
        figures,
        proof: latest.iter().find(|r| r.kind == RunKind::Drill).map(|r| proof(r, now)),
        next,
        alarms,
        latest,
        recent,
    })
}

fn proof(run: &Run, now: DateTime<Utc>) -> Proof {
    let evidence = run.evidence.as_ref();
    Proof {
        run: run.id,
        at: run.began_at,
        age_seconds: (now - run.began_at).num_seconds().max(0).unsigned_abs(),
        backup: run.backup.clone(),
        covers: run.covers,
        restore_seconds: evidence.and_then(|e| e.get("restore_seconds")?.as_f64()),
        compared: Compared::of(run),
    }
}
