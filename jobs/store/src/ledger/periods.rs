//! Months of an agency's books. Closing one freezes its figures and closes every month before it.

use super::balances::currency;
use super::{AccountId, AccountKind, Owner};
use crate::words::word;
use crate::{Result, Tx};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::types::Json;
use switchyard_domain::AgencyId;
use uuid::Uuid;

/// One account's figures in a closed month, in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// The account.
    pub account: Uuid,
    /// What lies in it.
    pub kind: AccountKind,
    /// `agency`, `agent` or `platform`.
    pub owner_kind: String,
    /// Which one.
    pub owner: Option<Uuid>,
    /// ISO 4217.
    pub currency: String,
    /// What lay in it when the month began, as this agency's entries have it.
    pub opening: i64,
    /// What its owner got in the month.
    pub got: i64,
    /// What its owner gave, as a positive number.
    pub gave: i64,
    /// What lay in it at the end.
    pub closing: i64,
    /// How many postings the month has.
    pub postings: i64,
}

/// A closed month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClosedPeriod {
    /// Whose.
    pub agency: AgencyId,
    /// Its first day.
    pub month: NaiveDate,
    /// When it was closed.
    pub closed_at: DateTime<Utc>,
    /// The statement's figures, frozen.
    pub figures: Vec<Figure>,
}

/// Closes a month, and with it every month before: waits for bookings of this agency that are in
/// flight, adds its figures up and freezes them. Later bookings count in the next month. Gives the
/// month as it was closed, now or before. Platform scope; no other agency waits.
///
/// # Errors
/// If the database is not available.
pub async fn close(tx: &mut Tx, agency: AgencyId, month: NaiveDate) -> Result<ClosedPeriod> {
    Ok(close_once(tx, agency, month).await?.0)
}

/// The same, and whether it was this call that closed the month.
///
/// # Errors
/// As [`close`].
pub async fn close_once(
    tx: &mut Tx,
    agency: AgencyId,
    month: NaiveDate,
) -> Result<(ClosedPeriod, bool)> {
    sqlx::query("select ledger.lock_books_alone($1)").bind(agency.0).execute(tx.conn()).await?;
    // A statement of its own: it must see what was committed while this one waited.
    let figures = figures(tx, agency, month).await?;
    let done = sqlx::query(
        "insert into ledger.periods (agency_id, month, figures)
         select $1, $2, $3
         where not exists (select from ledger.periods where agency_id = $1 and month >= $2)
         on conflict do nothing",
    )
    .bind(agency.0)
    .bind(month)
    .bind(Json(&figures))
    .execute(tx.conn())
    .await?;
    let closed = closed(tx, agency, Some(month)).await?;
    // Closed together with a later one: it has no figures of its own.
    let none = || ClosedPeriod { agency, month, closed_at: Utc::now(), figures };
    Ok((closed.into_iter().next().unwrap_or_else(none), done.rows_affected() > 0))
}

/// A month's figures as they stand now: of a month that is open they may change.
///
/// # Errors
/// If the database is not available.
pub async fn figures(tx: &mut Tx, agency: AgencyId, month: NaiveDate) -> Result<Vec<Figure>> {
    let rows = sqlx::query(
        "select a.id, a.kind, a.owner_kind, a.owner_id, a.currency,
           coalesce(sum(p.amount) filter (where e.period < $2), 0)::int8 as opening,
           coalesce(sum(p.amount) filter (where e.period = $2 and p.amount > 0), 0)::int8 as got,
           coalesce(-sum(p.amount) filter (where e.period = $2 and p.amount < 0), 0)::int8 as gave,
           sum(p.amount)::int8 as closing, count(*) filter (where e.period = $2) as postings
         from ledger.entries e
         join ledger.postings p on p.entry_id = e.id
         join ledger.accounts a on a.id = p.account_id
         where e.agency_id = $1 and e.period <= $2
         group by a.id order by a.kind, a.owner_kind, a.owner_id, a.currency",
    )
    .bind(agency.0)
    .bind(month)
    .fetch_all(tx.conn())
    .await?;
    let mut figures = Vec::with_capacity(rows.len());
    for row in &rows {
        figures.push(Figure {
            account: row.try_get("id")?,
            kind: word(row, "kind")?,
            owner_kind: row.try_get("owner_kind")?,
            owner: row.try_get("owner_id")?,
            currency: currency(row, "currency")?.code().to_owned(),
            opening: row.try_get("opening")?,
            got: row.try_get("got")?,
            gave: row.try_get("gave")?,
            closing: row.try_get("closing")?,
            postings: row.try_get("postings")?,
        });
    }
    Ok(figures)
}

impl Figure {
    /// The account's id.
    #[must_use]
    pub fn id(&self) -> AccountId {
        AccountId(self.account)
    }

    /// Whose account it is; `None` if the figure was not written by this program.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        Owner::read(&self.owner_kind, self.owner).ok()
    }
}

/// Closed months of an agency, the latest first; of one month with `month`.
///
/// # Errors
/// If the database is not available.
pub async fn closed(
    tx: &mut Tx,
    agency: AgencyId,
    month: Option<NaiveDate>,
) -> Result<Vec<ClosedPeriod>> {
    let rows: Vec<(NaiveDate, DateTime<Utc>, Json<Vec<Figure>>)> = sqlx::query_as(
        "select month, closed_at, figures from ledger.periods
         where agency_id = $1 and ($2::date is null or month = $2) order by month desc limit 240",
    )
    .bind(agency.0)
    .bind(month)
    .fetch_all(tx.conn())
    .await?;
    let read =
        |(month, closed_at, Json(figures))| ClosedPeriod { agency, month, closed_at, figures };
    Ok(rows.into_iter().map(read).collect())
}

/// How many events of the agency that happened before this day have not been booked yet: a month
/// is closed when there are none.
///
/// # Errors
/// If the database is not available.
pub async fn open_events(tx: &mut Tx, agency: AgencyId, before: NaiveDate) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "select count(*) from (select from switchyard.commission_events
           where agency_id = $1 and state = 'pending' and occurred_at < $2::timestamp at time zone 'UTC'
           limit 10000) few",
    )
    .bind(agency.0)
    .bind(before)
    .fetch_one(tx.conn())
    .await?)
}
