//! The audit of the doors: samples of refused requests, and how many came to what. Platform scope.

use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::PortalId;
use uuid::Uuid;

/// A refused request.
#[derive(Clone, Debug)]
pub struct NewRefusal {
    /// Who it was meant for.
    pub portal: PortalId,
    /// Who sent it.
    pub address: String,
    /// Its method.
    pub method: String,
    /// What it was answered.
    pub status: u16,
    /// The stable word of the refusal.
    pub code: String,
    /// The sentence that its sender got.
    pub message: String,
    /// Its id.
    pub request_id: Option<String>,
    /// Without credentials.
    pub headers: Value,
    /// The beginning of the body.
    pub body: Option<Vec<u8>>,
    /// The body's length.
    pub body_bytes: Option<i64>,
}

/// So many requests of a portal came to this.
#[derive(Clone, Debug)]
pub struct NewCount {
    /// The portal.
    pub portal: PortalId,
    /// `accepted`, `duplicate`, `handshake`, or the code of the refusal.
    pub outcome: String,
    /// How many.
    pub n: i64,
}

/// A refused request as it is kept.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its place in the list.
    pub id: Uuid,
    /// When it came.
    pub at: DateTime<Utc>,
    /// What is known of it.
    pub request: NewRefusal,
}

/// How a portal's last hour was.
#[derive(Clone, Debug, PartialEq)]
pub struct Circuit {
    /// The portal.
    pub portal: PortalId,
    /// Deliveries that were taken, repeated ones among them.
    pub taken: i64,
    /// Requests that were refused.
    pub refused: i64,
    /// Refusals by code, the most frequent first.
    pub codes: Vec<(String, i64)>,
}

impl Circuit {
    /// The share of requests that were refused, 0 to 1; `None` if none came.
    #[must_use]
    pub fn error_rate(&self) -> Option<f64> {
        let all = self.taken + self.refused;
        (all > 0).then(|| self.refused as f64 / all as f64)
    }
}

/// Writes samples, and adds the counts to this minute's.
///
/// # Errors
/// If the database is not available.
pub async fn record(tx: &mut Tx, refusals: &[NewRefusal], counts: &[NewCount]) -> Result<()> {
    if !counts.is_empty() {
        add(tx, counts).await?;
    }
    for refusal in refusals {
        sqlx::query(
            "insert into switchyard.refused_requests
               (id, portal_id, address, method, status, code, message, request_id, headers, body,
                body_bytes)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(Uuid::now_v7())
        .bind(refusal.portal.0)
        .bind(&refusal.address)
        .bind(&refusal.method)
        .bind(i16::try_from(refusal.status).unwrap_or(i16::MAX))
        .bind(&refusal.code)
        .bind(&refusal.message)
        .bind(&refusal.request_id)
        .bind(&refusal.headers)
        .bind(&refusal.body)
        .bind(refusal.body_bytes)
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

/// In one order, so that replicas never wait for each other in a circle.
async fn add(tx: &mut Tx, counts: &[NewCount]) -> Result<()> {
    sqlx::query(
        "insert into switchyard.delivery_counts as c (portal_id, minute, outcome, n)
         select portal, date_trunc('minute', now()), outcome, sum(n)
         from unnest($1::uuid[], $2::text[], $3::int8[]) as u (portal, outcome, n)
         group by portal, outcome order by portal, outcome
         on conflict (portal_id, minute, outcome) do update set n = c.n + excluded.n",
    )
    .bind(counts.iter().map(|c| c.portal.0).collect::<Vec<_>>())
    .bind(counts.iter().map(|c| c.outcome.as_str()).collect::<Vec<_>>())
    .bind(counts.iter().map(|c| c.n).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A portal's refusals, the newest first, older than `before`.
///
/// # Errors
/// If the database is not available.
pub async fn list(
    tx: &mut Tx,
    portal: PortalId,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Refusal>> {
    let rows = sqlx::query(
        "select id, portal_id, at, address, method, status, code, message, request_id, headers,
           body, body_bytes
         from switchyard.refused_requests
         where portal_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
    )
    .bind(portal.0)
    .bind(before)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(refusal).collect::<sqlx::Result<_>>()?)
}

fn refusal(row: &PgRow) -> sqlx::Result<Refusal> {
    let request = NewRefusal {
        portal: PortalId(row.try_get("portal_id")?),
        address: row.try_get("address")?,
        method: row.try_get("method")?,
        status: u16::try_from(row.try_get::<i16, _>("status")?).unwrap_or_default(),
        code: row.try_get("code")?,
        message: row.try_get("message")?,
        request_id: row.try_get("request_id")?,
        headers: row.try_get("headers")?,
        body: row.try_get("body")?,
        body_bytes: row.try_get("body_bytes")?,
    };
    Ok(Refusal { id: row.try_get("id")?, at: row.try_get("at")?, request })
}

/// The last hour of every portal to which something came, or of one.
///
/// # Errors
/// If the database is not available.
pub async fn circuits(tx: &mut Tx, portal: Option<PortalId>) -> Result<Vec<Circuit>> {
    let rows = sqlx::query(
        "select portal_id, outcome, sum(n)::int8 as n from switchyard.delivery_counts
         where minute > now() - interval '1 hour' and ($1::uuid is null or portal_id = $1)
         group by portal_id, outcome order by portal_id, n desc, outcome",
    )
    .bind(portal.map(|p| p.0))
    .fetch_all(tx.conn())
    .await?;
    let mut all: Vec<Circuit> = Vec::new();
    for row in &rows {
        let portal = PortalId(row.try_get("portal_id")?);
        if all.last().is_none_or(|c| c.portal != portal) {
            let none = Circuit { portal, taken: 0, refused: 0, codes: Vec::new() };
            all.push(none);
        }
        let Some(circuit) = all.last_mut() else { continue };
        let (outcome, n): (String, i64) = (row.try_get("outcome")?, row.try_get("n")?);
        match outcome.as_str() {
            "accepted" | "duplicate" => circuit.taken += n,
            "handshake" => {}
            _ => {
                circuit.refused += n;
                circuit.codes.push((outcome, n));
            }
        }
    }
    Ok(all)
}

/// Forgets samples after 30 days and counts after 90, at most `limit` of each; gives how many went.
///
/// # Errors
/// If the database is not available.
pub async fn expire(tx: &mut Tx, limit: i64) -> Result<u64> {
    let samples = sqlx::query(
        "delete from switchyard.refused_requests where id in (
           select id from switchyard.refused_requests where at < now() - interval '30 days'
           order by at limit $1)",
    )
    .bind(limit)
    .execute(tx.conn())
    .await?;
    let counts = sqlx::query(
        "delete from switchyard.delivery_counts where (portal_id, minute, outcome) in (
           select portal_id, minute, outcome from switchyard.delivery_counts
           where minute < now() - interval '90 days' order by minute limit $1)",
    )
    .bind(limit)
    .execute(tx.conn())
    .await?;
    Ok(samples.rows_affected().max(counts.rows_affected()))
}
