//! `commission.book`: books what an event does to its agent's commissions.

use crate::commission_batch::{self, BookFault, Booked};
use crate::fault::OrFail;
use crate::{Platform, outbound, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::outbound::{CommissionFacts, Event};
use switchyard_domain::{AgencyId, CommissionEventId};
use switchyard_queue::{Context, Job, JobError, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::commissions::{self, EventState};
use switchyard_store::{Result, Scope, Tx};

/// Events of the same agency that one job books with its own, if they wait: their jobs find them
/// booked. Many small transactions become one, and none is long.
const WITH_IT: i64 = 63;

/// Books one event, and others of its agency that wait.
///
/// Of an agency's jobs one books at a time. Were they to book side by side, later events could be
/// booked before earlier ones, and each of these would have all of its agent's period evaluated anew.
///
/// The job is not settled in the transaction that books: with one transaction for many events most jobs
/// find theirs booked, and the worker settles those together. Nothing is booked twice all the same,
/// because an event's row says whether it was, and is locked while it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct BookCommission {
    /// The event.
    pub event: CommissionEventId,
    /// Its agency.
    pub agency: AgencyId,
}

impl Job for BookCommission {
    type State = Platform;

    const KIND: &'static str = "commission.book";
    const ABOUT: &'static str = "Books what an event changes in the commissions of its agent.";
    const QUEUE: QueueName = queues::COMMISSIONS;
    const TIMEOUT: Duration = Duration::from_secs(60);
    const MAX_ATTEMPTS: u16 = 20;
    const RETENTION: Retention = Retention::Standard;

    fn options(&self) -> Options {
        Options::new().partition(self.agency)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        // Alone after a failure: an event that cannot be booked must not keep its neighbours from it.
        let with_it = if cx.job().attempt > 1 { 0 } else { WITH_IT };
        while !cx.cancelled().is_cancelled() {
            let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
            match commissions::state(&mut tx, self.event).await.or_fail()? {
                None => return Ok(Outcome::Cancel("there is no such event".to_owned())),
                Some(EventState::Booked | EventState::Refused) => return Ok(Outcome::Done),
                Some(EventState::Pending | EventState::Waiting) => {}
            }
            commissions::lock_agency(&mut tx, self.agency).await.or_fail()?;
            let taken = commissions::take(&mut tx, self.agency, self.event, with_it).await;
            let taken = taken.or_fail()?;
            if taken.is_empty() {
                // Booked meanwhile, or somebody who is no such job is at it: who waits for them holds
                // nothing.
                tx.rollback().await.or_fail()?;
                let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
                commissions::wait_for(&mut tx, self.event).await.or_fail()?;
                continue;
            }
            let booked = commission_batch::book(&mut tx, taken, cx.clock().now()).await;
            let booked = booked.map_err(BookFault::into_job_error)?;
            tell(&mut tx, &booked, cx).await.or_fail()?;
            tx.commit().await.or_fail()?;
            let Some(conversion) = booked.waits_for(self.event) else { return Ok(Outcome::Done) };
            // Whoever books the conversion at this moment may have passed this event over while it was
            // held here. Once they are through, either it is booked, or nobody has begun and will find it.
            let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
            match commissions::wait_for(&mut tx, conversion).await.or_fail()? {
                Some(EventState::Booked | EventState::Refused) => {}
                _ => return Ok(Outcome::Done),
            }
        }
        Err(JobError::retry("the booking was stopped; it goes on with the next attempt"))
    }
}

/// Tells of new commissions.
async fn tell(tx: &mut Tx, booked: &Booked, cx: &Context<Platform>) -> Result<()> {
    let events: Vec<Event<'_>> = booked
        .conversions
        .iter()
        .filter_map(|c| {
            Some(Event::CommissionBooked(CommissionFacts {
                id: c.entry.0,
                lead_id: c.lead?,
                agency_id: c.agency,
                amount_minor: c.amount.minor,
                currency: c.amount.currency.code(),
                booked_at: c.at,
            }))
        })
        .collect();
    if events.is_empty() {
        return Ok(());
    }
    outbound::tell(tx, &events, |job| cx.follow_up(job)).await
}
