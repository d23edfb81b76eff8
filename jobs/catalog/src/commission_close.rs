//! `commission.close_period`: closes a month of an agency's books.

use crate::commission_statement::CommissionStatement;
use crate::fault::OrFail;
use crate::{Platform, queues};
use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::AgencyId;
use switchyard_queue::{
    Context, Job, JobError, JobResult, NewJob, Options, Outcome, QueueName, Retention,
};
use switchyard_store::ledger::{self, AccountKind, ClosedPeriod, Figure, Owner};
use switchyard_store::{Scope, StoreFault, Tx, commissions};

/// How long events that wait for their booking may hold a close up before they count as late.
const PATIENCE: Duration = Duration::from_secs(3600);
const PAUSE: Duration = Duration::from_secs(5);
/// How long a month that is over stays open.
const DAYS_LEFT: TimeDelta = TimeDelta::days(2);

/// Closes a month; without an agency, of every agency; without a month, the one before this, or before the
/// last one in a month's first two days: what arrives in them still counts in the month before.
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
        let this = month_of((now - DAYS_LEFT).date_naive());
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
    ) -> Result<Closing, CloseFault> {
        let month = month_of(month);
        if month >= month_of(now.date_naive()) {
            return Err(CloseFault::NotOver(month));
        }
        let (period, first) = ledger::close_once(tx, agency, month).await?;
        Ok(Closing { period, first })
    }
}

/// A month that is closed.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Its figures.
    pub period: ClosedPeriod,
    /// It was open before.
    pub first: bool,
}

impl Closing {
    /// The jobs that e-mail the statements of everybody for whom something was booked in the month, to be
    /// enqueued in the transaction that closes it, where statements are mailed. None if it was closed
    /// before, so that nobody gets one twice.
    ///
    /// # Errors
    /// If the arguments cannot be written as JSON.
    pub fn statements(&self) -> Result<Vec<NewJob>, serde_json::Error> {
        let ClosedPeriod { agency, month, figures, .. } = &self.period;
        let booked = figures.iter().filter(|f| f.kind == AccountKind::Payable && f.postings > 0);
        let statement = |figure: &Figure| {
            let agent = match figure.owner()? {
                Owner::Agency(_) => None,
                Owner::Agent(id) => Some(id),
                Owner::Platform => return None,
            };
            let currency = figure.currency.parse().ok()?;
            Some(CommissionStatement { agency: *agency, agent, month: *month, currency })
        };
        let all = booked.filter(|_| self.first).filter_map(statement);
        all.map(|statement| statement.job()).collect()
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
            Ok(closing) => {
                if cx.state().mail_statements {
                    let jobs = closing.statements().or_fail()?;
                    let jobs = jobs.into_iter().map(|job| cx.follow_up(job)).collect();
                    tx.enqueue_all(jobs).await.or_fail()?;
                }
                tx.done().await
            }
            Err(CloseFault::Store(fault)) => Err(fault.into_job_error()),
            Err(fault) => Err(JobError::permanent(fault)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_queue::MissedPolicy;

    #[test]
    fn a_month_stays_open_for_two_days_whenever_the_job_runs() {
        let month = |now: &str| {
            let now: DateTime<Utc> = now.parse().expect("a time");
            ClosePeriod::default().month(now).format("%Y-%m").to_string()
        };
        assert_eq!(month("2026-12-03T02:10:00Z"), "2026-11");
        assert_eq!(month("2026-12-31T23:59:59Z"), "2026-11");
        // Made up for late, when the next month is over too: that one still has its two days.
        assert_eq!(month("2027-01-02T23:59:59Z"), "2026-11");
    }

    #[test]
    fn a_close_that_nobody_was_there_for_is_made_up_for() {
        let closes = crate::schedules().into_iter().filter(|s| s.kind == ClosePeriod::KIND);
        let missed: Vec<MissedPolicy> = closes.map(|s| s.missed).collect();
        assert_eq!(missed, [MissedPolicy::Once]);
    }
}
