//! The batching writer between the webhooks and the database.
//!
//! Requests hand their event over and wait. A writer takes whatever waits at that moment, without
//! delaying anything, commits it in one transaction and answers each request. Nothing is answered
//! before the commit. The queue is bounded in events and in bytes; when it is full, or the database
//! is away, the request is answered 503 at once and the sender sends again.

use crate::ApiError;
use crate::config::IngestConfig;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_store::events::{Ingested, NewEvent};
use switchyard_store::{Db, StoreFault, events};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a request hears.
type Verdict = Result<Ingested, Arc<StoreFault>>;

/// An event that waits for its commit.
struct Item {
    event: NewEvent,
    /// The request may have gone: its event is committed all the same.
    answer: oneshot::Sender<Verdict>,
    /// Its share of the bytes that may be under way.
    _room: OwnedSemaphorePermit,
}

type Inbox = Arc<Mutex<mpsc::Receiver<Item>>>;

/// The way to the writers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ingest {
    queue: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    closing: CancellationToken,
    writers: TaskTracker,
}

impl Ingest {
    /// Starts the writers. Needs a tokio runtime.
    pub(crate) fn start(db: &Db, config: &IngestConfig) -> Self {
        let (queue, inbox) = mpsc::channel(config.queue_events.max(1));
        let inbox: Inbox = Arc::new(Mutex::new(inbox));
        let closing = CancellationToken::new();
        let writers = TaskTracker::new();
        for number in 0..config.writers.max(1) {
            let writer = Writer {
                db: db.clone(),
                inbox: Arc::clone(&inbox),
                batch: config.batch.max(1),
                closing: closing.clone(),
            };
            writers.spawn(supervise(number, writer));
        }
        let room = config.queue_bytes.min(Semaphore::MAX_PERMITS);
        Self { queue, room: Arc::new(Semaphore::new(room)), closing, writers }
    }

    /// Commits an event, together with whatever else waits.
    ///
    /// # Errors
    /// 503 if the queue is full, the database is away or the server is stopping. The event may be
    /// committed nevertheless if the connection broke during the commit; sent again, it is then
    /// recognised as a duplicate.
    pub(crate) async fn submit(&self, event: NewEvent) -> Result<Ingested, ApiError> {
        // An empty body still takes a place.
        let bytes = u32::try_from(event.body.len().max(1)).unwrap_or(u32::MAX);
        let room =
            Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| full("bytes"))?;
        let (answer, verdict) = oneshot::channel();
        let _waiting = Waiting::one();
        self.queue.try_send(Item { event, answer, _room: room }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => full("events"),
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        match verdict.await {
            Ok(Ok(ingested)) => Ok(ingested),
            Ok(Err(fault)) if fault.is_transient() => {
                Err(ApiError::database_away().caused_by(fault))
            }
            Ok(Err(fault)) => Err(ApiError::internal(fault)),
            // The writer broke down over this batch; its successor is at work already.
            Err(_) => Err(stopping()),
        }
    }

    /// Commits what waits and ends the writers. What comes later is answered 503.
    pub(crate) async fn drain(&self) {
        self.closing.cancel();
        self.writers.close();
        self.writers.wait().await;
    }
}

/// Counts the requests that wait for their commit; a request that goes away is not counted on.
struct Waiting;

impl Waiting {
    fn one() -> Self {
        metrics::gauge!("switchyard_ingest_waiting").increment(1.0);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        metrics::gauge!("switchyard_ingest_waiting").decrement(1.0);
    }
}

fn full(what: &'static str) -> ApiError {
    metrics::counter!("switchyard_ingest_refused_total", "full" => what).increment(1);
    let message = "too much is coming in at this moment; nothing was stored, please send again";
    ApiError::unavailable("ingest_full", Duration::from_secs(1), message)
}

fn stopping() -> ApiError {
    let message = "this server is stopping or recovering; please send again";
    ApiError::unavailable("ingest_interrupted", Duration::from_secs(1), message)
}

#[derive(Clone)]
struct Writer {
    db: Db,
    inbox: Inbox,
    batch: usize,
    closing: CancellationToken,
}

/// Runs a writer; one that panics is replaced. Its requests hear that their answer is gone.
async fn supervise(number: usize, writer: Writer) {
    restarting(|| writer.clone().run(), |error| {
        metrics::counter!("switchyard_ingest_writer_restarts_total").increment(1);
        tracing::error!(writer = number, error = %error, "an ingest writer broke down; it starts anew");
    })
    .await;
}

/// Runs a task until it returns, anew after every panic.
async fn restarting<F>(task: impl Fn() -> F, broke: impl Fn(tokio::task::JoinError))
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Err(error) = tokio::spawn(task()).await {
        if error.is_cancelled() {
            // The runtime is going down.
            return;
        }
        broke(error);
    }
}

impl Writer {
    async fn run(self) {
        loop {
            let items = self.next().await;
            if items.is_empty() {
                return;
            }
            self.commit(items).await;
        }
    }

    /// Whatever waits, at least one event; empty once the queue is closed and drained. While one
    /// writer waits here, the other is in a transaction or waits for the lock.
    async fn next(&self) -> Vec<Item> {
        let mut items = Vec::new();
        let mut inbox = self.inbox.lock().await;
        tokio::select! {
            biased;
            () = self.closing.cancelled(), if !inbox.is_closed() => inbox.close(),
            _ = inbox.recv_many(&mut items, self.batch) => return items,
        }
        inbox.recv_many(&mut items, self.batch).await;
        items
    }

    async fn commit(&self, items: Vec<Item>) {
        let begun = Instant::now();
        metrics::histogram!("switchyard_ingest_batch_events").record(items.len() as f64);
        let (events, answers): (Vec<_>, Vec<_>) =
            items.into_iter().map(|i| (i.event, (i.answer, i._room))).unzip();
        match events::ingest(&self.db, &events).await {
            Ok(done) => {
                metrics::histogram!("switchyard_ingest_commit_seconds")
                    .record(begun.elapsed().as_secs_f64());
                for ((answer, _room), ingested) in answers.into_iter().zip(done) {
                    // A request that has gone does not need its answer.
                    let _ = answer.send(Ok(ingested));
                }
            }
            Err(fault) if !fault.is_transient() && events.len() > 1 => {
                tracing::warn!(error = %fault, n = events.len(), "a batch was refused; one by one");
                self.one_by_one(&events, answers).await;
            }
            Err(fault) => {
                let fault = Arc::new(fault);
                for (answer, _room) in answers {
                    let _ = answer.send(Err(Arc::clone(&fault)));
                }
                if fault.is_transient() {
                    self.refuse_waiting(&fault);
                }
            }
        }
    }

    /// One bad event must not take the others down with it.
    async fn one_by_one(
        &self,
        events: &[NewEvent],
        answers: Vec<(oneshot::Sender<Verdict>, OwnedSemaphorePermit)>,
    ) {
        for (event, (answer, _room)) in events.iter().zip(answers) {
            let done = events::ingest(&self.db, std::slice::from_ref(event)).await;
            let verdict = done.map_err(Arc::new).and_then(|done| {
                done.first().copied().ok_or_else(|| Arc::new(StoreFault::NotFound))
            });
            let _ = answer.send(verdict);
        }
    }

    /// While the database is away nobody is kept waiting for another attempt that will fail too.
    fn refuse_waiting(&self, fault: &Arc<StoreFault>) {
        // If the lock is taken, another writer has just taken what waited.
        let Ok(mut inbox) = self.inbox.try_lock() else { return };
        while let Ok(item) = inbox.try_recv() {
            let _ = item.answer.send(Err(Arc::clone(fault)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_task_that_panics_is_started_anew_until_it_ends() {
        let runs = Arc::new(AtomicU32::new(0));
        let breakdowns = AtomicU32::new(0);
        let task = || {
            let runs = Arc::clone(&runs);
            async move {
                assert!(runs.fetch_add(1, Ordering::SeqCst) >= 2, "the first two runs break down");
            }
        };
        restarting(task, |_| {
            breakdowns.fetch_add(1, Ordering::SeqCst);
        })
        .await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert_eq!(breakdowns.load(Ordering::SeqCst), 2);
    }
}
