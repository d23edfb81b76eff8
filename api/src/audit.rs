//! What came to the doors: every answer counted, refusals kept as samples. Written in the
//! background, a second late at most; nothing waits for it, and nothing of it grows without bound.

use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_domain::PortalId;
use switchyard_queue::{Allowance, LocalCounters, Refill};
use switchyard_store::refusals::{self, NewCount, NewRefusal};
use switchyard_store::{Db, Scope};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Refusals that may wait for the writer; what comes beyond is counted only.
const WAITING: usize = 512;
/// Samples in one transaction.
const BATCH: usize = 128;
/// How often is written.
const EVERY: Duration = Duration::from_secs(1);
/// Samples of one portal: so many at once, then one a second.
const SAMPLES_AT_ONCE: u32 = 30;
/// Different outcomes that may wait while the database is away; there are some fifty a portal.
const MOST_COUNTS: usize = 50_000;

type Counts = HashMap<(PortalId, &'static str), i64>;

/// The way to the writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Audit {
    shared: Arc<Shared>,
    samples: mpsc::Sender<NewRefusal>,
    closing: CancellationToken,
    writer: TaskTracker,
}

struct Shared {
    counts: Mutex<Counts>,
    budget: LocalCounters,
}

impl Audit {
    /// Starts the writer. Needs a tokio runtime.
    pub(crate) fn start(db: &Db) -> Self {
        let (samples, inbox) = mpsc::channel(WAITING);
        let shared =
            Arc::new(Shared { counts: Mutex::default(), budget: LocalCounters::default() });
        let (closing, writer) = (CancellationToken::new(), TaskTracker::new());
        writer.spawn(write(db.clone(), Arc::clone(&shared), inbox, closing.clone()));
        Self { shared, samples, closing, writer }
    }

    /// Counts an answer.
    pub(crate) fn count(&self, portal: PortalId, outcome: &'static str) {
        *self.shared.lock().entry((portal, outcome)).or_default() += 1;
    }

    /// Is a sample of this portal's refusals wanted? Asked before one is made.
    pub(crate) fn wants_sample(&self, portal: PortalId, now: DateTime<Utc>) -> bool {
        let rate = Refill { count: 1, period: Duration::from_secs(1) };
        let allowance = Allowance { rate: Some((rate, SAMPLES_AT_ONCE)), quota: None };
        let wanted = self.samples.capacity() > 0;
        wanted && self.shared.budget.take_now(&portal.to_string(), allowance, now).is_ok()
    }

    /// Keeps a sample, if there is room.
    pub(crate) fn keep(&self, sample: NewRefusal) {
        if self.samples.try_send(sample).is_err() {
            metrics::counter!("switchyard_refusal_samples_dropped_total").increment(1);
        }
    }

    /// Writes what is left and ends the writer.
    pub(crate) async fn drain(&self) {
        self.closing.cancel();
        self.writer.close();
        self.writer.wait().await;
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts that could not be written wait for the next time.
    fn put_back(&self, counts: Counts) {
        let mut waiting = self.lock();
        for (key, n) in counts {
            if waiting.len() < MOST_COUNTS || waiting.contains_key(&key) {
                *waiting.entry(key).or_default() += n;
            }
        }
    }
}

async fn write(
    db: Db,
    shared: Arc<Shared>,
    mut inbox: mpsc::Receiver<NewRefusal>,
    closing: CancellationToken,
) {
    loop {
        let last = tokio::select! {
            () = closing.cancelled() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        loop {
            let mut samples = Vec::new();
            while samples.len() < BATCH
                && let Ok(sample) = inbox.try_recv()
            {
                samples.push(sample);
            }
            let counts = std::mem::take(&mut *shared.lock());
            if samples.is_empty() && counts.is_empty() {
                break;
            }
            if let Err(fault) = record(&db, &samples, &counts).await {
                tracing::debug!(error = %fault, "refusals: not written, the counts wait");
                let lost = samples.len() as u64;
                metrics::counter!("switchyard_refusal_samples_dropped_total").increment(lost);
                shared.put_back(counts);
                break;
            }
        }
        if last {
            return;
        }
    }
}

async fn record(db: &Db, samples: &[NewRefusal], counts: &Counts) -> switchyard_store::Result<()> {
    let counts: Vec<NewCount> = counts
        .iter()
        .map(|((portal, outcome), n)| NewCount {
            portal: *portal,
            outcome: (*outcome).to_owned(),
            n: *n,
        })
        .collect();
    let mut tx = db.begin(Scope::Platform).await?;
    refusals::record(&mut tx, samples, &counts).await?;
    tx.commit().await
}
