//! Deliveries: what the portals sent, exactly as it came, and how it was judged.

use super::{Cursor, Page};
use crate::events::body_of;
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use switchyard_domain::{EventId, FieldFault, LeadId};
use uuid::Uuid;

/// One delivery in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// The delivery.
    pub id: EventId,
    /// When it came in.
    pub received_at: DateTime<Utc>,
    /// `received`, `processed`, `rejected`, `ignored` or `held`.
    pub state: String,
    /// Why it, or some of its leads, are none, field by field.
    pub reasons: Vec<FieldFault>,
    /// The sender's code.
    pub portal_code: String,
    /// The sender's name.
    pub portal_name: String,
    /// Length of the body in bytes.
    pub bytes: i32,
    /// The lead it became, or the one it repeats.
    pub lead: Option<LeadId>,
    /// The request that brought it.
    pub request_id: Option<String>,
    /// When it was judged.
    pub processed_at: Option<DateTime<Utc>>,
}

/// A delivery with its body.
#[derive(Clone, Debug)]
pub struct EventDetail {
    /// The row of the list.
    pub row: EventRow,
    /// The body as it came.
    pub body: Vec<u8>,
    /// The headers that were kept (no credentials).
    pub headers: Value,
    /// Who sent it.
    pub remote_addr: Option<String>,
    /// The version of the portal's settings that judged it.
    pub portal_version: Option<i32>,
}

/// Which deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventFilter {
    /// All of them.
    #[default]
    All,
    /// Not judged yet, of the last day: older ones would have to be searched for.
    Received,
    /// Rejected.
    Rejected,
    /// Held while their portal is paused.
    Held,
}

macro_rules! event_sql {
    ($rest:literal) => {
        concat!(
            "select e.id, e.received_at, e.state, e.reasons, e.request_id, e.processed_at,
                    coalesce(e.body_bytes, octet_length(e.body)) as bytes, e.headers, e.remote_addr, e.portal_version,
                    e.lead_id, p.code, p.name
             from switchyard.webhook_events e
             join switchyard.portals p on p.id = e.portal_id ",
            $rest
        )
    };
}

/// Deliveries, newest first.
///
/// # Errors
/// If the database is not available.
pub async fn events(
    tx: &mut Tx,
    filter: EventFilter,
    after: Option<Cursor>,
    limit: u32,
) -> Result<Page<EventRow>> {
    const ALL: &str = event_sql!(
        "where (e.received_at, e.id) < (coalesce($1, 'infinity'), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
         order by e.received_at desc, e.id desc limit $3"
    );
    const RECEIVED: &str = event_sql!(
        "where (e.received_at, e.id) < (coalesce($1, 'infinity'), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
           and e.state = 'received' and e.received_at > now() - interval '1 day'
         order by e.received_at desc, e.id desc limit $3"
    );
    // The literal lets the planner see that the partial index covers it.
    const REJECTED: &str = event_sql!(
        "where (e.received_at, e.id) < (coalesce($1, 'infinity'), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
           and e.state = 'rejected'
         order by e.received_at desc, e.id desc limit $3"
    );
    const HELD: &str = event_sql!(
        "where (e.received_at, e.id) < (coalesce($1, 'infinity'), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
           and e.state = 'held'
         order by e.received_at desc, e.id desc limit $3"
    );
    let sql = match filter {
        EventFilter::All => ALL,
        EventFilter::Received => RECEIVED,
        EventFilter::Rejected => REJECTED,
        EventFilter::Held => HELD,
    };
    let rows = sqlx::query(sql)
        .bind(after.map(|c| c.at))
        .bind(after.map(|c| c.id))
        .bind(i64::from(limit) + 1)
        .fetch_all(tx.conn())
        .await?;
    let rows = rows.iter().map(row).collect::<Result<Vec<_>>>()?;
    Ok(Page::cut(rows, limit, |e| Cursor { at: e.received_at, id: e.id.0 }))
}

/// One delivery with its body.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is none.
pub async fn event(tx: &mut Tx, id: EventId) -> Result<EventDetail> {
    const SQL: &str = event_sql!("where e.id = $1");
    let found = sqlx::query(SQL).bind(id.0).fetch_one(tx.conn()).await?;
    const BODY: &str = "select body, body_encoding, body_bytes from switchyard.webhook_events
        where id = $1";
    let body = sqlx::query(BODY).bind(id.0).fetch_one(tx.conn()).await?;
    Ok(EventDetail {
        row: row(&found)?,
        body: body_of(&body)?,
        headers: found.try_get("headers")?,
        remote_addr: found.try_get("remote_addr")?,
        portal_version: found.try_get("portal_version")?,
    })
}

fn row(row: &PgRow) -> Result<EventRow> {
    let reasons: Option<Json<Vec<FieldFault>>> = row.try_get("reasons")?;
    Ok(EventRow {
        id: EventId(row.try_get("id")?),
        received_at: row.try_get("received_at")?,
        state: row.try_get("state")?,
        reasons: reasons.map(|r| r.0).unwrap_or_default(),
        portal_code: row.try_get("code")?,
        portal_name: row.try_get("name")?,
        bytes: row.try_get("bytes")?,
        lead: row.try_get::<Option<Uuid>, _>("lead_id")?.map(LeadId),
        request_id: row.try_get("request_id")?,
        processed_at: row.try_get("processed_at")?,
    })
}
