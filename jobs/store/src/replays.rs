//! Replays of many events: what was asked for, how far it is, and what it found. Platform scope.

use crate::events::{EventMark, Range};
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use std::collections::BTreeMap;
use switchyard_domain::{EventId, PortalId};
use uuid::Uuid;

/// Events of a range are counted up to this.
pub const MOST_COUNTED: i64 = 100_000;
/// So many events with a difference are kept with it.
pub const MOST_KEPT: usize = 200;

/// A replay as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Replay {
    /// Its id.
    pub id: Uuid,
    /// Of this portal; null: of all.
    pub portal: Option<PortalId>,
    /// Events that came then or later.
    pub from: Option<DateTime<Utc>>,
    /// Events that came before.
    pub to: DateTime<Utc>,
    /// Events in this state.
    pub state: Option<String>,
    /// Nothing is written.
    pub dry_run: bool,
    /// By whom: `cli:ada`, `admin:<id>`.
    pub requested_by: String,
    /// Events in the range, counted up to 100,000.
    pub total: i64,
    /// `events`, and how many of them came to what.
    pub counts: BTreeMap<String, i64>,
    /// The first 200 events with a difference.
    pub changes: Vec<Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was done.
    pub finished_at: Option<DateTime<Utc>>,
    /// How far it is.
    #[serde(skip)]
    pub mark: EventMark,
}

impl Replay {
    /// A dry run that is kept nowhere.
    #[must_use]
    pub fn passing(range: &Range, requested_by: &str) -> Self {
        Self {
            id: Uuid::nil(),
            portal: range.portal,
            from: range.from,
            to: range.to,
            state: range.state.map(|s| s.to_string()),
            dry_run: true,
            requested_by: requested_by.to_owned(),
            total: 0,
            counts: BTreeMap::new(),
            changes: Vec::new(),
            created_at: Utc::now(),
            finished_at: None,
            mark: EventMark::START,
        }
    }

    /// The events it goes through.
    ///
    /// # Errors
    /// If the stored state is none that this program knows.
    pub fn range(&self) -> Result<Range, String> {
        let state = self.state.as_deref().map(str::parse).transpose()?;
        Ok(Range { portal: self.portal, from: self.from, to: self.to, state })
    }
}

fn replay(row: &PgRow) -> sqlx::Result<Replay> {
    let mark = match row.try_get::<Option<DateTime<Utc>>, _>("cursor_at")? {
        Some(received_at) => EventMark { received_at, id: EventId(row.try_get("cursor_id")?) },
        None => EventMark::START,
    };
    Ok(Replay {
        id: row.try_get("id")?,
        portal: row.try_get::<Option<_>, _>("portal_id")?.map(PortalId),
        from: row.try_get("from_at")?,
        to: row.try_get("to_at")?,
        state: row.try_get("state")?,
        dry_run: row.try_get("dry_run")?,
        requested_by: row.try_get("requested_by")?,
        total: row.try_get("total")?,
        counts: row.try_get::<Json<_>, _>("counts")?.0,
        changes: row.try_get::<Json<_>, _>("changes")?.0,
        created_at: row.try_get("created_at")?,
        finished_at: row.try_get("finished_at")?,
        mark,
    })
}

/// Writes a replay down; its job does the rest.
///
/// # Errors
/// If the database is not available.
pub async fn create(
    tx: &mut Tx,
    range: &Range,
    dry_run: bool,
    requested_by: &str,
) -> Result<Replay> {
    let total = crate::events::count_in(tx, range, MOST_COUNTED).await?;
    let row = sqlx::query(
        "insert into switchyard.replays
           (id, portal_id, from_at, to_at, state, dry_run, requested_by, total)
         values ($1, $2, $3, $4, $5, $6, $7, $8) returning *",
    )
    .bind(Uuid::now_v7())
    .bind(range.portal.map(|p| p.0))
    .bind(range.from)
    .bind(range.to)
    .bind(range.state.map(crate::events::EventState::as_str))
    .bind(dry_run)
    .bind(requested_by)
    .bind(total)
    .fetch_one(tx.conn())
    .await?;
    Ok(replay(&row)?)
}

/// One replay.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is none.
pub async fn get(tx: &mut Tx, id: Uuid) -> Result<Replay> {
    let row = sqlx::query("select * from switchyard.replays where id = $1")
        .bind(id)
        .fetch_one(tx.conn())
        .await?;
    Ok(replay(&row)?)
}

/// Writes down how far a replay is and what it found.
///
/// # Errors
/// If the database is not available.
pub async fn advance(tx: &mut Tx, replay: &Replay, finished: bool) -> Result<()> {
    sqlx::query(
        "update switchyard.replays set cursor_at = $2, cursor_id = $3, counts = $4, changes = $5,
           finished_at = case when $6 then now() end where id = $1",
    )
    .bind(replay.id)
    .bind(replay.mark.received_at)
    .bind(replay.mark.id.0)
    .bind(Json(&replay.counts))
    .bind(Json(&replay.changes))
    .bind(finished)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Forgets replays that are over 30 days old: what they found holds personal data. Gives how many.
///
/// # Errors
/// If the database is not available.
pub async fn forget(tx: &mut Tx) -> Result<u64> {
    let done =
        sqlx::query("delete from switchyard.replays where created_at < now() - interval '30 days'")
            .execute(tx.conn())
            .await?;
    Ok(done.rows_affected())
}
