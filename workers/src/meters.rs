//! What the worker measures. Names and labels are an interface: dashboards and alarms use them.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::collections::HashMap;
use std::time::Duration;
use switchyard_queue::{ClaimedJob, Dispatcher};

/// The outcomes under which `switchyard_jobs_finished_total` counts.
pub(crate) const OUTCOMES: [&str; 7] =
    ["completed", "cancelled", "retried", "snoozed", "discarded", "given_back", "lost"];

struct KindMeters {
    started: Counter,
    finished: [Counter; OUTCOMES.len()],
    duration: Histogram,
    wait: Histogram,
}

/// Handles to the metrics, looked up once.
pub(crate) struct Meters {
    /// By every name a kind is stored under.
    kinds: HashMap<String, usize>,
    by_kind: Vec<KindMeters>,
    running: Gauge,
    waiting: Gauge,
    free: Gauge,
    settle_batch: Histogram,
    fence_refused: Counter,
}

impl Meters {
    /// Takes the handles from the recorder that is installed now.
    pub(crate) fn new(dispatcher: &Dispatcher) -> Self {
        let mut kinds = HashMap::new();
        let mut by_kind = Vec::new();
        for info in dispatcher.kinds() {
            kinds.extend(info.runs().map(|name| (name.into_owned(), by_kind.len())));
            let finished = OUTCOMES.map(|outcome| {
                counter!("switchyard_jobs_finished_total", "kind" => info.kind, "outcome" => outcome)
            });
            by_kind.push(KindMeters {
                started: counter!("switchyard_jobs_started_total", "kind" => info.kind),
                finished,
                duration: histogram!("switchyard_job_duration_seconds", "kind" => info.kind),
                wait: histogram!("switchyard_job_wait_seconds", "queue" => info.queue.0),
            });
        }
        let slots = |state| gauge!("switchyard_worker_slots", "state" => state);
        Self {
            kinds,
            by_kind,
            running: slots("running"),
            waiting: slots("prefetched"),
            free: slots("free"),
            settle_batch: histogram!("switchyard_settle_batch_size"),
            fence_refused: counter!("switchyard_fence_refused_total"),
        }
    }

    fn of(&self, job: &ClaimedJob) -> Option<&KindMeters> {
        self.kinds.get(job.kind.as_str()).and_then(|i| self.by_kind.get(*i))
    }

    /// An attempt begins. The wait is measured against this machine's clock, so it is as good as
    /// the clocks agree.
    pub(crate) fn started(&self, job: &ClaimedJob) {
        if let Some(meters) = self.of(job) {
            meters.started.increment(1);
            let waited = chrono::Utc::now().signed_duration_since(job.run_at);
            meters.wait.record(waited.to_std().unwrap_or_default());
        }
    }

    /// An attempt is over.
    pub(crate) fn finished(&self, job: &ClaimedJob, outcome: &str, ran: Duration) {
        if let Some(meters) = self.of(job) {
            meters.duration.record(ran);
            if let Some(i) = OUTCOMES.iter().position(|o| *o == outcome) {
                meters.finished[i].increment(1);
            }
        }
    }

    /// The state of the slots.
    pub(crate) fn slots(&self, running: usize, waiting: usize, slots: usize) {
        self.running.set(running as f64);
        self.waiting.set(waiting as f64);
        self.free.set(slots.saturating_sub(running) as f64);
    }

    /// A statement wrote this many results.
    pub(crate) fn settled(&self, results: usize) {
        self.settle_batch.record(results as f64);
    }

    /// Results that came too late.
    pub(crate) fn fence_refused(&self, results: usize) {
        self.fence_refused.increment(results as u64);
    }
}
