//! The job store that workers use, over connections of its own.

use super::line::{Line, Taken, within};
use super::{claim, kinds, presence, progress, settle, workflows};
use crate::{Db, Result, StoreFault};
use sqlx::{Connection, PgConnection};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use switchyard_queue::{
    ActiveLane, Claim, ClaimRequest, Held, JobId, JobStore, LaneId, LaneTake, Presence, Reaped,
    Renewed, Report, Settlement, StoreError, WorkerId, WorkerInfo,
};
use uuid::Uuid;

/// A worker that went is remembered for two leases, and at least this long: after that its leases
/// have run out by themselves.
const SHORTEST_MEMORY: Duration = Duration::from_secs(60);

/// How long a settler lets workflows go on before it comes back to its results, which are written: a
/// worker must not take a slow workflow for a settlement that failed. What is left is the scheduler's.
const ADVANCE: Duration = Duration::from_secs(5);
/// How often claims under limits look for jobs whose lease ran out though nobody knows of their
/// worker's death (it froze, or the network broke).
const LOOK_FOR_LAPSED: Duration = Duration::from_secs(1);

/// Jobs in PostgreSQL. Cheap to clone; clones share four connections: one claims, two settle, one
/// renews and looks for the dead. A presence has one more for each worker. Connections are made
/// when they are needed and made anew when they break.
#[derive(Clone)]
pub struct PgJobStore(Arc<Inner>);

struct Inner {
    db: Db,
    claim: Line,
    settle: [Line; 2],
    renew: Line,
    /// The longest lease seen, in milliseconds.
    lease: AtomicU64,
    /// When claims under limits last looked for jobs whose lease ran out.
    looked: Mutex<Option<Instant>>,
}

impl fmt::Debug for PgJobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgJobStore").finish_non_exhaustive()
    }
}

impl PgJobStore {
    /// A store over this database.
    #[must_use]
    pub fn new(db: &Db) -> Self {
        Self(Arc::new(Inner {
            db: db.clone(),
            claim: Line::new(db, "switchyard claim"),
            settle: [Line::new(db, "switchyard settle"), Line::new(db, "switchyard settle")],
            renew: Line::new(db, "switchyard renew"),
            lease: AtomicU64::new(0),
            looked: Mutex::new(None),
        }))
    }

    fn saw_lease(&self, lease: Duration) {
        let millis = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.0.lease.fetch_max(millis, Ordering::Relaxed);
    }

    fn memory(&self) -> Duration {
        let lease = Duration::from_millis(self.0.lease.load(Ordering::Relaxed));
        lease.saturating_mul(2).max(SHORTEST_MEMORY)
    }

    /// Whichever settling connection is free, else the second as soon as it is.
    async fn settling(&self) -> Result<Taken<'_>> {
        let [first, second] = &self.0.settle;
        match first.try_take().await {
            Some(line) => line,
            None => second.take().await,
        }
    }

    async fn write(&self, results: &[Settlement]) -> Result<settle::Written> {
        let mut line = self.settling().await?;
        let limit = line.limit();
        let written = if settle::mixed(results) {
            let mut tx = line.connection().begin().await?;
            let written = within(limit, settle::write(&mut tx, results)).await?;
            within(limit, async { Ok(tx.commit().await?) }).await?;
            written
        } else {
            within(limit, settle::write(line.connection(), results)).await?
        };
        if written.workflows.is_empty() {
            line.keep();
            return Ok(written);
        }
        let ids: Vec<Uuid> = written.workflows.iter().copied().collect();
        let advance = workflows::advance(&self.0.db, line.connection(), &ids);
        match within(limit.min(ADVANCE), advance).await {
            Ok(()) => line.keep(),
            Err(fault) => workflows::left(&fault),
        }
        Ok(written)
    }

    /// On a connection that settles: of all that goes over the connections a report may wait longest,
    /// and what it holds up are results that wait a millisecond anyway.
    async fn report_on_line(&self, reports: &[(Held, Report)]) -> Result<Vec<JobId>> {
        let mut line = self.settling().await?;
        let limit = line.limit();
        let written = within(limit, progress::report(line.connection(), reports)).await?;
        line.keep();
        Ok(written)
    }

    async fn claim_on_line(&self, request: &ClaimRequest<'_>) -> Result<Claim> {
        let (limited, open): (Vec<LaneTake>, Vec<LaneTake>) =
            request.lanes.iter().cloned().partition(|l| l.limited);
        let mut line = self.0.claim.take().await?;
        let limit = line.limit();
        let jobs = within(limit, claim::take(line.connection(), request, &open)).await?;
        let mut claim = Claim { jobs, held_back: Vec::new() };
        if !limited.is_empty() {
            // The jobs above are claimed: an error now must not lose sight of them.
            match self.claim_limited(line.connection(), limit, request, &limited).await {
                Ok(more) => {
                    claim.jobs.extend(more.jobs);
                    claim.held_back = more.held_back;
                }
                Err(fault) if claim.jobs.is_empty() => return Err(fault),
                Err(fault) => {
                    tracing::warn!(error = %fault, "no jobs of limited lanes could be claimed");
                    return Ok(claim);
                }
            }
        }
        line.keep();
        Ok(claim)
    }

    async fn claim_limited(
        &self,
        connection: &mut PgConnection,
        limit: Duration,
        request: &ClaimRequest<'_>,
        lanes: &[LaneTake],
    ) -> Result<Claim> {
        let look = self.is_time_for_the_lapsed();
        let mut tx = connection.begin().await?;
        let claim = within(limit, claim::take_limited(&mut tx, request, lanes, look)).await?;
        within(limit, async { Ok(tx.commit().await?) }).await?;
        Ok(claim)
    }

    /// Once a second.
    fn is_time_for_the_lapsed(&self) -> bool {
        let mut last = self.0.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= LOOK_FOR_LAPSED);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    async fn active_on_line(&self, queues: &[String]) -> Result<Vec<ActiveLane>> {
        let mut line = self.0.claim.take().await?;
        let limit = line.limit();
        let lanes = within(limit, claim::active_lanes(line.connection(), queues)).await?;
        line.keep();
        Ok(lanes)
    }

    async fn lanes_on_line(&self, queues: &[String], lanes: &[LaneId]) -> Result<Vec<ActiveLane>> {
        let mut line = self.0.claim.take().await?;
        let limit = line.limit();
        let lanes = within(limit, claim::lanes_of(line.connection(), queues, lanes)).await?;
        line.keep();
        Ok(lanes)
    }

    async fn renew_on_line(&self, held: &[Held], lease: Duration) -> Result<Vec<Renewed>> {
        let mut line = self.0.renew.take().await?;
        let limit = line.limit();
        let renewed = within(limit, claim::renew(line.connection(), held, lease)).await?;
        line.keep();
        Ok(renewed)
    }

    async fn reap_on_line(&self, me: Option<WorkerId>) -> Result<Reaped> {
        let mut line = self.0.renew.take().await?;
        let limit = line.limit();
        let (reaped, _) =
            within(limit, presence::reap(line.connection(), self.memory(), me)).await?;
        line.keep();
        Ok(reaped)
    }
}

fn failed(what: &'static str) -> impl Fn(StoreFault) -> StoreError {
    move |fault| StoreError::new(what, fault)
}

impl JobStore for PgJobStore {
    async fn register(&self, info: &WorkerInfo) -> Result<Presence, StoreError> {
        let declared = kinds::declare(&self.0.db, &info.declares).await;
        declared.map_err(failed("declare its kinds"))?;
        presence::register(&self.0.db, info).await.map_err(failed("register a worker"))
    }

    async fn deregister(&self, worker: WorkerId) -> Result<(), StoreError> {
        presence::deregister(&self.0.db, worker).await.map_err(failed("sign a worker off"))
    }

    async fn reap(&self, me: Option<WorkerId>) -> Result<Reaped, StoreError> {
        self.reap_on_line(me).await.map_err(failed("look for dead workers"))
    }

    async fn active_lanes(&self, queues: &[String]) -> Result<Vec<ActiveLane>, StoreError> {
        self.active_on_line(queues).await.map_err(failed("find lanes with work"))
    }

    async fn lanes_of(
        &self,
        queues: &[String],
        lanes: &[LaneId],
    ) -> Result<Vec<ActiveLane>, StoreError> {
        self.lanes_on_line(queues, lanes).await.map_err(failed("look lanes up"))
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
        self.saw_lease(request.lease);
        self.claim_on_line(request).await.map_err(failed("claim jobs"))
    }

    async fn renew(&self, held: &[Held], lease: Duration) -> Result<Vec<Renewed>, StoreError> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        self.saw_lease(lease);
        self.renew_on_line(held, lease).await.map_err(failed("renew leases"))
    }

    async fn report(&self, reports: &[(Held, Report)]) -> Result<Vec<JobId>, StoreError> {
        if reports.is_empty() {
            return Ok(Vec::new());
        }
        self.report_on_line(reports).await.map_err(failed("report progress"))
    }

    async fn settle(&self, results: &[Settlement]) -> Result<Vec<JobId>, StoreError> {
        if results.is_empty() {
            return Ok(Vec::new());
        }
        let written = self.write(results).await.map_err(failed("settle jobs"))?;
        if !written.freed.is_empty() {
            self.0.db.wake().send(&written.freed);
        }
        Ok(written.stood)
    }
}
