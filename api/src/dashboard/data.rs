//! What the overview shows, as data: read in few statements, compared to tell what changed.

use super::overview::{SLOT_SECONDS, SLOTS};
use crate::Api;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use std::collections::{BTreeMap, BTreeSet};
use switchyard_queue::JobState;
use switchyard_store::jobs::{self, JobFilter, QueueSummary, WorkerRow};
use switchyard_store::overview::{self, Attention, Bucket, LeadLine};
use switchyard_store::{Result, Scope};

/// Rows of the track.
const LINES: u32 = 12;
/// Running jobs that are looked at to tell which worker runs how many.
const RUNNING: u32 = 500;

/// One look at the platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Data {
    pub lines: Vec<LeadLine>,
    pub queues: Vec<Queue>,
    pub workers: Vec<Worker>,
    /// Kinds that a living worker knows.
    pub served: BTreeSet<String>,
    pub attention: Attention,
    /// Running jobs that have been silent for too long.
    pub stuck: i64,
    /// Finished jobs of the last 15 minutes.
    pub buckets: Vec<Bucket>,
    /// The chart's present slot: it moves on even if nothing happens.
    pub slot: i64,
}

/// One queue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Queue {
    pub name: String,
    pub paused: bool,
    pub weight: u16,
    pub held: Vec<String>,
    pub oldest: Option<DateTime<Utc>>,
    counts: BTreeMap<JobState, i64>,
}

impl Queue {
    pub(super) fn new(q: QueueSummary, now: DateTime<Utc>) -> Self {
        // To the second, or the same queue would differ at every look.
        let since = |d: std::time::Duration| (now - d).duration_round(TimeDelta::seconds(1)).ok();
        let oldest = q.oldest_waiting.and_then(since);
        let QueueSummary { queue: name, paused, weight, held, counts, .. } = q;
        Self { name, paused, weight, held, oldest, counts }
    }

    pub(super) fn count(&self, state: JobState) -> i64 {
        self.counts.get(&state).copied().unwrap_or(0)
    }
}

/// One living worker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Worker {
    pub id: i64,
    pub name: String,
    pub running: usize,
    pub started_at: DateTime<Utc>,
}

impl Data {
    /// Looks at everything; what changes slowly is taken from `before` if there is one.
    pub(super) async fn fetch(api: &Api, before: Option<&Self>) -> Result<Self> {
        let now = api.clock.now();
        let mut data = before.cloned().unwrap_or_default();
        data.slot = now.timestamp().div_euclid(SLOT_SECONDS);
        let mut tx = api.db.begin(Scope::Platform).await?;
        data.lines = overview::lines(&mut tx, LINES).await?;
        if before.is_none() {
            data.attention = overview::attention(&mut tx).await?;
        }
        tx.rollback().await?;
        let queues = jobs::queues(&api.db).await?;
        data.queues = queues.into_iter().map(|q| Queue::new(q, now)).collect();
        Ok(data)
    }

    /// What a look once a second is enough for.
    pub(super) async fn fetch_slow(&mut self, api: &Api) -> Result<()> {
        let mut tx = api.db.begin(Scope::Platform).await?;
        self.attention = overview::attention(&mut tx).await?;
        tx.rollback().await?;
        self.stuck = jobs::stuck(&api.db).await?.iter().map(|k| k.n).sum();
        let workers = jobs::workers(&api.db).await?;
        let running =
            JobFilter { state: Some(JobState::Running), limit: RUNNING, ..JobFilter::default() };
        let running = jobs::list(&api.db, &running).await?;
        let runs = |id| running.iter().filter(|j| j.worker.is_some_and(|w| w.0 == id)).count();
        let live: Vec<&WorkerRow> = workers.iter().filter(|w| w.is_live()).collect();
        self.served = live.iter().flat_map(|w| w.kinds.iter().cloned()).collect();
        self.workers = live
            .into_iter()
            .map(|w| Worker {
                id: w.id,
                name: format!("{}:{}", w.host, w.pid),
                running: runs(w.id),
                started_at: w.started_at,
            })
            .collect();
        self.fetch_chart(api).await
    }

    /// Only the slots since the last look are counted anew.
    async fn fetch_chart(&mut self, api: &Api) -> Result<()> {
        let first = (self.slot - SLOTS + 1) * SLOT_SECONDS;
        let from = self.buckets.last().map_or(first, |b| b.at.timestamp().max(first));
        let since = DateTime::from_timestamp(from, 0).unwrap_or_default();
        let step = u32::try_from(SLOT_SECONDS).unwrap_or(u32::MAX);
        let fresh = overview::throughput(&api.db, since, step).await?;
        self.buckets.retain(|b| b.at < since && b.at.timestamp() >= first);
        self.buckets.extend(fresh);
        Ok(())
    }

    /// How many jobs there ever were: it grows exactly when one is added.
    pub(super) fn jobs(&self) -> i64 {
        self.queues.iter().flat_map(|q| q.counts.values()).sum()
    }

    /// The latest delivery.
    pub(super) fn newest_event(&self) -> String {
        self.lines.first().map(|l| l.event.to_string()).unwrap_or_default()
    }

    /// The latest message about the latest deliveries.
    pub(super) fn newest_message(&self) -> String {
        let messages = self.lines.iter().flat_map(|l| &l.assignments).flat_map(|a| &a.messages);
        messages.map(|m| m.id).max().map(|id| id.to_string()).unwrap_or_default()
    }

    /// Whether no living worker knows the kind.
    pub(super) fn unserved(&self, kind: &str) -> bool {
        !self.served.contains(kind)
    }
}
