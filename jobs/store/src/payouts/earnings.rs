//! What was booked: by month, product, portal and agency, and line by line in one account. Under a
//! tenant's scope only its own.

use crate::ledger::{AccountId, EntryId};
use crate::{Result, Tx};
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::money::Currency;
use uuid::Uuid;

/// Groups that are told of: those with the largest amounts.
const MOST_GROUPS: i64 = 200;
/// Lines of one statement.
const MOST_LINES: i64 = 20_000;
/// Entries about one thing.
const MOST_ENTRIES: i64 = 200;

/// By what earnings are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarnedBy {
    /// The month that they count in.
    Month,
    /// What was sold.
    Product,
    /// Where the lead came from.
    Portal,
    /// In whose books.
    Agency,
}

/// Months from one to another, both by their first day, the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Months {
    /// The first.
    pub from: NaiveDate,
    /// The last.
    pub to: NaiveDate,
}

/// What one group came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earned {
    /// The month, product, portal's or agency's id; `None`: it has none.
    pub key: Option<String>,
    /// In minor units; as text, because it may be more than 64 bits hold.
    pub amount_minor: String,
    /// How many entries that were.
    pub entries: i64,
}

macro_rules! earned {
    ($key:literal) => {
        concat!(
            "select ",
            $key,
            " as key, sum(p.amount)::text as amount, count(distinct e.id) as entries
             from ledger.entries e
             join ledger.postings p on p.entry_id = e.id
             join ledger.accounts a on a.id = p.account_id and a.kind = 'payable'
               and a.owner_kind <> 'platform'
             left join switchyard.commission_events v on v.id = e.event_id
             where e.kind in ('commission', 'correction') and p.currency = $1
               and e.period >= $2 and e.period <= $3 and ($4::uuid is null or e.agency_id = $4)
             group by 1 order by sum(p.amount) desc, 1 limit $5"
        )
    };
}

/// Adds up what was booked for agents and agencies.
///
/// # Errors
/// If the database is not available, or the months hold more than it adds up in a statement's time.
pub async fn earned(
    tx: &mut Tx,
    by: EarnedBy,
    currency: Currency,
    months: Months,
    agency: Option<switchyard_domain::AgencyId>,
) -> Result<Vec<Earned>> {
    let statement = match by {
        EarnedBy::Month => earned!("to_char(e.period, 'YYYY-MM')"),
        EarnedBy::Product => earned!("v.document->>'product'"),
        EarnedBy::Portal => earned!("v.document->>'portal'"),
        EarnedBy::Agency => earned!("e.agency_id::text"),
    };
    let rows: Vec<(Option<String>, String, i64)> = sqlx::query_as(statement)
        .bind(currency.code())
        .bind(months.from)
        .bind(months.to)
        .bind(agency.map(|a| a.0))
        .bind(MOST_GROUPS)
        .fetch_all(tx.conn())
        .await?;
    let group = |(key, amount_minor, entries)| Earned { key, amount_minor, entries };
    Ok(rows.into_iter().map(group).collect())
}

/// What one entry did to one account.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountLine {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What the entry is.
    pub kind: String,
    /// About which lead.
    pub lead: Option<Uuid>,
    /// What the owner got, in minor units; negative: gave.
    pub amount: i64,
    /// Why.
    pub explanation: Value,
}

/// What lay in an account when a month began, and what happened to it in the month, in the order of
/// time; at most 20,000 lines.
///
/// # Errors
/// If the database is not available.
pub async fn account_month(
    tx: &mut Tx,
    account: AccountId,
    month: NaiveDate,
) -> Result<(i64, Vec<AccountLine>)> {
    let opening: i64 = sqlx::query_scalar(
        "select coalesce(sum(p.amount), 0)::int8 from ledger.postings p
         join ledger.entries e on e.id = p.entry_id where p.account_id = $1 and e.period < $2",
    )
    .bind(account.0)
    .bind(month)
    .fetch_one(tx.conn())
    .await?;
    let rows = sqlx::query(
        "select e.occurred_at, e.kind, e.lead_id, p.amount, e.explanation
         from ledger.postings p join ledger.entries e on e.id = p.entry_id
         where p.account_id = $1 and e.period = $2 order by e.occurred_at, e.id limit $3",
    )
    .bind(account.0)
    .bind(month)
    .bind(MOST_LINES)
    .fetch_all(tx.conn())
    .await?;
    let line = |row: &PgRow| {
        Ok(AccountLine {
            at: row.try_get("occurred_at")?,
            kind: row.try_get("kind")?,
            lead: row.try_get("lead_id")?,
            amount: row.try_get("amount")?,
            explanation: row.try_get("explanation")?,
        })
    };
    Ok((opening, rows.iter().map(line).collect::<sqlx::Result<_>>()?))
}

/// The entries of something: of an entry itself, of an event, or of a lead; the oldest first, at most
/// 200.
///
/// # Errors
/// If the database is not available.
pub async fn entries_about(tx: &mut Tx, id: Uuid) -> Result<Vec<EntryId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select id from ledger.entries where id = $1
         union select id from ledger.entries where event_id in (
           select id from switchyard.commission_events where id = $1 or lead_id = $1 or of_id = $1)
         order by 1 limit $2",
    )
    .bind(id)
    .bind(MOST_ENTRIES)
    .fetch_all(tx.conn())
    .await?;
    Ok(ids.into_iter().map(EntryId).collect())
}
