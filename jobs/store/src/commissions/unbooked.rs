//! Events that are not booked: what waits and for how long, what was refused and why.

use super::EventRow;
use super::events::{EventState, columns, read};
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use std::time::Duration;
use switchyard_domain::{AgencyId, CommissionEventId};
use uuid::Uuid;

/// How many of a sort are counted.
const COUNTED: i64 = 100_000;
/// Events about one thing.
const MOST_ABOUT: i64 = 50;

/// How many events are not booked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// They wait for their booking. Counted up to 100,000, so too below.
    pub pending: i64,
    /// For so long the one that waits longest.
    pub oldest_pending: Option<Duration>,
    /// They wait for the conversion that they name.
    pub waiting: i64,
    /// They cannot be booked; each says why.
    pub refused: i64,
}

/// Counts what is not booked. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn backlog(tx: &mut Tx) -> Result<Backlog> {
    let row = sqlx::query(
        "select
           (select count(*) from (select from switchyard.commission_events
              where state = 'pending' limit $1) p) as pending,
           (select extract(epoch from now() - min(received_at))::float8
              from switchyard.commission_events where state = 'pending') as oldest,
           (select count(*) from (select from switchyard.commission_events
              where state in ('waiting', 'refused') and state = 'waiting' limit $1) w) as waiting,
           (select count(*) from (select from switchyard.commission_events
              where state in ('waiting', 'refused') and state = 'refused' limit $1) r) as refused",
    )
    .bind(COUNTED)
    .fetch_one(tx.conn())
    .await?;
    let oldest: Option<f64> = row.try_get("oldest")?;
    Ok(Backlog {
        pending: row.try_get("pending")?,
        // A clock that was set back makes nobody wait.
        oldest_pending: oldest.and_then(|s| Duration::try_from_secs_f64(s.max(0.0)).ok()),
        waiting: row.try_get("waiting")?,
        refused: row.try_get("refused")?,
    })
}

/// An event whose booking does not come by itself, as it seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Which one.
    pub event: CommissionEventId,
    /// Its agency.
    pub agency: AgencyId,
    /// When it was recorded.
    pub received_at: DateTime<Utc>,
}

/// Events that have waited for their booking longer than `stale`, those that came first before the
/// others, after `after`, at most `limit`. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn left(
    tx: &mut Tx,
    stale: Duration,
    after: Option<&Left>,
    limit: i64,
) -> Result<Vec<Left>> {
    let rows: Vec<(Uuid, Uuid, DateTime<Utc>)> = sqlx::query_as(
        "select id, agency_id, received_at from switchyard.commission_events
         where state = 'pending' and received_at < now() - make_interval(secs => $1)
           and ($2::timestamptz is null or (received_at, id) > ($2, $3))
         order by received_at, id limit $4",
    )
    .bind(stale.as_secs_f64())
    .bind(after.map(|l| l.received_at))
    .bind(after.map(|l| l.event.0))
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    let left = |(event, agency, received_at)| Left {
        event: CommissionEventId(event),
        agency: AgencyId(agency),
        received_at,
    };
    Ok(rows.into_iter().map(left).collect())
}

/// Which events that are not booked.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnbookedFilter {
    /// In this state; `None`: whichever.
    pub state: Option<EventState>,
    /// Of this agency.
    pub agency: Option<AgencyId>,
    /// Recorded at least so long ago: what was recorded this moment is being booked.
    pub older_than: Duration,
    /// At most so many of each sort.
    pub limit: i64,
}

/// Events that are not booked, each with when it was recorded: what was refused first, then what
/// waits; of each those that came last first.
///
/// # Errors
/// If the database is not available.
pub async fn unbooked(
    tx: &mut Tx,
    filter: &UnbookedFilter,
) -> Result<Vec<(EventRow, DateTime<Utc>)>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        ", e.received_at from (
           (select * from switchyard.commission_events
            where state in ('waiting', 'refused') and ($1::text is null or state = $1)
              and ($2::uuid is null or agency_id = $2)
              and received_at <= now() - make_interval(secs => $3)
            order by received_at desc limit $4)
           union all
           (select * from switchyard.commission_events
            where state = 'pending' and ($1::text is null or state = $1)
              and ($2::uuid is null or agency_id = $2)
              and received_at <= now() - make_interval(secs => $3)
            order by received_at desc limit $4)
         ) e order by array_position(array['refused', 'waiting', 'pending'], e.state), e.received_at desc"
    ))
    .bind(filter.state.map(EventState::as_str))
    .bind(filter.agency.map(|a| a.0))
    .bind(filter.older_than.as_secs_f64())
    .bind(filter.limit)
    .fetch_all(tx.conn())
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.push((read(row)?, row.try_get("received_at")?));
    }
    Ok(found)
}

/// Events without an entry of their own: an event itself, or those of a lead or of a conversion. That
/// is what was refused or waits, decisions, and what changed nothing. The oldest first, at most 50.
///
/// # Errors
/// If the database is not available.
pub async fn about(tx: &mut Tx, id: Uuid) -> Result<Vec<EventRow>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        "from switchyard.commission_events e
         where (e.id = $1 or e.lead_id = $1 or e.of_id = $1)
           and not exists (select from ledger.entries n where n.event_id = e.id)
         order by e.occurred_at, e.id limit $2"
    ))
    .bind(id)
    .bind(MOST_ABOUT)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
}

impl EventRow {
    /// When it was booked; of one that was not, when it was heard of.
    #[must_use]
    pub fn first_booked(&self) -> DateTime<Utc> {
        self.booked_at.unwrap_or(self.event.received_at)
    }

    /// What became of it, in one sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        let reason = || self.reason.clone().unwrap_or_else(|| "nobody said why".to_owned());
        match self.state {
            EventState::Pending => "Not booked yet: it waits for its booking.".to_owned(),
            EventState::Waiting => format!("Not booked: {}.", reason()),
            EventState::Refused => format!("Refused: {}.", reason()),
            EventState::Booked if self.event.is_decision() => {
                "It holds for the agent's deals from then on.".to_owned()
            }
            EventState::Booked => "Booked: it changed nothing.".to_owned(),
        }
    }
}
