//! Writing results down: many in one statement, again and again until the store has them.

use crate::Worker;
use crate::backoff::{Backoff, cause, within};
use crate::flight::{Flying, Stop, Ticket};
use crate::handoff::Claimed;
use crate::verdict::{Ended, Verdict, decide};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_queue::{Held, JobId, JobStore, RetryPolicy, SettleAs, Settlement, SystemEntropy};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// Most results in one statement.
const MAX_BATCH: usize = 500;
/// Results that may wait; beyond it attempts wait for their turn, and claiming stops.
const CAPACITY: usize = 4 * MAX_BATCH;
/// A batch that failed this often is written in parts, in case one result spoils it.
const SPLIT_AFTER: u32 = 3;
/// A single result that failed this often, while the store renewed its lease, is given up.
const GIVE_UP_AFTER: u32 = 10;

/// One result on its way, with the right to forget the job once it is written.
pub(crate) struct SettleItem {
    settlement: Settlement,
    flying: Arc<Flying>,
    ticket: Ticket,
}

impl SettleItem {
    pub(crate) fn new(
        flying: &Arc<Flying>,
        result: SettleAs,
        ran: Duration,
        ticket: Ticket,
    ) -> Self {
        let job = &flying.job;
        let held = Held { id: job.id, fence: job.fence };
        let settlement = Settlement { held, result, ran };
        Self { settlement, flying: Arc::clone(flying), ticket }
    }
}

/// What gives a list of jobs back; see [`SettleQueue::give_back`].
pub(crate) type GiveBack = BoxFuture<'static, ()>;

/// Where results are handed in.
#[derive(Clone)]
pub(crate) struct SettleQueue(mpsc::Sender<SettleItem>);

/// The other end of it, shared by the settlers.
pub(crate) type SettleReceiver = Arc<Mutex<mpsc::Receiver<SettleItem>>>;

impl SettleQueue {
    pub(crate) fn new() -> (Self, SettleReceiver) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), Arc::new(Mutex::new(receiver)))
    }

    /// Hands a result in, waiting while too many are on their way.
    pub(crate) async fn put(&self, mut item: SettleItem) {
        match self.0.reserve().await {
            Ok(place) => {
                item.ticket.over();
                place.send(item);
            }
            // Only an attempt that outlived the whole drain comes here.
            Err(_) => tracing::error!(
                job = %item.settlement.held.id,
                "the worker is gone; the result is lost and the job will run again"
            ),
        }
    }

    /// Hands in jobs that were claimed and never began: cancelled if an operator wanted it so,
    /// otherwise given back.
    pub(crate) fn give_back(self, jobs: Vec<Claimed>) -> GiveBack {
        async move {
            for claimed in jobs {
                let (flying, stopped) = (&claimed.flying, claimed.flying.stopped());
                let policy = RetryPolicy::default();
                let verdict =
                    decide(&flying.job, Ended::NeverBegan, stopped, &policy, &SystemEntropy);
                if let (Verdict::Write(result), Some(ticket)) = (verdict, claimed.ticket) {
                    self.put(SettleItem::new(flying, result, Duration::ZERO, ticket)).await;
                }
            }
        }
        .boxed()
    }
}

/// One settler. Two of them take turns: while one waits for the store, the other collects.
///
/// After `finish` it takes what is still there and returns.
pub(crate) async fn run<S: JobStore>(
    worker: Arc<Worker<S>>,
    results: SettleReceiver,
    finish: CancellationToken,
) {
    let mut closed = false;
    loop {
        let mut batch = Vec::new();
        {
            let mut results = results.lock().await;
            let taken = if closed {
                results.recv_many(&mut batch, MAX_BATCH).await
            } else {
                tokio::select! {
                    biased;
                    n = results.recv_many(&mut batch, MAX_BATCH) => n,
                    () = finish.cancelled() => {
                        results.close();
                        closed = true;
                        continue;
                    }
                }
            };
            if taken == 0 {
                return;
            }
            if batch.len() < MAX_BATCH && !finish.is_cancelled() {
                tokio::time::sleep(worker.config.settle_window).await;
            }
            while batch.len() < MAX_BATCH
                && let Ok(item) = results.try_recv()
            {
                batch.push(item);
            }
        }
        write(&worker, batch).await;
    }
}

/// Writes a batch, whatever it takes.
///
/// A failure is taken as the store's, so it is tried again; a batch that keeps failing is cut in
/// halves, so that one result that cannot be written does not hold up the others.
async fn write<S: JobStore>(worker: &Worker<S>, batch: Vec<SettleItem>) {
    let began = Instant::now();
    let mut backoff = Backoff::store();
    let mut parts = vec![(batch, 0_u32)];
    while let Some((mut part, failures)) = parts.pop() {
        part.retain(|item| !is_lost(worker, item));
        let results: Vec<Settlement> = part.iter().map(|item| item.settlement.clone()).collect();
        if results.is_empty() {
            continue;
        }
        match within(worker.config.lease, "settle", worker.store.settle(&results)).await {
            Ok(stood) => {
                backoff.reset();
                written(worker, part, &stood);
            }
            Err(error) => {
                let failures = failures + 1;
                tracing::warn!(
                    error = cause(&error),
                    results = part.len(),
                    failures,
                    "results could not be written; trying again"
                );
                if part.len() > 1 && failures >= SPLIT_AFTER {
                    let rest = part.split_off(part.len() / 2);
                    parts.push((rest, failures));
                } else if part.len() == 1 && failures >= GIVE_UP_AFTER {
                    part.retain(|item| !is_spoilt(worker, item, began, failures));
                }
                parts.push((part, failures));
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

/// The store said in the meantime that the claim is gone: somebody else has the job.
fn is_lost<S: JobStore>(worker: &Worker<S>, item: &SettleItem) -> bool {
    let lost = item.flying.stopped() == Some(Stop::Lost);
    if lost {
        worker.meters.fence_refused(1);
        tracing::warn!(job = %item.settlement.held.id, "the claim was lost; the result is dropped");
    }
    lost
}

/// The store lives (it renewed the lease since), but will not take this result.
fn is_spoilt<S: JobStore>(
    worker: &Worker<S>,
    item: &SettleItem,
    began: Instant,
    failures: u32,
) -> bool {
    let held = item.settlement.held;
    let spoilt = worker.flight.stands_beyond(held, began + worker.config.lease);
    if spoilt {
        tracing::error!(
            job = %held.id, failures,
            "the store refuses this result; it is dropped and the job will run again"
        );
    }
    spoilt
}

fn written<S: JobStore>(worker: &Worker<S>, part: Vec<SettleItem>, stood: &[JobId]) {
    worker.meters.settled(part.len());
    if stood.len() < part.len() {
        worker.meters.fence_refused(part.len() - stood.len());
        for item in part.iter().filter(|i| !stood.contains(&i.settlement.held.id)) {
            let Held { id, fence } = item.settlement.held;
            tracing::warn!(job = %id, fence = fence.0, "the result was refused: the claim is over");
        }
    }
}
