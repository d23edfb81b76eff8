//! Whose turn it is: giving deliveries that wait a job to send them.

use super::emit::{DueDelivery, NewOutbound};
use super::endpoints::{self, Endpoint, EndpointState};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::types::Json;
use switchyard_domain::{EndpointId, OutboundMessageId};
use switchyard_queue::JobId;
use uuid::Uuid;

/// What one look at an endpoint's line came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Deliveries that can be sent now.
    pub due: Vec<DueDelivery>,
    /// There may be more.
    pub more: bool,
}

/// Gives waiting deliveries of an active endpoint a job each, at most `limit`: of an ordered one the
/// first of the line, of another all. With `failed_since`, what failed since then is put into the line
/// again first, behind what waits, at most `limit` too.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such endpoint, or the scope hides it.
pub async fn flush(
    tx: &mut Tx,
    id: EndpointId,
    failed_since: Option<DateTime<Utc>>,
    limit: u32,
) -> Result<Flushed> {
    let endpoint = endpoints::lock(tx, id).await?;
    if endpoint.state != EndpointState::Active {
        return Ok(Flushed::default());
    }
    let most = u64::from(limit);
    let mut more = false;
    if let Some(since) = failed_since {
        more = line_up_failed(tx, &endpoint, since, limit).await? >= most;
    }
    let waiting: Vec<Uuid> = if endpoint.ordered {
        sqlx::query_scalar(
            "select message_id from (
               select message_id, job_id from switchyard.outbound_deliveries
               where endpoint_id = $1 and state = 'pending' order by seq limit 1) first
             where job_id is null",
        )
        .bind(id.0)
        .fetch_all(tx.conn())
        .await?
    } else {
        sqlx::query_scalar(
            "select message_id from switchyard.outbound_deliveries
             where endpoint_id = $1 and state = 'pending' and job_id is null
             order by message_id limit $2 for no key update",
        )
        .bind(id.0)
        .bind(i64::from(limit))
        .fetch_all(tx.conn())
        .await?
    };
    let due = give_jobs(tx, &endpoint, &waiting).await?;
    Ok(Flushed { more: more || u64::try_from(due.len()).is_ok_and(|n| n >= most), due })
}

/// Puts failed deliveries into the line again, in their old order.
async fn line_up_failed(
    tx: &mut Tx,
    of: &Endpoint,
    since: DateTime<Utc>,
    limit: u32,
) -> Result<u64> {
    let lined_up = sqlx::query(
        "with chosen as (
           select message_id, row_number() over (order by message_id) as place
           from switchyard.outbound_deliveries
           where endpoint_id = $1 and state = 'failed' and settled_at >= $2
           order by message_id limit $3
         ), line as (
           update switchyard.webhook_endpoints
           set last_seq = last_seq + (select count(*) from chosen)
           where id = $1 returning last_seq - (select count(*) from chosen) as before
         )
         update switchyard.outbound_deliveries d
         set state = 'pending', job_id = null, settled_at = null, next_at = null,
           seq = case when $4 then line.before + chosen.place end
         from chosen, line where d.endpoint_id = $1 and d.message_id = chosen.message_id",
    )
    .bind(of.id.0)
    .bind(since)
    .bind(i64::from(limit))
    .bind(of.ordered)
    .execute(tx.conn())
    .await?;
    Ok(lined_up.rows_affected())
}

async fn give_jobs(tx: &mut Tx, of: &Endpoint, messages: &[Uuid]) -> Result<Vec<DueDelivery>> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let due: Vec<_> = messages
        .iter()
        .map(|message| DueDelivery {
            endpoint: of.id,
            tenant: of.agency,
            message: OutboundMessageId(*message),
            job: JobId::new(),
        })
        .collect();
    sqlx::query(
        "update switchyard.outbound_deliveries d set job_id = n.job, next_at = null
         from unnest($2::uuid[], $3::uuid[]) as n(message, job)
         where d.endpoint_id = $1 and d.message_id = n.message",
    )
    .bind(of.id.0)
    .bind(messages)
    .bind(due.iter().map(|d| d.job.0).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(due)
}

/// Why a delivery is not sent again.
#[derive(Debug, thiserror::Error)]
pub enum ResendFault {
    /// Its endpoint does not take anything now.
    #[error("the endpoint is {0}; let it go on first")]
    NotActive(EndpointState),
    /// It is being sent at this moment.
    #[error("it is being sent at this moment; look again in a few seconds")]
    UnderWay,
    /// The database's answer; `NotFound` if there is no such delivery.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Sends one delivery again, however it stands, with the same id. One that waits for its next attempt
/// is sent now; one that is settled goes to the end of an ordered endpoint's line. `None`: it waits
/// there.
///
/// # Errors
/// [`ResendFault`].
pub async fn requeue(
    tx: &mut Tx,
    id: EndpointId,
    message: OutboundMessageId,
) -> Result<Option<DueDelivery>, ResendFault> {
    let endpoint = endpoints::lock(tx, id).await?;
    if endpoint.state != EndpointState::Active {
        return Err(ResendFault::NotActive(endpoint.state));
    }
    // A worker that vanished during a call leaves the mark; a call lasts seconds.
    let under_way: bool = sqlx::query(
        "select coalesce(calling_since > now() - interval '1 minute', false) as under_way
         from switchyard.outbound_deliveries where endpoint_id = $1 and message_id = $2
         for no key update",
    )
    .bind(id.0)
    .bind(message.0)
    .fetch_one(tx.conn())
    .await
    .and_then(|row| row.try_get("under_way"))
    .map_err(StoreFault::from)?;
    if under_way {
        return Err(ResendFault::UnderWay);
    }
    sqlx::query(
        "with line as (
           update switchyard.webhook_endpoints set last_seq = last_seq + 1
           where id = $1 and ordered returning last_seq
         )
         update switchyard.outbound_deliveries d
         set seq = case when d.state = 'pending' then d.seq else (select last_seq from line) end,
           state = 'pending', job_id = null, settled_at = null, next_at = null, calling_since = null
         where endpoint_id = $1 and message_id = $2",
    )
    .bind(id.0)
    .bind(message.0)
    .execute(tx.conn())
    .await
    .map_err(StoreFault::from)?;
    let due = if endpoint.ordered {
        flush(tx, id, None, 1).await?.due
    } else {
        give_jobs(tx, &endpoint, &[message.0]).await?
    };
    Ok(due.into_iter().find(|d| d.message == message))
}

/// Takes the jobs from deliveries that wait for their next attempt, so that [`flush`] gives them new
/// ones that run now; what is being sent at this moment is left alone.
///
/// # Errors
/// If the database is not available.
pub async fn release(tx: &mut Tx, id: EndpointId) -> Result<()> {
    sqlx::query(
        "update switchyard.outbound_deliveries set job_id = null, next_at = null
         where endpoint_id = $1 and state = 'pending' and job_id is not null
           and coalesce(calling_since < now() - interval '1 minute', true)",
    )
    .bind(id.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Writes a message for one endpoint alone, at the end of its line. Give the line its turn with
/// [`flush`] then.
///
/// # Errors
/// If the scope may not write for this endpoint.
pub async fn emit_to(tx: &mut Tx, to: &Endpoint, new: &NewOutbound) -> Result<()> {
    sqlx::query(
        "with message as (
           insert into switchyard.outbound_messages (id, type, agency_id, lead_id, payload)
           values ($1, $2, $3, $4, jsonb_build_object('type', $2::text, 'timestamp',
             to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), 'data', $5::jsonb))
         ), line as (
           update switchyard.webhook_endpoints set last_seq = last_seq + 1
           where id = $6 and ordered returning last_seq
         )
         insert into switchyard.outbound_deliveries (endpoint_id, message_id, agency_id, seq)
         values ($6, $1, $3, (select last_seq from line))",
    )
    .bind(new.id.0)
    .bind(new.kind.as_str())
    .bind(to.agency.map(|a| a.0))
    .bind(new.lead.map(|l| l.0))
    .bind(Json(&new.data))
    .bind(to.id.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}
