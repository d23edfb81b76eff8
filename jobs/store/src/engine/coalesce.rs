//! Single jobs of many callers, enqueued together: whoever comes while a transaction is under way
//! shares the next one. Nobody is delayed for the sake of company, and nobody is answered before the
//! commit.

use super::{enqueue, lanes};
use crate::{Db, Result, Scope, StoreFault};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use switchyard_queue::{Enqueued, NewJob};
use tokio::sync::{Semaphore, oneshot};

/// Transactions under way at once: while one waits for the disk, the next is being written.
const WRITERS: usize = 2;
/// Jobs in one of them.
const LARGEST: usize = 500;
/// Callers that may wait; more wait for one of these places.
const CALLERS: usize = 8 * LARGEST;

/// See the module.
#[derive(Debug)]
pub(crate) struct Coalescer {
    places: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Item>,
    writers: usize,
}

#[derive(Debug)]
struct Item {
    job: NewJob,
    /// The caller may have gone: its job is enqueued all the same.
    answer: oneshot::Sender<Result<Enqueued>>,
}

impl Default for Coalescer {
    fn default() -> Self {
        Self { places: Semaphore::new(CALLERS), state: Mutex::default() }
    }
}

impl Coalescer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits, up to [`LARGEST`]; if nothing does, the writer is counted off.
    fn next(&self) -> Option<Vec<Item>> {
        let mut state = self.state();
        if state.waiting.is_empty() {
            state.writers -= 1;
            return None;
        }
        let n = state.waiting.len().min(LARGEST);
        Some(state.waiting.drain(..n).collect())
    }
}

/// Counts a writer off that breaks down. Its callers hear that their answer is gone.
struct Writing(Arc<Coalescer>);

impl Drop for Writing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().writers -= 1;
        }
    }
}

impl Db {
    /// Enqueues one job by itself, together with those of all others who do
    /// so at this moment: many callers cost hardly more than one. Durable when it returns. If the
    /// caller goes away, the job is enqueued nevertheless.
    ///
    /// # Errors
    /// If the database refuses this job or is not available. When the connection broke during the
    /// commit, the outcome is unknown; with the same [`NewJob`] again it is enqueued at most once.
    pub async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        let queue = self.coalescer();
        let closed = || StoreFault::Unavailable(sqlx::Error::WorkerCrashed);
        let _place = queue.places.acquire().await.map_err(|_| closed())?;
        let (answer, verdict) = oneshot::channel();
        let begin = {
            let mut state = queue.state();
            state.waiting.push(Item { job, answer });
            let begin = state.writers < WRITERS;
            state.writers += usize::from(begin);
            begin
        };
        if begin {
            // A task of its own, because others' jobs must not end with this caller.
            tokio::spawn(write(self.clone(), Writing(Arc::clone(queue))));
        }
        verdict.await.unwrap_or_else(|_| Err(closed()))
    }
}

async fn write(db: Db, writing: Writing) {
    while let Some(items) = writing.0.next() {
        let (jobs, answers): (Vec<_>, Vec<_>) =
            items.into_iter().map(|i| (i.job, i.answer)).unzip();
        match commit(&db, &jobs).await {
            Ok(done) => {
                for (answer, enqueued) in answers.into_iter().zip(done) {
                    let _ = answer.send(Ok(enqueued));
                }
            }
            // One job that is refused must not take the others down with it.
            Err(fault) if !fault.is_transient() && jobs.len() > 1 => {
                for (answer, job) in answers.into_iter().zip(jobs) {
                    let done = commit(&db, &[job]).await;
                    let _ = answer
                        .send(done.and_then(|d| d.into_iter().next().ok_or(StoreFault::NotFound)));
                }
            }
            Err(fault) => fail(answers, fault),
        }
    }
}

/// Without unique keys it is one statement, which is a transaction by itself: one round trip instead of
/// three. With them it may be several, and then either all is written or nothing.
async fn commit(db: &Db, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    if jobs.iter().any(|job| job.unique_key.is_some()) {
        let mut tx = db.begin(Scope::Platform).await?;
        let done = tx.enqueue_all(jobs.to_vec()).await?;
        tx.commit().await?;
        return Ok(done);
    }
    let lanes = lanes::of(db, jobs).await?;
    let mut connection = db.app().acquire().await?;
    let placed = enqueue::insert(&mut connection, jobs, &lanes, db.cipher()).await?;
    let wakes: Vec<_> = placed.iter().filter_map(|p| p.wake).collect();
    if !wakes.is_empty() {
        db.wake().send(&wakes);
    }
    Ok(placed.into_iter().map(|p| p.answer).collect())
}

/// The first caller hears the fault itself, the others what it says.
fn fail(answers: Vec<oneshot::Sender<Result<Enqueued>>>, fault: StoreFault) {
    let said = fault.to_string();
    let mut fault = Some(fault);
    for answer in answers {
        let copy = || StoreFault::Unavailable(sqlx::Error::Protocol(said.clone()));
        let _ = answer.send(Err(fault.take().unwrap_or_else(copy)));
    }
}
