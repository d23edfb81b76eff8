//! Posting: the only way that money moves.

use super::{Account, accounts::Owner};
use crate::words::stored_words;
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use std::collections::{BTreeMap, HashMap, HashSet};
use switchyard_domain::ledger::content_hash;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use switchyard_queue::canonical;
use uuid::Uuid;

stored_words! {
    /// What an entry is.
    EntryKind {
        /// The line of an event, or what changed in it.
        Commission = "commission",
        /// What a recomputation found to differ.
        Correction = "correction",
        /// Money on its way to its owner.
        PayoutSent = "payout_sent",
        /// It arrived.
        PayoutConfirmed = "payout_confirmed",
        /// It came back.
        PayoutFailed = "payout_failed",
    }
}

/// An entry's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EntryId(pub Uuid);

/// An entry to be posted.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Makes it count once: `commission:<event>:<n>`, `payout:<id>:sent`. At most 200 characters.
    pub key: String,
    /// In whose books.
    pub agency: AgencyId,
    /// What it is.
    pub kind: EntryKind,
    /// Whose deal or payout.
    pub agent: Option<AgentId>,
    /// Which event's line it changes.
    pub event: Option<CommissionEventId>,
    /// About which lead.
    pub lead: Option<LeadId>,
    /// When it happened; it counts in this month, or in the first one after it that is not closed.
    pub occurred_at: DateTime<Utc>,
    /// Why: an object.
    pub explanation: Value,
    /// What each account's owner gets, in minor units; negative: gives. They sum to zero in each
    /// currency; at least two, none of them zero.
    pub postings: Vec<(Account, i64)>,
}

impl NewEntry {
    /// The hash of all that it says.
    fn content_hash(&self) -> [u8; 32] {
        let id = |id: Option<Uuid>| id.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        let explanation = canonical(&self.explanation);
        let mut postings = String::new();
        for (account, amount) in &self.postings {
            postings.push_str(&format!("{} {amount}\n", account.id().0));
        }
        content_hash(&[
            self.key.as_bytes(),
            self.agency.0.as_bytes(),
            self.kind.as_str().as_bytes(),
            &id(self.agent.map(|a| a.0)),
            &id(self.event.map(|e| e.0)),
            &id(self.lead.map(|l| l.0)),
            &self.occurred_at.timestamp_micros().to_be_bytes(),
            explanation.as_bytes(),
            postings.as_bytes(),
        ])
    }

    /// What the database would refuse with all others that were posted with it.
    fn check(&self) -> Result<(), PostFault> {
        let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
        for (account, amount) in &self.postings {
            *sums.entry(account.currency.code()).or_default() += i128::from(*amount);
        }
        let whole = self.postings.len() >= 2 && self.postings.iter().all(|(_, a)| *a != 0);
        if whole && sums.values().all(|sum| *sum == 0) {
            Ok(())
        } else {
            Err(PostFault::Unbalanced(self.key.clone()))
        }
    }
}

/// Why nothing was posted. The transaction cannot go on after [`PostFault::Store`].
#[derive(Debug, thiserror::Error)]
pub enum PostFault {
    /// The key was used for something else.
    #[error("the key `{0}` was posted before with other content; a new entry needs a new key")]
    OtherContent(String),
    /// It would create or destroy money.
    #[error(
        "the postings of `{0}` do not sum to zero, or some are zero; give what each account \
             gets and gives"
    )]
    Unbalanced(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<sqlx::Error> for PostFault {
    fn from(e: sqlx::Error) -> Self {
        Self::Store(e.into())
    }
}

/// What became of an entry, in the order of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The entry: the new one, or the one that was posted before.
    pub id: EntryId,
    /// It had been posted before with the same content; nothing was written.
    pub replayed: bool,
}

/// Posts entries in this transaction, all or none. Waits while one of these agencies closes a month.
/// No row that others post to is locked.
///
/// # Errors
/// [`PostFault`]; the same key twice in one call is [`PostFault::OtherContent`].
pub async fn post(tx: &mut Tx, entries: &[NewEntry]) -> Result<Vec<Posted>, PostFault> {
    let mut keys = HashSet::new();
    for entry in entries {
        entry.check()?;
        if !keys.insert(entry.key.as_str()) {
            return Err(PostFault::OtherContent(entry.key.clone()));
        }
    }
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let asked: Vec<(Uuid, [u8; 32])> =
        entries.iter().map(|e| (Uuid::now_v7(), e.content_hash())).collect();
    let written = write(tx, entries, &asked).await?;
    let before = before(tx, entries, &asked, &written).await?;
    let answer = |(entry, (id, hash)): (&NewEntry, &(Uuid, [u8; 32]))| {
        if written.contains(id) {
            return Ok(Posted { id: EntryId(*id), replayed: false });
        }
        match before.get(entry.key.as_str()) {
            Some((id, known)) if known == hash => Ok(Posted { id: EntryId(*id), replayed: true }),
            _ => Err(PostFault::OtherContent(entry.key.clone())),
        }
    };
    entries.iter().zip(&asked).map(answer).collect()
}

/// Entries whose key was there: their ids and what they said. One that the scope hides is not there,
/// and so is other content.
async fn before<'e>(
    tx: &mut Tx,
    entries: &'e [NewEntry],
    asked: &[(Uuid, [u8; 32])],
    written: &HashSet<Uuid>,
) -> Result<HashMap<String, (Uuid, Vec<u8>)>, PostFault> {
    let missing = entries.iter().zip(asked).filter(|(_, (id, _))| !written.contains(id));
    let missing: Vec<&'e str> = missing.map(|(e, _)| e.key.as_str()).collect();
    if missing.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, Uuid, Vec<u8>)> =
        sqlx::query_as("select key, id, content_hash from ledger.entries where key = any($1)")
            .bind(missing)
            .fetch_all(tx.conn())
            .await?;
    Ok(rows.into_iter().map(|(key, id, hash)| (key, (id, hash))).collect())
}

/// One statement: the agencies' books, accounts that are new, entries, postings. Accounts are written
/// in the order of their ids, so that two transactions that open the same ones cannot deadlock.
async fn write(
    tx: &mut Tx,
    entries: &[NewEntry],
    asked: &[(Uuid, [u8; 32])],
) -> Result<HashSet<Uuid>, PostFault> {
    let postings = Columns::of(entries, asked);
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "with books as materialized (
           select agency_id, closed_through from ledger.lock_books($1::uuid[])
         ), opened as (
           insert into ledger.accounts (id, kind, owner_kind, owner_id, agency_id, currency, exponent)
           select * from unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::text[], $8::int2[])
           on conflict do nothing
         ), written as (
           insert into ledger.entries (id, key, content_hash, agency_id, period, kind, agent_id,
             event_id, lead_id, occurred_at, explanation)
           select e.id, e.key, e.hash, e.agency, greatest(
               date_trunc('month', e.at at time zone 'UTC')::date,
               (b.closed_through + interval '1 month')::date),
             e.kind, e.agent, e.event, e.lead, e.at, e.why
           from unnest($9::uuid[], $10::text[], $11::bytea[], $1::uuid[], $12::text[], $13::uuid[],
             $14::uuid[], $15::uuid[], $16::timestamptz[], $17::jsonb[])
             as e(id, key, hash, agency, kind, agent, event, lead, at, why)
           join books b on b.agency_id = e.agency
           on conflict (key) do nothing
           returning id
         ), posted as (
           insert into ledger.postings (entry_id, n, account_id, agency_id, currency, amount)
           select * from unnest($18::uuid[], $19::int2[], $20::uuid[], $21::uuid[], $22::text[], $23::int8[])
             as p(entry, n, account, agency, currency, amount)
           where p.entry = any (array(select id from written))
         )
         select id from written",
    )
    .bind(entries.iter().map(|e| e.agency.0).collect::<Vec<_>>())
    .bind(postings.accounts.keys().copied().collect::<Vec<_>>())
    .bind(postings.accounts.values().map(|a| a.kind.as_str()).collect::<Vec<_>>())
    .bind(postings.accounts.values().map(|a| a.owner.word()).collect::<Vec<_>>())
    .bind(postings.accounts.values().map(|a| a.owner.id()).collect::<Vec<_>>())
    .bind(postings.accounts.values().map(|a| a.agency.map(|a| a.0)).collect::<Vec<_>>())
    .bind(postings.accounts.values().map(|a| a.currency.code()).collect::<Vec<_>>())
    .bind(postings.accounts.values().map(|a| i16::from(a.currency.exponent())).collect::<Vec<_>>())
    .bind(asked.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>())
    .bind(asked.iter().map(|(_, hash)| hash.to_vec()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.agent.map(|a| a.0)).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.event.map(|e| e.0)).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.lead.map(|l| l.0)).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.occurred_at).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| Json(&e.explanation)).collect::<Vec<_>>())
    .bind(postings.entry)
    .bind(postings.n)
    .bind(postings.account)
    .bind(postings.agency)
    .bind(postings.currency)
    .bind(postings.amount)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().collect())
}

/// Postings as columns, and the accounts they need.
#[derive(Default)]
struct Columns {
    accounts: BTreeMap<Uuid, Account>,
    entry: Vec<Uuid>,
    n: Vec<i16>,
    account: Vec<Uuid>,
    agency: Vec<Uuid>,
    currency: Vec<&'static str>,
    amount: Vec<i64>,
}

impl Columns {
    fn of(entries: &[NewEntry], asked: &[(Uuid, [u8; 32])]) -> Self {
        let mut columns = Self::default();
        for (entry, (id, _)) in entries.iter().zip(asked) {
            for (n, (account, amount)) in (0_i16..).zip(&entry.postings) {
                let account_id = account.id().0;
                columns.accounts.insert(account_id, *account);
                columns.entry.push(*id);
                columns.n.push(n);
                columns.account.push(account_id);
                columns.agency.push(entry.agency.0);
                columns.currency.push(account.currency.code());
                columns.amount.push(*amount);
            }
        }
        columns
    }
}

impl From<switchyard_domain::commission::Party> for Owner {
    fn from(party: switchyard_domain::commission::Party) -> Self {
        use switchyard_domain::commission::Party;
        match party {
            Party::Agent(id) | Party::Manager(id) => Self::Agent(id),
            Party::Agency(id) => Self::Agency(id),
            Party::Platform => Self::Platform,
        }
    }
}
