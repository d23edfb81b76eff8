//! One run from its beginning to its end: the lock, the row that tells of it, the progress, the metrics.

use super::{Backups, enqueue_next, sort, to_job_error};
use crate::Platform;
use crate::fault::OrFail;
use serde_json::json;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use switchyard_backup::{BackupFault, Progress};
use switchyard_queue::{Context, JobError, JobResult, Outcome};
use switchyard_store::backups::runs::{self, Came, RunKind};
use switchyard_store::backups::{BackupLock, restored};
use switchyard_store::{Db, Scope, StoreFault};
use uuid::Uuid;

/// Another run of the sort is under way: look again after this.
const BUSY: Duration = Duration::from_secs(5);
/// Attempts to write the outcome down before it is given up.
const WRITES: u32 = 5;

/// Passes a run's progress on to its job.
#[derive(Clone)]
pub(super) struct JobProgress {
    cx: Context<Platform>,
    step: Arc<Mutex<String>>,
}

impl JobProgress {
    fn new(cx: &Context<Platform>) -> Self {
        Self { cx: cx.clone(), step: Arc::default() }
    }

    fn step_now(&self) -> String {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Progress for JobProgress {
    fn step(&self, what: &str) {
        what.clone_into(&mut self.step.lock().unwrap_or_else(PoisonError::into_inner));
        self.cx.heartbeat(what);
    }

    fn bytes(&self, done: u64, of: Option<u64>) {
        let note = format!("{} ({} MiB)", self.step_now(), done >> 20);
        match of.filter(|of| *of > 0) {
            // Shares of a bar need no more than 52 bits.
            #[allow(clippy::cast_precision_loss)]
            Some(of) => self.cx.progress(done as f64 / of as f64, note),
            None => self.cx.heartbeat(note),
        }
    }
}

/// Counts bytes and says nothing.
#[derive(Debug, Default)]
pub struct Quiet(AtomicU64);

impl Progress for Quiet {
    fn step(&self, _: &str) {}

    fn bytes(&self, done: u64, _: Option<u64>) {
        self.0.store(done, Ordering::Relaxed);
    }
}

/// Who asked for a run, and what it follows.
pub(super) struct Ask {
    /// The run of its kind that succeeded last when this one was planned; none: asked for by hand.
    pub(super) after: Option<Uuid>,
    /// By whom.
    pub(super) asked_by: Option<String>,
}

/// Runs `work` as this job. A run that was planned and is needed no more is cancelled.
pub(super) async fn perform<F, Fut>(
    cx: &Context<Platform>,
    kind: RunKind,
    ask: Ask,
    work: F,
) -> JobResult
where
    F: FnOnce(Arc<Backups>, JobProgress) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Came, BackupFault>>,
{
    let db = &cx.state().db;
    let Some(backups) = cx.state().backups.clone() else {
        return Ok(Outcome::Cancel("no archive is configured here: set backup.archive".to_owned()));
    };
    // Somebody may have let the queue's job go by hand: the archive of the system that this one was
    // restored from is not this one's yet.
    if restored::awaits_release(db).await.or_fail()? {
        return Ok(Outcome::Cancel("this system was restored and is not released".to_owned()));
    }
    let Some(lock) = BackupLock::take(&backups.source_url, sort(kind)).await.or_fail()? else {
        cx.heartbeat("another run of its sort is under way");
        return Ok(Outcome::Snooze(BUSY));
    };
    let asked_by = ask.asked_by.unwrap_or_else(|| "schedule".to_owned());
    let mut tx = db.begin(Scope::Platform).await.or_fail()?;
    if let Some(after) = ask.after {
        let latest = runs::latest(&mut tx).await.or_fail()?;
        let latest = latest.iter().find(|r| r.kind == kind).map_or(Uuid::nil(), |r| r.id);
        if latest != after {
            tx.rollback().await.or_fail()?;
            lock.release().await;
            return Ok(Outcome::Cancel("another run came before it".to_owned()));
        }
    }
    let run = runs::begin(&mut tx, kind, &asked_by, Some(cx.job().id.0)).await.or_fail()?;
    tx.commit().await.or_fail()?;
    let since = Instant::now();
    let done = on_thread(cx, Arc::clone(&backups), work).await;
    measure(kind, since.elapsed(), &done);
    let ended = write_down(db, run, &done).await;
    lock.release().await;
    ended?;
    follow(cx, &backups, kind, done).await
}

/// Runs it on a thread of its own: a run lasts for minutes and computes a lot between its waits, and the
/// threads of the runtime belong to the short jobs.
async fn on_thread<F, Fut>(
    cx: &Context<Platform>,
    backups: Arc<Backups>,
    work: F,
) -> Result<Came, BackupFault>
where
    F: FnOnce(Arc<Backups>, JobProgress) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Came, BackupFault>>,
{
    // Dropped with this future, so that a run whose job was given up does not go on.
    let stop = cx.cancelled().child_token();
    let _guard = stop.clone().drop_guard();
    let progress = JobProgress::new(cx);
    let runtime = tokio::runtime::Handle::current();
    let ended = tokio::task::spawn_blocking(move || {
        runtime.block_on(async move {
            tokio::select! {
                done = work(backups, progress) => done,
                () = stop.cancelled() => Err(BackupFault::Stopped),
            }
        })
    });
    match ended.await {
        Ok(done) => done,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(_) => Err(BackupFault::Stopped),
    }
}

/// What comes after it: the next runs, and a full backup if an increment asked for one.
async fn follow(
    cx: &Context<Platform>,
    backups: &Backups,
    kind: RunKind,
    done: Result<Came, BackupFault>,
) -> JobResult {
    let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
    let fault = match done {
        // Trying again at once would find the same; the plan comes back to it.
        Ok(Came { problem: Some(problem), .. }) => {
            tx.commit().await.or_fail()?;
            return Err(JobError::permanent(std::io::Error::other(problem)));
        }
        Ok(_) => {
            enqueue_next(&mut tx, backups).await?;
            return tx.done().await;
        }
        Err(fault) => fault,
    };
    if kind == RunKind::Incremental
        && let BackupFault::FullNeeded { .. } | BackupFault::SlotLost { .. } = fault
    {
        let full = super::TakeFull { after: None, asked_by: Some("schedule".to_owned()) };
        let options = switchyard_queue::Options::new().unique_by("needed");
        let full = switchyard_queue::NewJob::with_options(&full, options).or_fail()?;
        tx.enqueue(cx.follow_up(full)).await.or_fail()?;
        return tx.cancelled(format!("{fault}; one was put in the queue")).await;
    }
    tx.commit().await.or_fail()?;
    Err(to_job_error(fault))
}

async fn write_down(db: &Db, run: Uuid, done: &Result<Came, BackupFault>) -> Result<(), JobError> {
    let (came, error) = record(done);
    let mut tries = 0;
    loop {
        tries += 1;
        let written = async {
            let mut tx = db.begin(Scope::Platform).await?;
            runs::end(&mut tx, run, &came, error.as_deref()).await?;
            tx.commit().await
        };
        match written.await {
            Err(fault) if fault.is_transient() && tries < WRITES => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => return other.map_err(StoreFault::into_job_error),
        }
    }
}

/// What is written down of an outcome.
fn record(done: &Result<Came, BackupFault>) -> (Came, Option<String>) {
    let fault = match done {
        Ok(came) => return (came.clone(), None),
        Err(fault) => fault,
    };
    let error = Some(switchyard_queue::causes(fault).join(": "));
    let evidence = match fault {
        BackupFault::FullNeeded { why, planned: true } => Some(json!({ (runs::FULL_NEEDED): why })),
        _ => None,
    };
    (Came { evidence, ..Came::default() }, error)
}

fn measure(kind: RunKind, took: Duration, done: &Result<Came, BackupFault>) {
    let kind = kind.as_str();
    let outcome = match done {
        Ok(Came { problem: None, .. }) => "succeeded",
        Err(BackupFault::FullNeeded { planned: true, .. }) => "full_needed",
        _ => "failed",
    };
    metrics::counter!("switchyard_backup_runs_total", "kind" => kind, "outcome" => outcome)
        .increment(1);
    metrics::histogram!("switchyard_backup_run_seconds", "kind" => kind).record(took);
    if let Ok(Came { stored_bytes: Some(bytes), .. }) = done {
        metrics::counter!("switchyard_backup_bytes_total", "kind" => kind).increment(*bytes);
    }
}

/// Why a run by hand, without a job, did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// Another one of its sort is under way.
    #[error("another run of this sort is under way; wait for its end")]
    Busy,
    /// The system was restored and is not released.
    #[error(
        "this system was restored and is not released, and the archive is that of the system it was \
         restored from: run `switchyard release` first"
    )]
    NotReleased,
    /// The run itself.
    #[error(transparent)]
    Backup(#[from] BackupFault),
    /// The record of runs.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// A run by hand in this process, without a worker. It is written down like the others.
///
/// # Errors
/// [`RunFault`].
pub async fn in_process<F, Fut>(
    db: &Db,
    backups: &Backups,
    kind: RunKind,
    asked_by: &str,
    work: F,
) -> Result<Came, RunFault>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<Came, BackupFault>>,
{
    if restored::awaits_release(db).await? {
        return Err(RunFault::NotReleased);
    }
    let lock = BackupLock::take(&backups.source_url, sort(kind)).await?.ok_or(RunFault::Busy)?;
    let mut tx = db.begin(Scope::Platform).await?;
    let run = runs::begin(&mut tx, kind, asked_by, None).await?;
    tx.commit().await?;
    let done = work().await;
    let (came, error) = record(&done);
    let mut tx = db.begin(Scope::Platform).await?;
    runs::end(&mut tx, run, &came, error.as_deref()).await?;
    tx.commit().await?;
    lock.release().await;
    Ok(done?)
}
