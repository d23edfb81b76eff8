//! What a chore looks after: records whose time is over, deliveries that nobody sends, limits that do
//! not say what their endpoint says. Platform scope.

use super::endpoints;
use crate::{Result, StoreFault, Tx};
use std::time::Duration;
use switchyard_domain::EndpointId;
use uuid::Uuid;

/// Removes messages that are older than this, with their deliveries and attempts; gives how many.
///
/// # Errors
/// If the database is not available.
pub async fn expire(tx: &mut Tx, keep: Duration, limit: u32) -> Result<u64> {
    let gone = sqlx::query(
        "delete from switchyard.outbound_messages where id in (
           select id from switchyard.outbound_messages
           where created_at < now() - make_interval(secs => $1)
           order by created_at limit $2 for update skip locked)",
    )
    .bind(keep.as_secs_f64())
    .bind(i64::from(limit))
    .execute(tx.conn())
    .await?;
    Ok(gone.rows_affected())
}

/// Active endpoints with deliveries whose turn it is and that no job will send: the change of an
/// endpoint's state and an event crossed.
///
/// # Errors
/// If the database is not available.
pub async fn unattended(tx: &mut Tx, limit: u32) -> Result<Vec<EndpointId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select e.id from switchyard.webhook_endpoints e
         where e.state = 'active' and case when e.ordered then coalesce(
             (select d.job_id is null from switchyard.outbound_deliveries d
              where d.endpoint_id = e.id and d.state = 'pending' order by d.seq limit 1), false)
           else exists (select from switchyard.outbound_deliveries d
              where d.endpoint_id = e.id and d.state = 'pending' and d.job_id is null) end
         order by e.id limit $1",
    )
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    Ok(ids.into_iter().map(EndpointId).collect())
}

/// Marks deliveries as failed whose job is a dead letter or gone: one that was cut off at its last
/// attempt, took its workers down, or was given up by an operator. Gives how many, and whether there
/// may be more.
///
/// # Errors
/// If the database is not available.
pub async fn settle_stranded(tx: &mut Tx, limit: u32) -> Result<(u64, bool)> {
    let of: Vec<Uuid> = sqlx::query_scalar(
        "select distinct d.endpoint_id from (
           select endpoint_id, job_id from switchyard.outbound_deliveries
           where state = 'pending' and job_id is not null) d
         left join engine.jobs j on j.id = d.job_id
         where j.id is null or j.stage in (4, 5) order by 1 limit $1",
    )
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    let mut settled = 0;
    for id in &of {
        // The endpoint first, as everybody does; one that is gone has no line.
        match endpoints::lock(tx, EndpointId(*id)).await {
            Ok(_) | Err(StoreFault::NotFound) => {}
            Err(e) => return Err(e),
        }
        let done = sqlx::query(
            "update switchyard.outbound_deliveries d
             set state = 'failed', settled_at = now(), job_id = null, calling_since = null,
               next_at = null, last_error = coalesce(s.last_error, d.last_error, 'its job is gone')
             from (
               select p.message_id, j.last_error from switchyard.outbound_deliveries p
               left join engine.jobs j on j.id = p.job_id
               where p.endpoint_id = $1 and p.state = 'pending' and p.job_id is not null
                 and (j.id is null or j.stage in (4, 5))) s
             where d.endpoint_id = $1 and d.message_id = s.message_id and d.state = 'pending'",
        )
        .bind(id)
        .execute(tx.conn())
        .await?;
        settled += done.rows_affected();
    }
    Ok((settled, u32::try_from(of.len()).is_ok_and(|n| n >= limit)))
}

/// An endpoint whose limit in the engine is not the one it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which.
    pub endpoint: EndpointId,
    /// Whether it takes one message at a time.
    pub ordered: bool,
    /// Requests a second.
    pub rate: Option<i32>,
}

/// Endpoints whose partition of `queue` is not limited as they say; `at_once` is what an endpoint
/// takes at once that wants no order.
///
/// # Errors
/// If the database is not available.
pub async fn limits_that_differ(tx: &mut Tx, queue: &str, at_once: u32) -> Result<Vec<Mismatch>> {
    let rows: Vec<(Uuid, bool, Option<i32>)> = sqlx::query_as(
        "select e.id, e.ordered, e.rate from switchyard.webhook_endpoints e
         left join engine.limits l
           on l.queue = $1 and l.partition = e.id::text and l.pattern is null
         where l.id is null or l.max_running is distinct from case when e.ordered then 1 else $2 end
           or l.rate is distinct from e.rate
         order by e.id limit 1000",
    )
    .bind(queue)
    .bind(i32::try_from(at_once).unwrap_or(i32::MAX))
    .fetch_all(tx.conn())
    .await?;
    let read = |(id, ordered, rate): (Uuid, bool, Option<i32>)| Mismatch {
        endpoint: EndpointId(id),
        ordered,
        rate,
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Partitions of `queue` with a limit of their own and no endpoint.
///
/// # Errors
/// If the database is not available.
pub async fn limits_without_endpoint(tx: &mut Tx, queue: &str) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "select l.partition from engine.limits l
         where l.queue = $1 and l.partition is not null and l.pattern is null and not exists (
           select from switchyard.webhook_endpoints e where e.id::text = l.partition)
         order by 1 limit 1000",
    )
    .bind(queue)
    .fetch_all(tx.conn())
    .await?)
}
