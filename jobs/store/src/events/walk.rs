//! Going through the events in the order in which they came.

use super::{EventState, EventToProcess, judging};
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use switchyard_domain::{EventId, PortalId};

/// A place among the events: everything up to it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMark {
    /// When the last event came.
    pub received_at: DateTime<Utc>,
    /// Its id, which decides between events of one instant.
    pub id: EventId,
}

impl EventMark {
    /// Before the first event.
    pub const START: Self =
        Self { received_at: DateTime::UNIX_EPOCH, id: EventId(uuid::Uuid::nil()) };

    /// The place of this name, locked until the end of the transaction: of two that go through the
    /// events for the same purpose, one waits.
    ///
    /// # Errors
    /// If the database is not available.
    pub(crate) async fn lock(tx: &mut Tx, name: &str) -> Result<Self> {
        let start = Self::START;
        let row = sqlx::query(
            "insert into switchyard.event_marks as m (name, received_at, id) values ($1, $2, $3)
             on conflict (name) do update set name = m.name returning received_at, id",
        )
        .bind(name)
        .bind(start.received_at)
        .bind(start.id.0)
        .fetch_one(tx.conn())
        .await?;
        Ok(Self { received_at: row.try_get("received_at")?, id: EventId(row.try_get("id")?) })
    }

    pub(crate) async fn keep(self, tx: &mut Tx, name: &str) -> Result<()> {
        sqlx::query("update switchyard.event_marks set received_at = $2, id = $3 where name = $1")
            .bind(name)
            .bind(self.received_at)
            .bind(self.id.0)
            .execute(tx.conn())
            .await?;
        Ok(())
    }
}

/// Which events to go through.
#[derive(Clone, Debug)]
pub struct Range {
    /// Of this portal; `None`: of all.
    pub portal: Option<PortalId>,
    /// Those that came then or later.
    pub from: Option<DateTime<Utc>>,
    /// Those that came before.
    pub to: DateTime<Utc>,
    /// In this state now; `None`: in any.
    pub state: Option<EventState>,
}

/// The next events of a range after `mark`, the oldest first.
///
/// # Errors
/// If the database is not available.
pub async fn next_in(
    tx: &mut Tx,
    range: &Range,
    mark: EventMark,
    limit: i64,
) -> Result<Vec<EventMark>> {
    let rows = sqlx::query(
        "select received_at, id from switchyard.webhook_events
         where (received_at, id) > ($1, $2) and ($3::timestamptz is null or received_at >= $3)
           and received_at < $4 and ($5::uuid is null or portal_id = $5)
           and ($6::text is null or state = $6)
         order by received_at, id limit $7",
    )
    .bind(mark.received_at)
    .bind(mark.id.0)
    .bind(range.from)
    .bind(range.to)
    .bind(range.portal.map(|p| p.0))
    .bind(range.state.map(EventState::as_str))
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    let mark = |row: &sqlx::postgres::PgRow| {
        Ok(EventMark { received_at: row.try_get("received_at")?, id: EventId(row.try_get("id")?) })
    };
    rows.iter().map(mark).collect()
}

/// The time by which events are stamped: the database's.
///
/// # Errors
/// If the database is not available.
pub async fn now(tx: &mut Tx) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(tx.conn()).await?)
}

/// How many events a range has, counted up to `most`.
///
/// # Errors
/// If the database is not available.
pub async fn count_in(tx: &mut Tx, range: &Range, most: i64) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "select count(*) from (select from switchyard.webhook_events
         where ($1::timestamptz is null or received_at >= $1) and received_at < $2
           and ($3::uuid is null or portal_id = $3) and ($4::text is null or state = $4)
         limit $5) bounded",
    )
    .bind(range.from)
    .bind(range.to)
    .bind(range.portal.map(|p| p.0))
    .bind(range.state.map(EventState::as_str))
    .bind(most)
    .fetch_one(tx.conn())
    .await?)
}

/// Locks events until the end of the transaction, in the order in which they came: whoever locks several
/// locks them here.
///
/// # Errors
/// If the database is not available.
pub async fn lock_all(tx: &mut Tx, events: &[EventId]) -> Result<()> {
    sqlx::query(
        "select from switchyard.webhook_events where id = any($1)
         order by received_at, id for no key update",
    )
    .bind(events.iter().map(|e| e.0).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// An event with its portal's settings of today, locked until the end of the transaction: nobody
/// judges it at the same time.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is no such event.
pub async fn lock(tx: &mut Tx, id: EventId) -> Result<EventToProcess> {
    let row = sqlx::query(concat!(judging!(), " where e.id = $1 for no key update of e"))
        .bind(id.0)
        .fetch_one(tx.conn())
        .await?;
    super::to_process(&row, tx.settings())
}

/// Several events, locked as by [`lock`] in the order in which they came; gives those that there are, in
/// that order.
///
/// # Errors
/// If the database is not available.
pub async fn lock_many(tx: &mut Tx, ids: &[EventId]) -> Result<Vec<EventToProcess>> {
    let rows = sqlx::query(concat!(
        judging!(),
        " where e.id = any($1) order by e.received_at, e.id for no key update of e"
    ))
    .bind(ids.iter().map(|e| e.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| super::to_process(row, tx.settings())).collect()
}
