//! Writing down what endpoints are told, in the transaction of the thing itself.

use crate::{Result, Tx};
use serde_json::Value;
use sqlx::types::Json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use switchyard_domain::outbound::{EventType, subscribed};
use switchyard_domain::{AgencyId, EndpointId, LeadId, OutboundMessageId};
use switchyard_queue::JobId;
use uuid::Uuid;

/// How long a process believes what it knows of subscriptions. Its own changes it knows at once.
const BELIEVED: Duration = Duration::from_secs(1);

type Known = Arc<Vec<(Option<AgencyId>, Vec<String>)>>;

/// What anybody subscribes to: so that nothing is written, and next to nothing paid, for events that
/// nobody wants.
#[derive(Default)]
pub(crate) struct Subscriptions(Mutex<Option<(Instant, Known)>>);

impl Subscriptions {
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn known(&self) -> Option<Known> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, k)| Arc::clone(k))
    }

    fn keep(&self, asked: Instant, known: &Known) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, Arc::clone(known)));
    }
}

/// Whether any endpoint may want this event. Costs a statement a second and process; in between
/// nothing. A new endpoint of another process is heard of within that second.
///
/// # Errors
/// If the database is not available.
pub async fn is_wanted(tx: &mut Tx, kind: EventType, agency: Option<AgencyId>) -> Result<bool> {
    let known = match tx.subscriptions().known() {
        Some(known) => known,
        None => {
            let asked = Instant::now();
            let rows: Vec<(Option<Uuid>, Vec<String>)> =
                sqlx::query_as("select agency_id, events from switchyard.webhook_subscriptions()")
                    .fetch_all(tx.conn())
                    .await?;
            let known: Known =
                Arc::new(rows.into_iter().map(|(a, e)| (a.map(AgencyId), e)).collect());
            tx.subscriptions().keep(asked, &known);
            known
        }
    };
    Ok(known.iter().any(|(of, events)| (of.is_none() || *of == agency) && subscribed(events, kind)))
}

/// Something to be told.
#[derive(Clone, Debug)]
pub struct NewOutbound {
    /// Its id.
    pub id: OutboundMessageId,
    /// What happened.
    pub kind: EventType,
    /// To whose lead.
    pub agency: Option<AgencyId>,
    /// To which lead.
    pub lead: Option<LeadId>,
    /// The payload's `data`; type and time are added.
    pub data: Value,
}

/// A delivery that can be sent now: a job is to be enqueued for it, under this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueDelivery {
    /// To whom.
    pub endpoint: EndpointId,
    /// Whose endpoint it is: the job's scope.
    pub tenant: Option<AgencyId>,
    /// What.
    pub message: OutboundMessageId,
    /// The one job that may send it.
    pub job: JobId,
}

/// Writes events for everybody who wants them. The last thing that a transaction does: it takes
/// the lines of ordered endpoints until the commit.
///
/// # Errors
/// If an agency's transaction speaks of somebody else's lead.
pub async fn emit(tx: &mut Tx, new: &[NewOutbound]) -> Result<Vec<DueDelivery>> {
    let rows: Vec<(Uuid, Option<Uuid>, Uuid, Uuid)> = sqlx::query_as(
        "select endpoint, tenant, message, job
         from switchyard.webhook_emit($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::jsonb[])",
    )
    .bind(new.iter().map(|m| m.id.0).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.kind.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.agency.map(|a| a.0)).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.lead.map(|l| l.0)).collect::<Vec<_>>())
    .bind(new.iter().map(|m| Json(&m.data)).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    let due = |(endpoint, tenant, message, job): (Uuid, Option<Uuid>, Uuid, Uuid)| DueDelivery {
        endpoint: EndpointId(endpoint),
        tenant: tenant.map(AgencyId),
        message: OutboundMessageId(message),
        job: JobId(job),
    };
    Ok(rows.into_iter().map(due).collect())
}
