//! Transactions of the application: the one place where the tenant is set, and the one place from
//! which jobs are enqueued. Wake-ups go out after the commit, never inside it.

use crate::engine::{enqueue, lanes, settle, workflows};
use crate::events::SettingsCache;
use crate::outbound::Subscriptions;
use crate::{Db, Result, StoreFault};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqlSafeStr, SqlStr, Transaction};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};
use switchyard_domain::AgencyId;
use switchyard_queue::{
    ClaimedJob, Enqueued, Held, JobError, JobResult, NewJob, Outcome, SettleAs, Settled,
    StartedWorkflow, WakeToken, Workflow, check_result,
};

/// In whose name a transaction reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The platform: ingest, distribution, operators.
    Platform,
    /// One agency: sees and writes its own rows only.
    Tenant(AgencyId),
}

impl Scope {
    /// The scope of a job.
    #[must_use]
    pub fn of(job: &ClaimedJob) -> Self {
        job.tenant.map_or(Self::Platform, |id| Self::Tenant(AgencyId(id)))
    }
}

/// A transaction with its scope set. Dropped without [`Tx::commit`], it rolls back.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    db: Db,
    wakes: BTreeSet<WakeToken>,
    resubscribed: bool,
}

impl Tx {
    pub(crate) async fn begin(db: &Db, scope: Scope) -> Result<Self> {
        let inner = db.begin_app(begin_in(scope)).await?;
        Ok(Self { inner, db: db.clone(), wakes: BTreeSet::new(), resubscribed: false })
    }

    /// The same for a job of the line, which looks rows up by their keys and nothing else. Plans of a time
    /// when the tables were small would read them from end to end long after.
    ///
    /// Of several jobs, none is to be held up for long by a row that somebody else has locked.
    pub(crate) async fn begin_by_keys(db: &Db, scope: Scope, several: bool) -> Result<Self> {
        let patience = if several { "; set local lock_timeout = '1s'" } else { "" };
        let begin =
            format!("{}; set local enable_seqscan = off{patience}", begin_in(scope).as_str());
        let inner = db.begin_app(AssertSqlSafe(begin).into_sql_str()).await?;
        Ok(Self { inner, db: db.clone(), wakes: BTreeSet::new(), resubscribed: false })
    }

    /// Enqueues one job in this transaction.
    ///
    /// # Errors
    /// If the database refuses it.
    pub async fn enqueue(&mut self, job: NewJob) -> Result<Enqueued> {
        let mut all = self.enqueue_all(vec![job]).await?;
        all.pop().ok_or(StoreFault::NotFound)
    }

    /// Enqueues many jobs in one round trip. The answers come in the order of the jobs.
    ///
    /// # Errors
    /// If the database refuses them; then none is enqueued.
    pub async fn enqueue_all(&mut self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        let lanes = lanes::of(&self.db, &jobs).await?;
        let placed = enqueue::insert(&mut self.inner, &jobs, &lanes, self.db.cipher()).await?;
        self.wakes.extend(placed.iter().filter_map(|p| p.wake));
        Ok(placed.into_iter().map(|p| p.answer).collect())
    }

    /// Starts a workflow in this transaction: all its jobs are enqueued, or none.
    ///
    /// # Errors
    /// [`StoreFault::Workflow`] if its description is wrong or the unique key of a job in it is held;
    /// then nothing was written and the transaction can go on. Or if the database refuses it.
    pub async fn start_workflow(&mut self, workflow: Workflow) -> Result<StartedWorkflow> {
        let plan = workflow.plan()?;
        let lanes = lanes::of(&self.db, &plan.jobs).await?;
        let wakes = workflows::start(&mut self.inner, &plan, &lanes, self.db.cipher()).await?;
        self.wakes.extend(wakes);
        Ok(StartedWorkflow { id: plan.id, jobs: plan.jobs.iter().map(|j| j.id).collect() })
    }

    /// Makes it so, then wakes whoever waits for the jobs enqueued here.
    ///
    /// # Errors
    /// If the commit failed. When the connection broke during it, the outcome is unknown.
    pub async fn commit(self) -> Result<()> {
        to_its_end(async move {
            self.inner.commit().await?;
            if self.resubscribed {
                self.db.subscriptions().forget();
            }
            if !self.wakes.is_empty() {
                let wakes: Vec<WakeToken> = self.wakes.into_iter().collect();
                self.db.wake().send(&wakes);
            }
            Ok(())
        })
        .await
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// If the database is not available; then it rolls back by itself.
    pub async fn rollback(self) -> Result<()> {
        to_its_end(async move { Ok(self.inner.rollback().await?) }).await
    }

    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn subscriptions(&self) -> &Subscriptions {
        self.db.subscriptions()
    }

    /// What this process has read of portals' settings.
    pub(crate) fn settings(&self) -> &SettingsCache {
        self.db.settings()
    }

    /// What is known of subscriptions will not hold after this transaction.
    pub(crate) fn forget_subscriptions(&mut self) {
        self.resubscribed = true;
    }
}

/// Ends a transaction whatever becomes of the caller: dropped half way, a commit that has happened would
/// wake nobody, and what sqlx then rolls back is no transaction any more.
async fn to_its_end<F>(end: F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let ended = tokio::spawn(end).await;
    ended.unwrap_or(Err(StoreFault::Unavailable(sqlx::Error::WorkerCrashed)))
}

/// A transaction of the engine. Dropped without [`EngineTx::commit`], it rolls back.
pub(crate) struct EngineTx(pub(crate) Transaction<'static, Postgres>);

impl EngineTx {
    /// Makes it so.
    pub(crate) async fn commit(self) -> Result<()> {
        to_its_end(async move { Ok(self.0.commit().await?) }).await
    }

    /// Undoes everything.
    pub(crate) async fn rollback(self) -> Result<()> {
        to_its_end(async move { Ok(self.0.rollback().await?) }).await
    }
}

impl Deref for EngineTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for EngineTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// `begin` with the scope, in one round trip: every transaction pays for it. An id is the only
/// text that is put into a statement anywhere; a UUID has no character that could end a literal.
fn begin_in(scope: Scope) -> SqlStr {
    match scope {
        Scope::Platform => "begin; set local switchyard.scope = 'platform'".into_sql_str(),
        Scope::Tenant(agency) => AssertSqlSafe(format!(
            "begin; set local switchyard.scope = 'tenant'; set local switchyard.tenant = '{agency}'"
        ))
        .into_sql_str(),
    }
}

/// A job's own transaction: the job's row is locked at its fence, so the effects written here and
/// the end of the job are one commit, and a worker that lost the job can write neither.
pub struct JobTx {
    tx: Tx,
    held: Held,
    lease: Duration,
    begun: Instant,
}

impl Db {
    /// Opens the transaction of a running job, in the job's scope.
    ///
    /// # Errors
    /// [`StoreFault::LeaseLost`] if the job is no longer held under this fence.
    pub async fn begin_job(&self, job: &ClaimedJob) -> Result<JobTx> {
        self.begin_job_as(job, Scope::of(job)).await
    }

    /// The same in a scope other than the job's own.
    ///
    /// # Errors
    /// [`StoreFault::LeaseLost`] if the job is no longer held under this fence.
    pub async fn begin_job_as(&self, job: &ClaimedJob, scope: Scope) -> Result<JobTx> {
        let held = Held { id: job.id, fence: job.fence };
        let mut tx = self.begin(scope).await?;
        settle::lock(tx.conn(), held, job.lease).await?;
        Ok(JobTx { tx, held, lease: job.lease, begun: Instant::now() })
    }
}

impl JobTx {
    /// Settles the job as completed in this transaction and commits both.
    ///
    /// # Errors
    /// As a [`switchyard_queue::JobError`], ready to be given back by `run`.
    pub async fn done(self) -> JobResult {
        self.finish(SettleAs::Completed).await
    }

    /// The same, with a result for the jobs of its workflow that wait for this one.
    ///
    /// # Errors
    /// As [`JobTx::done`]; a result that cannot be kept (see [`check_result`]) fails for good, and
    /// what this transaction wrote is undone.
    pub async fn done_with(self, result: Value) -> JobResult {
        check_result(&result).map_err(JobError::permanent)?;
        self.finish(SettleAs::CompletedWith(result)).await
    }

    /// Settles the job as cancelled, with the reason, and commits both.
    ///
    /// # Errors
    /// As [`JobTx::done`].
    pub async fn cancelled(self, reason: impl Into<String>) -> JobResult {
        self.finish(SettleAs::Cancelled(reason.into())).await
    }

    /// Commits what was written so far; the job goes on running. While the transaction lasted nobody could
    /// take the job, but nobody could renew its lease either: if that was long, it is renewed here.
    ///
    /// # Errors
    /// If the commit failed.
    pub async fn commit(mut self) -> Result<()> {
        if self.begun.elapsed() > self.lease / 3 {
            settle::extend(self.tx.conn(), self.held, self.lease).await?;
        }
        self.tx.commit().await
    }

    pub(crate) fn held(&self) -> Held {
        self.held
    }

    async fn finish(mut self, result: SettleAs) -> JobResult {
        let written = settle::write_one(self.tx.conn(), self.held, &result).await;
        let written = written.map_err(StoreFault::into_job_error)?;
        if written.stood.is_empty() {
            return Err(StoreFault::LeaseLost.into_job_error());
        }
        let db = self.tx.db.clone();
        self.tx.commit().await.map_err(StoreFault::into_job_error)?;
        workflows::advance_soon(&db, &Vec::from_iter(written.workflows)).await;
        Ok(Outcome::Settled(Settled::committed()))
    }
}

impl Deref for JobTx {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for JobTx {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}
