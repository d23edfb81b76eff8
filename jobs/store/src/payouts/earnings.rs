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
             left join switchyard.commission_events d on d.id = coalesce(v.of_id, v.id)
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
        // What was sold and where it came from is said by the conversion, also for what goes back.
        EarnedBy::Product => earned!("d.document->>'product'"),
        EarnedBy::Portal => earned!("d.document->>'portal'"),
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
    /// The month that it counts in, by its first day.
    pub period: NaiveDate,
    /// About which lead.
    pub lead: Option<Uuid>,
    /// What was sold.
    pub product: Option<String>,
    /// What the owner got, in minor units; negative: gave.
    pub amount: i64,
    /// Why.
    pub explanation: Value,
}

/// What a month did to an account, in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountMonth {
    /// What lay in it when the month began.
    pub opening: i64,
    /// What all lines of the month come to.
    pub booked: i64,
    /// Of it, commissions: payouts left aside.
    pub earned: i64,
    /// How many lines it has.
    pub lines: i64,
}

/// Adds a month of an account up.
///
/// # Errors
/// If the database is not available.
pub async fn account_month(
    tx: &mut Tx,
    account: AccountId,
    month: NaiveDate,
) -> Result<AccountMonth> {
    let row = sqlx::query(
        "select coalesce(sum(p.amount) filter (where e.period < $2), 0)::int8 as opening,
           coalesce(sum(p.amount) filter (where e.period = $2), 0)::int8 as booked,
           coalesce(sum(p.amount) filter (where e.period = $2
             and e.kind in ('commission', 'correction')), 0)::int8 as earned,
           count(*) filter (where e.period = $2) as lines
         from ledger.postings p join ledger.entries e on e.id = p.entry_id
         where p.account_id = $1 and e.period <= $2",
    )
    .bind(account.0)
    .bind(month)
    .fetch_one(tx.conn())
    .await?;
    Ok(AccountMonth {
        opening: row.try_get("opening")?,
        booked: row.try_get("booked")?,
        earned: row.try_get("earned")?,
        lines: row.try_get("lines")?,
    })
}

/// What the first `count` lines of a month come to, in minor units.
///
/// # Errors
/// If the database is not available.
pub async fn account_sum_of(
    tx: &mut Tx,
    account: AccountId,
    month: NaiveDate,
    count: i64,
) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "select coalesce(sum(l.amount), 0)::int8 from (
           select p.amount from ledger.postings p join ledger.entries e on e.id = p.entry_id
           where p.account_id = $1 and e.period = $2 order by e.occurred_at, e.id, p.n limit $3) l",
    )
    .bind(account.0)
    .bind(month)
    .bind(count)
    .fetch_one(tx.conn())
    .await?)
}

/// What happened to an account in a month, in the order of time: `limit` lines after the first `from`.
///
/// # Errors
/// If the database is not available.
pub async fn account_lines(
    tx: &mut Tx,
    account: AccountId,
    month: NaiveDate,
    from: i64,
    limit: i64,
) -> Result<Vec<AccountLine>> {
    let rows = sqlx::query(
        "select e.occurred_at, e.kind, e.period, e.lead_id, p.amount, e.explanation,
           d.document->>'product' as product
         from ledger.postings p join ledger.entries e on e.id = p.entry_id
         left join switchyard.commission_events v on v.id = e.event_id
         left join switchyard.commission_events d on d.id = coalesce(v.of_id, v.id)
         where p.account_id = $1 and e.period = $2
         order by e.occurred_at, e.id, p.n offset $3 limit $4",
    )
    .bind(account.0)
    .bind(month)
    .bind(from)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    let line = |row: &PgRow| {
        Ok(AccountLine {
            at: row.try_get("occurred_at")?,
            kind: row.try_get("kind")?,
            period: row.try_get("period")?,
            lead: row.try_get("lead_id")?,
            product: row.try_get("product")?,
            amount: row.try_get("amount")?,
            explanation: row.try_get("explanation")?,
        })
    };
    Ok(rows.iter().map(line).collect::<sqlx::Result<_>>()?)
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
