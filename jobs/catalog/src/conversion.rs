//! The way in for everything that changes a commission: conversions, refunds, decisions.

use crate::BookCommission;
use crate::line::Cause;
use std::collections::BTreeSet;
use switchyard_domain::CommissionEventId;
use switchyard_domain::commission::CommissionEvent;
use switchyard_queue::NewJob;
use switchyard_store::Tx;
use switchyard_store::commissions::{self, RecordFault};

/// Records events and enqueues their booking, both in the caller's transaction: what changed the lead,
/// the event and the job commit together or not at all. Gives the events that are new; one that was
/// recorded before with the same content changes nothing. Any order will do, in any scope that may
/// write the agency's rows.
///
/// # Errors
/// [`RecordFault::OtherContent`] if an id was used for another event; or if the database refuses.
pub async fn record(
    tx: &mut Tx,
    events: &[CommissionEvent],
    cause: &Cause,
) -> Result<BTreeSet<CommissionEventId>, RecordFault> {
    let new = commissions::record(tx, events).await?;
    let mut jobs = Vec::with_capacity(new.len());
    let mut seen = BTreeSet::new();
    for event in events.iter().filter(|e| new.contains(&e.id)) {
        if seen.insert(event.id) {
            let job = BookCommission { event: event.id, agency: event.agency };
            jobs.push(cause.stamp(NewJob::of(&job)?));
        }
    }
    tx.enqueue_all(jobs).await?;
    Ok(new)
}
