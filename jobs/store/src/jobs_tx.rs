//! One transaction of several running jobs: what they do and their ends are one commit.

use crate::engine::{settle, workflows};
use crate::{Db, Result, Scope, StoreFault, Tx};
use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use switchyard_queue::{ClaimedJob, Held, JobResult, Outcome, SettleAs, Settled};

/// The transaction of several jobs, all of one worker. Each job's row is locked at
/// its fence, as in [`crate::JobTx`].
pub struct JobsTx {
    tx: Tx,
    stand: HashSet<Held>,
}

impl Db {
    /// Opens one transaction for several running jobs, in the scope that they share; if they do not, in the
    /// platform's, and then whatever is done for one names its tenant. Those that are no longer
    /// held under their fence are left out, see [`JobsTx::stands`]. Where there are several, a row that
    /// somebody else has locked is waited for a second at most.
    ///
    /// # Errors
    /// If the database is not available, or a row is locked for longer.
    pub async fn begin_jobs(&self, jobs: &[&ClaimedJob]) -> Result<JobsTx> {
        let Some(first) = jobs.first() else { return Err(StoreFault::NotFound) };
        let shared = jobs.iter().all(|job| job.tenant == first.tenant);
        let scope = if shared { Scope::of(first) } else { Scope::Platform };
        let mut tx = Tx::begin_by_keys(self, scope, jobs.len() > 1).await?;
        let held: Vec<Held> = jobs.iter().map(|job| held(job)).collect();
        let stand = settle::lock_all(tx.conn(), &held, first.lease).await?;
        Ok(JobsTx { tx, stand: stand.into_iter().collect() })
    }
}

impl JobsTx {
    /// Whether this job is still held under its fence; if not, nothing may be done for it here.
    #[must_use]
    pub fn stands(&self, job: &ClaimedJob) -> bool {
        self.stand.contains(&held(job))
    }

    /// Makes what was written so; the jobs go on.
    ///
    /// # Errors
    /// If the commit failed: when the connection broke during it, the outcome is unknown.
    pub async fn commit(self) -> Result<()> {
        self.tx.commit().await
    }

    /// Settles as completed the jobs whose answer is no failure, in this transaction, and commits
    /// everything; gives the answers with that in them.
    ///
    /// # Errors
    /// If the commit failed, or one of them was lost: then none is settled and nothing was written.
    pub async fn done(
        mut self,
        jobs: &[&ClaimedJob],
        answers: Vec<JobResult>,
    ) -> Result<Vec<JobResult>> {
        let well = jobs.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        let held: Vec<Held> = well.map(|(job, _)| held(job)).collect();
        if held.is_empty() {
            self.tx.rollback().await?;
            return Ok(answers);
        }
        let written = settle::write_all(self.tx.conn(), &held, &SettleAs::Completed).await?;
        if written.stood.len() != held.len() {
            return Err(StoreFault::LeaseLost);
        }
        let db = self.tx.db().clone();
        self.tx.commit().await?;
        workflows::advance_soon(&db, &Vec::from_iter(written.workflows)).await;
        let settled = |_| Outcome::Settled(Settled::committed());
        Ok(answers.into_iter().map(|answer| answer.map(settled)).collect())
    }
}

fn held(job: &ClaimedJob) -> Held {
    Held { id: job.id, fence: job.fence }
}

impl Deref for JobsTx {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for JobsTx {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}
