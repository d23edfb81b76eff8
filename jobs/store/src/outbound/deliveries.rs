//! One delivery on its way: intent, call, result. The row of the delivery log is the effect's
//! record: written before the call, completed after it.

use super::EndpointState;
use super::endpoints::{self, Endpoint};
use crate::words::word;
use crate::{JobTx, Result, StoreFault, Tx};
use sqlx::Row;
use std::fmt;
use std::time::Duration;
use switchyard_domain::outbound::{DISABLE_AFTER, SAME_STRETCH};
use switchyard_domain::{EndpointId, OutboundMessageId};

/// What is to be sent.
pub struct Outgoing {
    /// Where to, and with which secrets.
    pub endpoint: Endpoint,
    /// What.
    pub message: OutboundMessageId,
    /// JSON, always the same text for the same message.
    pub payload: String,
    /// The number of this attempt in the log.
    pub n: i32,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("message", &self.message).finish_non_exhaustive()
    }
}

/// What a job that wants to send finds.
#[derive(Debug)]
pub enum Begun {
    /// The intent is written: commit, then call.
    Send(Box<Outgoing>),
    /// Not now: the endpoint is paused or disabled, or an earlier message is not through. The delivery
    /// lets go of this job and gets another when it is its turn.
    Held(&'static str),
    /// Nothing is to be sent by this job any more.
    Over(&'static str),
}

/// Takes a delivery up for the job that holds the transaction.
///
/// An attempt that has no end in the log was cut off: its call may have arrived. The webhook is
/// sent again all the same, with the same id: that is what Standard Webhooks promise receivers
/// ("at least once", told apart by `webhook-id`), and what makes sure that it is never lost.
///
/// # Errors
/// If the database is not available.
pub async fn begin(tx: &mut JobTx, id: EndpointId, message: OutboundMessageId) -> Result<Begun> {
    // The line first, as everybody does: an ordered endpoint's next message is chosen under its lock.
    let endpoint = match endpoints::lock(tx, id).await {
        Ok(endpoint) => endpoint,
        Err(StoreFault::NotFound) => return Ok(Begun::Over("its endpoint was removed")),
        Err(e) => return Err(e),
    };
    let job = tx.held().id;
    let row = sqlx::query(
        "select d.state, d.job_id is not distinct from $3 as mine, m.payload::text as payload,
           exists (select from switchyard.outbound_deliveries o where o.endpoint_id = d.endpoint_id
             and o.state = 'pending' and o.seq < d.seq) as behind
         from switchyard.outbound_deliveries d
         join switchyard.outbound_messages m on m.id = d.message_id
         where d.endpoint_id = $1 and d.message_id = $2 for no key update of d",
    )
    .bind(id.0)
    .bind(message.0)
    .bind(job.0)
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(Begun::Over("its record has expired")) };
    let state: super::DeliveryState = word(&row, "state")?;
    if state != super::DeliveryState::Pending {
        return Ok(Begun::Over("it is settled"));
    }
    if !row.try_get::<bool, _>("mine")? {
        return Ok(Begun::Over("another job sends it"));
    }
    let held = match endpoint.state {
        EndpointState::Active if row.try_get("behind")? => {
            Some("an earlier message is not through")
        }
        EndpointState::Active => None,
        EndpointState::Paused => Some("its endpoint is paused"),
        EndpointState::Disabled => Some("its endpoint is disabled"),
    };
    if let Some(why) = held {
        hold(tx, id, message).await?;
        return Ok(Begun::Held(why));
    }
    let n = intend(tx, &endpoint, message).await?;
    Ok(Begun::Send(Box::new(Outgoing { endpoint, message, payload: row.try_get("payload")?, n })))
}

/// Writes the intent; an earlier one without a result was cut off. Gives the attempt's number.
async fn intend(tx: &mut JobTx, of: &Endpoint, message: OutboundMessageId) -> Result<i32> {
    let job = tx.held().id;
    Ok(sqlx::query_scalar(
        "with cut as (
           update switchyard.outbound_attempts
           set error = 'The worker ended during the call; it may have arrived. Sent again with the same id.'
           where endpoint_id = $1 and message_id = $2 and duration_ms is null and error is null
         ), taken as (
           update switchyard.outbound_deliveries
           set attempts = attempts + 1, calling_since = now(), next_at = null
           where endpoint_id = $1 and message_id = $2 returning attempts
         )
         insert into switchyard.outbound_attempts (endpoint_id, message_id, n, agency_id, job_id)
         select $1, $2, attempts, $3, $4 from taken returning n",
    )
    .bind(of.id.0)
    .bind(message.0)
    .bind(of.agency.map(|a| a.0))
    .bind(job.0)
    .fetch_one(tx.conn())
    .await?)
}

/// Lets go of the job; the delivery waits for another.
///
/// # Errors
/// If the database is not available.
pub async fn hold(tx: &mut Tx, endpoint: EndpointId, message: OutboundMessageId) -> Result<()> {
    sqlx::query(
        "update switchyard.outbound_deliveries set job_id = null, calling_since = null, next_at = null
         where endpoint_id = $1 and message_id = $2",
    )
    .bind(endpoint.0)
    .bind(message.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// The beginning of the answer.
    pub body: Option<String>,
    /// What went wrong; `None`: it was taken.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Delivered,
    /// It is tried again after this long.
    Again(Duration),
    /// That was the last attempt.
    Failed,
    /// Nothing was sent for a reason of ours, which says nothing of the endpoint; again after this long.
    NotSent(Duration),
    /// The endpoint wants nothing any more: it is disabled, and the delivery held.
    Gone,
}

/// Completes the attempt's row, settles the delivery and looks after the endpoint's health. Gives the
/// reason if the endpoint was disabled by this.
///
/// # Errors
/// If the database is not available.
pub async fn end(
    tx: &mut JobTx,
    of: &Outgoing,
    ended: &Ended,
    verdict: Verdict,
) -> Result<Option<&'static str>> {
    let (id, message) = (of.endpoint.id, of.message);
    // Before the delivery: whoever wants both takes the endpoint first.
    let disabled = match verdict {
        Verdict::Delivered => note_success(tx, id).await?,
        Verdict::Gone => note_failure(tx, id, true).await?,
        Verdict::Again(_) | Verdict::Failed => note_failure(tx, id, false).await?,
        Verdict::NotSent(_) => None,
    };
    let again = match verdict {
        Verdict::Again(wait) | Verdict::NotSent(wait) => Some(wait.as_secs_f64()),
        _ => None,
    };
    let (state, keeps_job) = match verdict {
        Verdict::Delivered => ("delivered", false),
        Verdict::Failed => ("failed", false),
        Verdict::Again(_) | Verdict::NotSent(_) => ("pending", disabled.is_none()),
        Verdict::Gone => ("pending", false),
    };
    sqlx::query(
        "with logged as (
           update switchyard.outbound_attempts
           set duration_ms = $4, status = $5, body = $6, error = $7
           where endpoint_id = $1 and message_id = $2 and n = $3
         )
         update switchyard.outbound_deliveries set state = $8, calling_since = null,
           job_id = case when $9 then job_id end, last_status = $5, last_error = $7,
           next_at = case when $9 then now() + make_interval(secs => $10) end,
           settled_at = case when $8 <> 'pending' then now() end
         where endpoint_id = $1 and message_id = $2",
    )
    .bind(id.0)
    .bind(message.0)
    .bind(of.n)
    .bind(i32::try_from(ended.took.as_millis()).unwrap_or(i32::MAX))
    .bind(ended.status.map(i32::from))
    .bind(&ended.body)
    .bind(&ended.error)
    .bind(state)
    .bind(keeps_job)
    .bind(again)
    .execute(tx.conn())
    .await?;
    Ok(disabled)
}

const GONE: &str = "the endpoint answered 410 Gone";
const FAILING: &str = "the endpoint took nothing for 5 days";

/// Writes once a minute at most: many deliveries end at the same time.
async fn note_success(tx: &mut JobTx, id: EndpointId) -> Result<Option<&'static str>> {
    sqlx::query(
        "update switchyard.webhook_endpoints set failing_since = null, last_success_at = now()
         where id = $1 and (failing_since is not null
           or coalesce(last_success_at < now() - interval '1 minute', true))",
    )
    .bind(id.0)
    .execute(tx.conn())
    .await?;
    Ok(None)
}

/// Disables an endpoint that is gone, or that failed for too long.
async fn note_failure(tx: &mut JobTx, id: EndpointId, gone: bool) -> Result<Option<&'static str>> {
    let row = sqlx::query(
        "with judged as (
           select id, case when last_failure_at > now() - make_interval(secs => $2)
             then coalesce(failing_since, now()) else now() end as since
           from switchyard.webhook_endpoints where id = $1 for no key update
         )
         update switchyard.webhook_endpoints e set last_failure_at = now(), failing_since = j.since
         from judged j where e.id = j.id
         returning e.state, $3 or j.since <= now() - make_interval(secs => $4) as over",
    )
    .bind(id.0)
    .bind(SAME_STRETCH.as_secs_f64())
    .bind(gone)
    .bind(DISABLE_AFTER.as_secs_f64())
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state: EndpointState = word(&row, "state")?;
    if state == EndpointState::Disabled || !row.try_get("over")? {
        return Ok(None);
    }
    let reason = if gone { GONE } else { FAILING };
    endpoints::set_state(tx, id, EndpointState::Disabled, Some(reason)).await?;
    Ok(Some(reason))
}
