//! Reading entries, with their postings and what explains them.

use super::balances::{account, currency};
use super::{Account, AccountId, AccountKind, EntryId, EntryKind, Owner};
use crate::words::word;
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::HashMap;
use switchyard_domain::money::Money;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use uuid::Uuid;

/// What one account got by an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Posting {
    /// The account.
    pub account: AccountId,
    /// What lies in it.
    pub kind: AccountKind,
    /// Whose it is.
    pub owner: Owner,
    /// What its owner got; negative: gave.
    pub amount: Money,
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// Its idempotency key.
    pub key: String,
    /// In whose books.
    pub agency: AgencyId,
    /// First day of the month that it counts in.
    pub period: NaiveDate,
    /// What it is.
    pub kind: EntryKind,
    /// Whose deal or payout.
    pub agent: Option<AgentId>,
    /// Which event's line it changes.
    pub event: Option<CommissionEventId>,
    /// About which lead.
    pub lead: Option<LeadId>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was booked.
    pub booked_at: DateTime<Utc>,
    /// Why.
    pub explanation: Value,
    /// Its postings. An agency does not see what the platform's accounts are, only what they got.
    pub postings: Vec<Posting>,
}

/// Which entries to list.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// In this agency's books.
    pub agency: Option<AgencyId>,
    /// Of this agent's deals.
    pub agent: Option<AgentId>,
    /// Counting in this month (its first day).
    pub period: Option<NaiveDate>,
    /// Of this kind.
    pub kind: Option<EntryKind>,
    /// Older than this one (for the next page).
    pub before: Option<EntryId>,
    /// At most so many.
    pub limit: i64,
}

macro_rules! columns {
    () => {
        "select e.id, e.key, e.agency_id, e.period, e.kind, e.agent_id, e.event_id, e.lead_id,
           e.occurred_at, e.booked_at, e.explanation
         from ledger.entries e "
    };
}

fn read(row: &PgRow) -> sqlx::Result<Entry> {
    let id = |column: &str| row.try_get::<Option<Uuid>, _>(column);
    Ok(Entry {
        id: EntryId(row.try_get("id")?),
        key: row.try_get("key")?,
        agency: AgencyId(row.try_get("agency_id")?),
        period: row.try_get("period")?,
        kind: word(row, "kind")?,
        agent: id("agent_id")?.map(AgentId),
        event: id("event_id")?.map(CommissionEventId),
        lead: id("lead_id")?.map(LeadId),
        occurred_at: row.try_get("occurred_at")?,
        booked_at: row.try_get("booked_at")?,
        explanation: row.try_get("explanation")?,
        postings: Vec::new(),
    })
}

async fn with_postings(tx: &mut Tx, rows: Vec<PgRow>) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = rows.iter().map(read).collect::<sqlx::Result<_>>()?;
    let places: HashMap<Uuid, usize> =
        entries.iter().enumerate().map(|(i, e)| (e.id.0, i)).collect();
    // What an agency cannot see of an account is the platform's: which of its two, the id tells.
    let postings = sqlx::query(
        "select p.entry_id, p.account_id, p.currency, p.amount, coalesce(a.kind, 'payable') as kind,
           a.id is null as hidden,
           coalesce(a.owner_kind, 'platform') as owner_kind, a.owner_id
         from ledger.postings p left join ledger.accounts a on a.id = p.account_id
         where p.entry_id = any($1) order by p.entry_id, p.n",
    )
    .bind(places.keys().copied().collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    for row in &postings {
        let (account, currency) =
            (AccountId(row.try_get("account_id")?), currency(row, "currency")?);
        let expense = row.try_get("hidden")? && account == Account::expense(currency).id();
        let posting = Posting {
            account,
            kind: if expense { AccountKind::Expense } else { word(row, "kind")? },
            owner: Owner::read(row.try_get("owner_kind")?, row.try_get("owner_id")?)?,
            amount: Money::new(row.try_get("amount")?, currency),
        };
        let place = places.get(&row.try_get("entry_id")?);
        if let Some(entry) = place.and_then(|i| entries.get_mut(*i)) {
            entry.postings.push(posting);
        }
    }
    Ok(entries)
}

/// Entries, the youngest first.
///
/// # Errors
/// If the database is not available.
pub async fn entries(tx: &mut Tx, filter: &EntryFilter) -> Result<Vec<Entry>> {
    let rows = sqlx::query(concat!(
        columns!(),
        "where ($1::uuid is null or e.agency_id = $1) and ($2::uuid is null or e.agent_id = $2)
           and ($3::date is null or e.period = $3) and ($4::text is null or e.kind = $4)
           and ($5::uuid is null or e.id < $5)
         order by e.id desc limit $6"
    ))
    .bind(filter.agency.map(|a| a.0))
    .bind(filter.agent.map(|a| a.0))
    .bind(filter.period)
    .bind(filter.kind.map(EntryKind::as_str))
    .bind(filter.before.map(|e| e.0))
    .bind(filter.limit)
    .fetch_all(tx.conn())
    .await?;
    with_postings(tx, rows).await
}

/// One entry.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn entry(tx: &mut Tx, id: EntryId) -> Result<Entry> {
    let row =
        sqlx::query(concat!(columns!(), "where e.id = $1")).bind(id.0).fetch_one(tx.conn()).await?;
    with_postings(tx, vec![row]).await?.pop().ok_or(StoreFault::NotFound)
}

/// What the ledger holds for one event's line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// What each account got by it in all; zeros are left out.
    pub amounts: HashMap<AccountId, (Account, i64)>,
    /// How many entries that were.
    pub entries: i64,
}

/// What the ledger holds for these events. Events without entries are left out.
///
/// # Errors
/// If the database is not available.
pub async fn held(
    tx: &mut Tx,
    events: &[CommissionEventId],
) -> Result<HashMap<CommissionEventId, Held>> {
    let mut all: HashMap<CommissionEventId, Held> = HashMap::new();
    let rows = sqlx::query(
        "select h.event_id, h.amount, h.entries, a.id, a.kind, a.owner_kind, a.owner_id, a.agency_id,
           a.currency
         from (
           select e.event_id, p.account_id, sum(p.amount)::int8 as amount,
             (select count(*) from ledger.entries n where n.event_id = e.event_id) as entries
           from ledger.entries e join ledger.postings p on p.entry_id = e.id
           where e.event_id = any($1) group by 1, 2) h
         join ledger.accounts a on a.id = h.account_id",
    )
    .bind(events.iter().map(|e| e.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    for row in &rows {
        let held = all.entry(CommissionEventId(row.try_get("event_id")?)).or_default();
        held.entries = row.try_get("entries")?;
        let amount: i64 = row.try_get("amount")?;
        if amount != 0 {
            held.amounts.insert(AccountId(row.try_get("id")?), (account(row)?, amount));
        }
    }
    Ok(all)
}
