//! Months of all agencies' books for people: which are closed, and what each came to.

use super::balances::currency;
use crate::{Result, Tx};
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::Row;
use std::collections::HashMap;
use switchyard_domain::AgencyId;
use switchyard_domain::money::Money;
use uuid::Uuid;

/// What a month came to in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthTotal {
    /// Booked for agents and the agency, less what was taken back.
    pub earned: Money,
    /// What left for them, less what came back.
    pub paid_out: Money,
    /// How many entries both are.
    pub entries: i64,
}

/// A month of an agency's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    /// Whose.
    pub agency: AgencyId,
    /// Its name.
    pub agency_name: String,
    /// Its first day.
    pub month: NaiveDate,
    /// When it was closed, by itself or with a later one; `None`: it is open.
    pub closed_at: Option<DateTime<Utc>>,
    /// One a currency, by its code.
    pub totals: Vec<MonthTotal>,
}

/// Months with entries, the latest first, then by the agency's name: those of a year up to `last`, at
/// most `limit`.
///
/// # Errors
/// If the database is not available, or the months hold more than it adds up in a statement's time.
pub async fn months(
    tx: &mut Tx,
    agency: Option<AgencyId>,
    last: NaiveDate,
    limit: i64,
) -> Result<Vec<Month>> {
    // A jump over the index for each agency and month: the entries themselves are not counted here.
    let rows = sqlx::query(
        "select a.id, a.name, m.month,
           (select p.closed_at from ledger.periods p
            where p.agency_id = a.id and p.month >= m.month order by p.month limit 1) as closed_at
         from switchyard.agencies a
         cross join (select d::date as month from generate_series(
           $2::date - interval '11 months', $2::date, interval '1 month') d) m
         where ($1::uuid is null or a.id = $1) and exists (
           select from ledger.entries e where e.agency_id = a.id and e.period = m.month)
         order by m.month desc, a.name, a.id limit $3",
    )
    .bind(agency.map(|a| a.0))
    .bind(last)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.push(Month {
            agency: AgencyId(row.try_get("id")?),
            agency_name: row.try_get("name")?,
            month: row.try_get("month")?,
            closed_at: row.try_get("closed_at")?,
            totals: Vec::new(),
        });
    }
    let mut totals = totals(tx, &found).await?;
    for month in &mut found {
        month.totals = totals.remove(&(month.agency, month.month)).unwrap_or_default();
    }
    Ok(found)
}

async fn totals(
    tx: &mut Tx,
    months: &[Month],
) -> Result<HashMap<(AgencyId, NaiveDate), Vec<MonthTotal>>> {
    let rows = sqlx::query(
        "select e.agency_id, e.period, p.currency, count(distinct e.id) as entries,
           coalesce(sum(p.amount) filter (where e.kind in ('commission', 'correction')), 0)::int8 as earned,
           coalesce(-sum(p.amount) filter (where e.kind in ('payout_sent', 'payout_failed')), 0)::int8
             as paid_out
         from unnest($1::uuid[], $2::date[]) as w(agency_id, month)
         join ledger.entries e on e.agency_id = w.agency_id and e.period = w.month
         join ledger.postings p on p.entry_id = e.id
         join ledger.accounts a on a.id = p.account_id and a.kind = 'payable'
           and a.owner_kind <> 'platform'
         group by 1, 2, 3 order by 1, 2, 3",
    )
    .bind(months.iter().map(|m| m.agency.0).collect::<Vec<Uuid>>())
    .bind(months.iter().map(|m| m.month).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    let mut found: HashMap<(AgencyId, NaiveDate), Vec<MonthTotal>> = HashMap::new();
    for row in &rows {
        let currency = currency(row, "currency")?;
        let key = (AgencyId(row.try_get("agency_id")?), row.try_get("period")?);
        found.entry(key).or_default().push(MonthTotal {
            earned: Money::new(row.try_get("earned")?, currency),
            paid_out: Money::new(row.try_get("paid_out")?, currency),
            entries: row.try_get("entries")?,
        });
    }
    Ok(found)
}
