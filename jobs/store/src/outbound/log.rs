//! The delivery log, for whoever wants to know what became of what.

use super::EndpointState;
use crate::words::{stored_words, word};
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use std::collections::HashMap;
use switchyard_domain::outbound::webhook_id;
use switchyard_domain::{EndpointId, LeadId, OutboundMessageId};
use switchyard_queue::JobId;
use uuid::Uuid;

stored_words! {
    /// Where a delivery stands.
    DeliveryState {
        /// It will be sent, or sent again.
        Pending = "pending",
        /// The endpoint took it.
        Delivered = "delivered",
        /// It was not taken and is not tried again by itself.
        Failed = "failed",
    }
}

/// One message for one endpoint.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To whom.
    pub endpoint: EndpointId,
    /// What.
    pub message: OutboundMessageId,
    /// The type of event.
    pub kind: String,
    /// About which lead.
    pub lead: Option<LeadId>,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i32,
    /// An attempt is under way since.
    pub calling_since: Option<DateTime<Utc>>,
    /// When it is tried again.
    pub next_at: Option<DateTime<Utc>>,
    /// The last answer's status.
    pub last_status: Option<i32>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// The job that is to send it.
    pub job: Option<JobId>,
    /// When the event happened.
    pub created_at: DateTime<Utc>,
    /// When it was taken or given up.
    pub settled_at: Option<DateTime<Utc>>,
    /// The message of an ordered endpoint that has to go before it.
    pub behind: Option<OutboundMessageId>,
    endpoint_state: Option<EndpointState>,
}

impl Delivery {
    /// Why it is where it is and what happens next, in one sentence.
    #[must_use]
    pub fn why(&self) -> String {
        let failed = self.last_error.as_deref().unwrap_or("no attempt is recorded");
        match self.state {
            DeliveryState::Delivered => "The endpoint took it.".to_owned(),
            DeliveryState::Failed => {
                format!(
                    "Given up after {} attempts: {failed}. Resend it to try again.",
                    self.attempts
                )
            }
            DeliveryState::Pending => self.waits_for(failed),
        }
    }

    fn waits_for(&self, failed: &str) -> String {
        match (self.endpoint_state, self.behind, self.next_at) {
            (None, ..) => "Its endpoint was removed; it will not be sent.".to_owned(),
            _ if self.calling_since.is_some() => "It is being sent.".to_owned(),
            (Some(EndpointState::Paused), ..) => {
                "The endpoint is paused; it is sent when the endpoint goes on.".to_owned()
            }
            (Some(EndpointState::Disabled), ..) => {
                "The endpoint is disabled; it is sent when the endpoint goes on.".to_owned()
            }
            (_, Some(first), _) => format!(
                "The endpoint wants its messages in order, and {} is not through yet.",
                webhook_id(first)
            ),
            (_, None, Some(at)) => format!(
                "Attempt {} failed: {failed}. Tried again at {}.",
                self.attempts,
                at.format("%Y-%m-%d %H:%M:%S UTC")
            ),
            (_, None, None) => "It waits for a worker.".to_owned(),
        }
    }
}

macro_rules! columns {
    () => {
        "select d.endpoint_id, d.message_id, m.type, m.lead_id, d.state, d.attempts,
           d.calling_since, d.next_at, d.last_status, d.last_error, d.job_id, d.created_at,
           d.settled_at, e.state as endpoint_state,
           case when d.state = 'pending' and d.seq is not null then
             (select o.message_id from switchyard.outbound_deliveries o
              where o.endpoint_id = d.endpoint_id and o.state = 'pending' and o.seq < d.seq
              order by o.seq limit 1) end as behind
         from switchyard.outbound_deliveries d
         join switchyard.outbound_messages m on m.id = d.message_id
         left join switchyard.webhook_endpoints e on e.id = d.endpoint_id "
    };
}

fn read(row: &PgRow) -> sqlx::Result<Delivery> {
    let message = |column: &str| -> sqlx::Result<Option<OutboundMessageId>> {
        Ok(row.try_get::<Option<Uuid>, _>(column)?.map(OutboundMessageId))
    };
    let endpoint_state = match row.try_get::<Option<&str>, _>("endpoint_state")? {
        Some(_) => Some(word(row, "endpoint_state")?),
        None => None,
    };
    Ok(Delivery {
        endpoint: EndpointId(row.try_get("endpoint_id")?),
        message: OutboundMessageId(row.try_get("message_id")?),
        kind: row.try_get("type")?,
        lead: row.try_get::<Option<Uuid>, _>("lead_id")?.map(LeadId),
        state: word(row, "state")?,
        attempts: row.try_get("attempts")?,
        calling_since: row.try_get("calling_since")?,
        next_at: row.try_get("next_at")?,
        last_status: row.try_get("last_status")?,
        last_error: row.try_get("last_error")?,
        job: row.try_get::<Option<Uuid>, _>("job_id")?.map(JobId),
        created_at: row.try_get("created_at")?,
        settled_at: row.try_get("settled_at")?,
        behind: message("behind")?,
        endpoint_state,
    })
}

/// Which deliveries to list.
#[derive(Clone, Debug)]
pub struct DeliveryFilter {
    /// Of this endpoint.
    pub endpoint: EndpointId,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Older than this one (for the next page).
    pub before: Option<OutboundMessageId>,
    /// At most so many.
    pub limit: i64,
}

/// Deliveries of an endpoint, the newest first.
///
/// # Errors
/// If the database is not available.
pub async fn deliveries(tx: &mut Tx, filter: &DeliveryFilter) -> Result<Vec<Delivery>> {
    let rows = sqlx::query(concat!(
        columns!(),
        "where d.endpoint_id = $1 and ($2::text is null or d.state = $2)
           and ($3::uuid is null or d.message_id < $3)
         order by d.message_id desc limit $4"
    ))
    .bind(filter.endpoint.0)
    .bind(filter.state.map(DeliveryState::as_str))
    .bind(filter.before.map(|m| m.0))
    .bind(filter.limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

/// One delivery with its payload.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn delivery(
    tx: &mut Tx,
    endpoint: EndpointId,
    message: OutboundMessageId,
) -> Result<(Delivery, Value)> {
    let row = sqlx::query(concat!(columns!(), "where d.endpoint_id = $1 and d.message_id = $2"))
        .bind(endpoint.0)
        .bind(message.0)
        .fetch_one(tx.conn())
        .await?;
    let Json(payload) = sqlx::query_scalar::<_, Json<Value>>(
        "select payload from switchyard.outbound_messages where id = $1",
    )
    .bind(message.0)
    .fetch_one(tx.conn())
    .await?;
    Ok((read(&row)?, payload))
}

/// One attempt to deliver.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Attempt {
    /// Its number, from 1.
    pub n: i32,
    /// When it was begun.
    pub started_at: DateTime<Utc>,
    /// How long it took; `None`: it is under way, or was cut off.
    pub duration_ms: Option<i32>,
    /// The answer's status, if there was one.
    pub status: Option<i32>,
    /// The first 2 KiB of the answer.
    pub body: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// The attempts of one delivery, the latest first, at most 200.
///
/// # Errors
/// If the database is not available.
pub async fn attempts(
    tx: &mut Tx,
    endpoint: EndpointId,
    message: OutboundMessageId,
) -> Result<Vec<Attempt>> {
    Ok(sqlx::query_as(
        "select n, started_at, duration_ms, status, body, error from switchyard.outbound_attempts
         where endpoint_id = $1 and message_id = $2 order by n desc limit 200",
    )
    .bind(endpoint.0)
    .bind(message.0)
    .fetch_all(tx.conn())
    .await?)
}

/// How an endpoint does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Attempts that ended within the last 24 hours.
    pub attempts: i64,
    /// How many of them were taken.
    pub taken: i64,
    /// Deliveries that wait, counted up to 10,000.
    pub pending: i64,
    /// Deliveries that were given up, counted up to 10,000.
    pub failed: i64,
}

impl Health {
    /// The share of attempts that were taken, in percent, rounded down; `None`: there were none.
    #[must_use]
    pub fn success_percent(&self) -> Option<i64> {
        (self.attempts > 0).then(|| self.taken * 100 / self.attempts)
    }
}

/// How these endpoints do.
///
/// # Errors
/// If the database is not available.
pub async fn health(tx: &mut Tx, of: &[EndpointId]) -> Result<HashMap<EndpointId, Health>> {
    let rows: Vec<(Uuid, i64, i64, i64, i64)> = sqlx::query_as(
        "select e.id, a.n, a.taken, p.n, f.n from unnest($1::uuid[]) as e(id)
         cross join lateral (
           select count(*) as n, count(*) filter (where status between 200 and 299) as taken
           from switchyard.outbound_attempts
           where endpoint_id = e.id and started_at > now() - interval '24 hours'
             and duration_ms is not null) a
         cross join lateral (select count(*) as n from (
           select from switchyard.outbound_deliveries
           where endpoint_id = e.id and state = 'pending' limit 10000) few) p
         cross join lateral (select count(*) as n from (
           select from switchyard.outbound_deliveries
           where endpoint_id = e.id and state = 'failed' limit 10000) few) f",
    )
    .bind(of.iter().map(|e| e.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    let read = |(id, attempts, taken, pending, failed)| {
        (EndpointId(id), Health { attempts, taken, pending, failed })
    };
    Ok(rows.into_iter().map(read).collect())
}
