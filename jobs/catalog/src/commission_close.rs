//! `commission.close_period`: closes a month of an agency's books.

use crate::fault::OrFail;
use crate::{Platform, queues};
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::AgencyId;
use switchyard_queue::{
    Context, Job, JobError, JobResult, NewJob, Options, Outcome, QueueName, Retention,
};
use switchyard_store::ledger::{self, ClosedPeriod};
use switchyard_store::{Scope, StoreFault, Tx, commissions};

/// How long events that wait for their booking may hold a close up before they count as late.
const PATIENCE: Duration = Duration::from_secs(3600);
const PAUSE: Duration = Duration::from_secs(5);

/// Closes a month; without an agency, of every agency; without a month, the one before this.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClosePeriod {
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agency: Option<AgencyId>,
    /// Any day of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<NaiveDate>,
}

/// Why a month was not closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseFault {
    /// It is not over.
    #[error("{0} is not over yet; close it after its last day")]
    NotOver(NaiveDate),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// The first day of the month that a day is in.
#[must_use]
pub fn month_of(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap_or(day)
}

impl ClosePeriod {
    fn month(&self, now: DateTime<Utc>) -> NaiveDate {
        let this = month_of(now.date_naive());
        let before = this.checked_sub_months(Months::new(1)).unwrap_or(this);
        self.month.map_or(before, month_of)
    }

    /// Closes it for this agency in the caller's transaction; bookings of the agency wait meanwhile.
    ///
    /// # Errors
    /// [`CloseFault`].
    pub async fn close(
        tx: &mut Tx,
        agency: AgencyId,
        month: NaiveDate,
        now: DateTime<Utc>,
    ) -> Result<ClosedPeriod, CloseFault> {
        let month = month_of(month);
        if month >= month_of(now.date_naive()) {
            return Err(CloseFault::NotOver(month));
        }
        Ok(ledger::close(tx, agency, month).await?)
    }
}

impl Job for ClosePeriod {
    type State = Platform;

    const KIND: &'static str = "commission.close_period";
    const ABOUT: &'static str = "Closes a month of an agency's books: its figures are final.";
    const QUEUE: QueueName = queues::COMMISSIONS;
    const TIMEOUT: Duration = Duration::from_secs(600);
    const RETENTION: Retention = Retention::Long;

    fn options(&self) -> Options {
        let options = Options::new().unique_by_args();
        self.agency.map_or(options.clone(), |agency| options.partition(agency))
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let (db, now) = (&cx.state().db, cx.clock().now());
        let month = self.month(now);
        let after = month.checked_add_months(Months::new(1)).unwrap_or(month);
        let mut tx = db.begin_job_as(cx.job(), Scope::Platform).await.or_fail()?;
        let Some(agency) = self.agency else {
            let until = after.and_time(chrono::NaiveTime::MIN).and_utc();
            let agencies = commissions::agencies(&mut tx, until).await.or_fail()?;
            let jobs = agencies.into_iter().map(|agency| {
                let job = Self { agency: Some(agency), month: Some(month) };
                Ok(cx.follow_up(NewJob::of(&job)?))
            });
            let jobs: Vec<NewJob> = jobs.collect::<Result<_, serde_json::Error>>().or_fail()?;
            tx.enqueue_all(jobs).await.or_fail()?;
            return tx.done().await;
        };
        let young =
            now - cx.job().created_at < chrono::Duration::from_std(PATIENCE).unwrap_or_default();
        if young && ledger::open_events(&mut tx, agency, after).await.or_fail()? > 0 {
            return Ok(Outcome::Snooze(PAUSE));
        }
        match Self::close(&mut tx, agency, month, now).await {
            Ok(_) => tx.done().await,
            Err(CloseFault::Store(fault)) => Err(fault.into_job_error()),
            Err(fault) => Err(JobError::permanent(fault)),
        }
    }
}
