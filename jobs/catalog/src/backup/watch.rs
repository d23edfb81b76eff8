//! `backup.watch`: looks once a minute at what is promised, raises alarms before it is broken, and sees
//! to it that the next runs are in the queue.

use super::{Backups, Compared, enqueue_next};
use crate::alarms::{self, Told};
use crate::fault::OrFail;
use crate::{Platform, queues};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_backup::source::SlotHealth;
use switchyard_queue::{Context, Job, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::backups::alarms::{Severity, Wrong};
use switchyard_store::backups::runs::{self, Figures, Run, RunKind, RunState};

/// What begins the keys of the alarms that are raised and ended here.
const PREFIX: &str = "backup.";
/// A restore must have been proven within this.
const PROVEN: Duration = Duration::from_secs(24 * 3600);
/// What an increment is granted until its real duration has been measured.
const FIRST_GUESS: Duration = Duration::from_secs(60);
/// A server or an archive that takes longer to answer is away.
const PATIENCE: Duration = Duration::from_secs(20);
/// Runs that are looked at for failures in a row.
const RECENT: u16 = 100;
/// A first full backup that is not there by then needs somebody to look at it.
const FIRST: Duration = Duration::from_secs(3600);
/// What is further ahead than this was stamped by a clock that came back since.
const AHEAD: TimeDelta = TimeDelta::minutes(1);
/// So many failures in a row are no accident.
const IN_A_ROW: usize = 3;

/// Looks at everything. Everything it knows is in the database, so any worker may run it.
#[derive(Debug, Serialize, Deserialize)]
pub struct WatchBackups {}

impl Job for WatchBackups {
    type State = Platform;

    const KIND: &'static str = "backup.watch";
    const ABOUT: &'static str = "Raises alarms about backups and enqueues the runs that are due.";
    const QUEUE: QueueName = queues::BACKUPS;
    const TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Short;

    fn options(&self) -> Options {
        Options::new().unique_by("all")
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let Some(backups) = cx.state().backups.clone() else {
            return Ok(Outcome::Done);
        };
        let slot = health(&backups).await;
        let archive = archive(&backups).await;
        let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
        // Runs are stamped by the database.
        let now = runs::clock(&mut tx).await.or_fail()?;
        let awaited = runs::awaited(&mut tx).await.or_fail()?;
        let latest = runs::latest(&mut tx).await.or_fail()?;
        let recent = runs::list(&mut tx, None, None, RECENT).await.or_fail()?;
        let figures = runs::figures(&mut tx, backups.promise.rpo.as_secs_f64() * 4.0);
        let figures = figures.await.or_fail()?;
        let (latest, recent) = (&latest[..], &recent[..]);
        let look = Look { backups: &backups, latest, recent, figures, awaited, now };
        let mut wrong = look.all();
        wrong.extend(match slot {
            Ok(health) => {
                judge(&health, backups.promise.wal_alarm, look.of(RunKind::Full).is_some())
            }
            Err(wrong) => Some(wrong),
        });
        wrong.extend(archive);
        let told = alarms::keep(&mut tx, cx, PREFIX, &wrong).await?;
        enqueue_next(&mut tx, &backups).await?;
        say(&told);
        tx.done().await
    }
}

fn say(told: &[Told]) {
    for t in told {
        match t.over {
            false => tracing::warn!(alarm = t.alarm.key, text = t.alarm.text, "alarm"),
            true => tracing::info!(alarm = t.alarm.key, "the alarm is over"),
        }
    }
}

fn wrong(key: &str, severity: Severity, text: impl Into<String>) -> Wrong {
    Wrong { key: format!("{PREFIX}{key}"), severity, text: text.into() }
}

/// What can be told from the record of runs.
pub(super) struct Look<'a> {
    pub(super) backups: &'a Backups,
    pub(super) latest: &'a [Run],
    pub(super) recent: &'a [Run],
    pub(super) figures: Figures,
    /// Since when the first full backup is awaited; none: there is one.
    pub(super) awaited: Option<DateTime<Utc>>,
    pub(super) now: DateTime<Utc>,
}

impl Look<'_> {
    fn of(&self, kind: RunKind) -> Option<&Run> {
        self.latest.iter().find(|r| r.kind == kind)
    }

    fn age(&self, then: DateTime<Utc>) -> Duration {
        (self.now - then).to_std().unwrap_or_default()
    }

    /// How old what could be restored now is.
    pub(super) fn exposed(&self) -> Option<Duration> {
        let kinds = [RunKind::Full, RunKind::Incremental];
        let newest = kinds.into_iter().filter_map(|k| self.of(k)?.covers).max();
        newest.map(|covers| self.age(covers))
    }

    /// The longest time between two increments when all is well.
    fn usual(&self) -> Duration {
        let cadence = &self.backups.cadence;
        let took = self.figures.increment_p99.and_then(|s| Duration::try_from_secs_f64(s).ok());
        let granted = FIRST_GUESS.min(self.backups.promise.rpo / 5);
        cadence.incremental + cadence.jitter + took.unwrap_or(granted)
    }

    fn all(&self) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = self.rpo().into_iter().chain(self.rto()).collect();
        wrong.extend(self.proof());
        wrong.extend(self.none_yet());
        wrong.extend(self.clock());
        wrong.extend(RunKind::ALL.iter().filter_map(|k| self.failing(*k)));
        wrong
    }

    fn rpo(&self) -> Option<Wrong> {
        let rpo = self.backups.promise.rpo;
        let usual = self.usual();
        let exposed = self.exposed()?;
        if exposed > rpo {
            let text = format!(
                "the newest backup is {} old and {} are promised; look at the failed runs with \
                 `switchyard backup status`",
                whole(exposed),
                whole(rpo)
            );
            return Some(wrong("rpo", Severity::Critical, text));
        }
        // Half way between what is usual and what is promised.
        if usual < rpo && exposed > usual + (rpo - usual) / 2 {
            let text = format!(
                "the newest backup is {} old; at {} the promise is broken",
                whole(exposed),
                whole(rpo)
            );
            return Some(wrong("rpo", Severity::Warning, text));
        }
        (usual > rpo).then(|| {
            let text = format!(
                "increments come every {} as they run now, and {} are promised: lower \
                 backup.incremental_interval",
                whole(usual),
                whole(rpo)
            );
            wrong("rpo", Severity::Warning, text)
        })
    }

    fn rto(&self) -> Option<Wrong> {
        let rto = self.backups.promise.rto;
        let took = Duration::try_from_secs_f64(self.figures.rto?).ok()?;
        let text = format!(
            "the last restore took {} and {} are promised: raise backup.connections, take full \
             backups more often, or use a quicker server",
            whole(took),
            whole(rto)
        );
        match took {
            t if t > rto => Some(wrong("rto", Severity::Critical, text)),
            t if t > rto.mul_f64(0.8) => Some(wrong("rto", Severity::Warning, text)),
            _ => None,
        }
    }

    fn proof(&self) -> Option<Wrong> {
        let full = self.of(RunKind::Full)?;
        let proven = self.of(RunKind::Drill).map_or(full.began_at, |d| d.began_at);
        let age = self.age(proven);
        if age <= PROVEN {
            return self.comparison(full);
        }
        let text = match self.backups.vault.keys.can_read() {
            true => format!(
                "no restore was proven for {}: look at `switchyard jobs list --kind backup.drill`",
                whole(age)
            ),
            false => "no restore is proven, because no process has the drill's identity: set \
                      backup.drill_identity where workers run"
                .to_owned(),
        };
        Some(wrong("proof", Severity::Critical, text))
    }

    /// Old backups and increments that make what a new one has are a part of the proof.
    fn comparison(&self, full: &Run) -> Option<Wrong> {
        if !self.backups.vault.keys.can_read() {
            return None;
        }
        let compared = self.of(RunKind::Drill).and_then(Compared::of);
        let last = compared.map_or(full.began_at, |c| c.at);
        let age = self.age(last);
        // Each full backup is compared soon after the next increment.
        (age > self.backups.cadence.full + PROVEN).then(|| {
            let text = format!(
                "for {} no full backup was compared with what the one before it and its increments make: run \
                 `switchyard backup now drill`, and look at what it says",
                whole(age)
            );
            wrong("proof", Severity::Critical, text)
        })
    }

    fn none_yet(&self) -> Option<Wrong> {
        let since = self.awaited.filter(|_| self.of(RunKind::Full).is_none())?;
        let age = self.age(since);
        (age > FIRST).then(|| {
            let text = format!(
                "there is no full backup yet, and for {} one has been due: nothing could be restored. Look at \
                 `switchyard jobs list --kind backup.full`",
                whole(age)
            );
            wrong("none", Severity::Critical, text)
        })
    }

    /// A backup that says it is of the future was taken while the database's clock was ahead.
    fn clock(&self) -> Option<Wrong> {
        let good = self.recent.iter().filter(|r| r.state == RunState::Succeeded);
        let (backup, covers) = good
            .filter_map(|r| Some((r.backup.as_deref().unwrap_or(r.kind.as_str()), r.covers?)))
            .max_by_key(|(_, covers)| *covers)?;
        (covers > self.now + AHEAD).then(|| {
            let text = format!(
                "backup {backup} is of {covers}, which is in the future: the database's clock was ahead. Set it \
                 right for good; restore by position (`--lsn`), not by time, around then"
            );
            wrong("clock", Severity::Warning, text)
        })
    }

    fn failing(&self, kind: RunKind) -> Option<Wrong> {
        let ended = self
            .recent
            .iter()
            .filter(|r| r.kind == kind && r.state != RunState::Running)
            .filter(|r| !r.wants_full());
        let failed: Vec<&Run> = ended.take_while(|r| r.state == RunState::Failed).collect();
        let last = failed.first()?;
        let error = last.error.as_deref().unwrap_or("nobody knows why");
        let text = format!("{} failed {} times in a row: {error}", kind.as_str(), failed.len());
        let grave = failed.len() >= IN_A_ROW;
        let severity = if grave { Severity::Critical } else { Severity::Warning };
        Some(wrong(&format!("failed.{}", kind.as_str()), severity, text))
    }
}

/// How the slot is; or that nobody can tell.
async fn health(backups: &Backups) -> Result<SlotHealth, Wrong> {
    let source = |text: String| wrong("source", Severity::Critical, text);
    match tokio::time::timeout(PATIENCE, switchyard_backup::slot_health(&backups.source)).await {
        Ok(Ok(health)) => Ok(health),
        Ok(Err(fault)) => {
            Err(source(format!("the database that is backed up cannot be asked: {fault}")))
        }
        Err(_) => Err(source("the database that is backed up does not answer".to_owned())),
    }
}

/// The slot: lost, gone, about to be lost, or holding back more log than is good for the disk.
fn judge(health: &SlotHealth, most: u64, has_full: bool) -> Option<Wrong> {
    let mib = health.retained_bytes >> 20;
    match health.wal_status.as_str() {
        // The first full backup makes it.
        "missing" => has_full.then(|| {
            let text = "the replication slot is gone (a failover loses it, or somebody dropped it): changes since \
                        the newest increment are in no backup. The next increment asks for a full backup; look \
                        whether one runs (`switchyard backup status`)";
            wrong("slot", Severity::Critical, text)
        }),
        "lost" => Some(wrong(
            "slot",
            Severity::Critical,
            "the replication slot is lost: changes since the newest increment are in no backup. A full \
             one is taken; raise max_slot_wal_keep_size",
        )),
        "unreserved" => Some(wrong(
            "slot",
            Severity::Critical,
            format!(
                "the replication slot holds back {mib} MiB of log and is about to be lost: run \
                 `switchyard backup now incremental`, or raise max_slot_wal_keep_size"
            ),
        )),
        _ if health.retained_bytes > most => Some(wrong(
            "slot",
            Severity::Warning,
            format!(
                "the replication slot holds back {mib} MiB of log: look whether increments run \
                 (`switchyard backup status`) and how much room the disk has"
            ),
        )),
        _ => None,
    }
}

/// Whether the archives answer. Asked for an object that is not there, the answer is that it is not.
async fn archive(backups: &Backups) -> Vec<Wrong> {
    use switchyard_providers::archive::ArchiveFault;
    let vault = &backups.vault;
    let both = [("archive", Some(&vault.archive)), ("second", vault.second.as_ref())];
    let mut found = Vec::new();
    for (key, archive) in both {
        let Some(archive) = archive else { continue };
        let problem = match tokio::time::timeout(PATIENCE, archive.read("keys/probe", 0)).await {
            Ok(Ok(_) | Err(ArchiveFault::NotFound { .. })) => continue,
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => format!("{} does not answer", archive.name()),
        };
        found.push(wrong(key, Severity::Critical, problem));
    }
    found
}

/// A span in whole units, for sentences.
fn whole(d: Duration) -> String {
    match d.as_secs() {
        0 => format!("{} ms", d.as_millis()),
        s @ 1..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    }
}

#[cfg(test)]
mod tests;
