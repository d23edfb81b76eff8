//! The Merkle log: entries get their place after their commit, in the order in which this finds them,
//! so that bookings wait for nobody.
//!
//! What waits for a place has a row in `ledger.unsequenced`, written with the entry. There is no cursor
//! over ids or transaction numbers, so an entry whose transaction committed late is not passed over.

use super::EntryId;
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::HashMap;
use switchyard_domain::ledger::{Frontier, Hash, HeadKey, NodeId, Sealed, SignedHead};
use uuid::Uuid;

/// One process sequences at a time. With 1 the class folds balances, see the migration. No other lock may
/// have the class.
const SEQUENCER: (i32, i32) = (1_279_607_881, 2);

/// What a round of sequencing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// Entries that got a place.
    pub entries: usize,
    /// Leaves in the log now.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Gives at most `most` entries their place; `None` if somebody else is at it. Platform scope.
///
/// # Errors
/// If the database is not available, or the log is not whole: then [`super::audit()`] says more.
pub async fn sequence(tx: &mut Tx, most: i64) -> Result<Option<Sequenced>> {
    let mine: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1, $2)")
        .bind(SEQUENCER.0)
        .bind(SEQUENCER.1)
        .fetch_one(tx.conn())
        .await?;
    if !mine {
        return Ok(None);
    }
    let mut tree = frontier(tx).await?;
    let waiting: Vec<Uuid> = sqlx::query_scalar(
        "delete from ledger.unsequenced
         where entry_id = any (array(select entry_id from ledger.unsequenced order by entry_id limit $1))
         returning entry_id",
    )
    .bind(most)
    .fetch_all(tx.conn())
    .await?;
    let mut entries = sealed(tx, &waiting).await?;
    entries.sort_by_key(|e| (e.booked_at, e.id));
    let first = tree.size();
    let mut made = Vec::new();
    let leaves: Vec<(Uuid, Hash)> = entries.iter().map(|e| (e.id, e.leaf())).collect();
    for (_, leaf) in &leaves {
        made.extend(tree.push(*leaf));
    }
    write(tx, first, &leaves, &made).await?;
    Ok(Some(Sequenced { entries: leaves.len(), size: tree.size(), root: tree.root() }))
}

async fn write(
    tx: &mut Tx,
    first: u64,
    leaves: &[(Uuid, Hash)],
    made: &[(NodeId, Hash)],
) -> Result<()> {
    if leaves.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "with placed as (
           insert into ledger.log (position, entry_id, leaf)
           select $1 + l.n - 1, l.entry, l.leaf
           from unnest($2::uuid[], $3::bytea[]) with ordinality as l(entry, leaf, n)
         )
         insert into ledger.nodes (level, idx, hash)
         select * from unnest($4::int2[], $5::int8[], $6::bytea[])",
    )
    .bind(signed(first)?)
    .bind(leaves.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(leaves.iter().map(|(_, leaf)| leaf.to_vec()).collect::<Vec<_>>())
    .bind(made.iter().map(|((level, _), _)| i16::from(*level)).collect::<Vec<_>>())
    .bind(made.iter().map(|((_, at), _)| signed(*at)).collect::<Result<Vec<_>>>()?)
    .bind(made.iter().map(|(_, hash)| hash.to_vec()).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub(super) fn signed(n: u64) -> Result<i64> {
    i64::try_from(n).map_err(|_| broken("a place is beyond what the log can hold"))
}

/// The log does not hold together: what the caller can do is to audit it.
pub(super) fn broken(what: &str) -> StoreFault {
    StoreFault::Database(sqlx::Error::Decode(
        format!("{what}; run `switchyard commission audit`").into(),
    ))
}

/// How many leaves the log has.
pub(super) async fn size(tx: &mut Tx) -> Result<u64> {
    let last: Option<i64> =
        sqlx::query_scalar("select max(position) from ledger.log").fetch_one(tx.conn()).await?;
    Ok(last.map_or(0, |last| last.unsigned_abs() + 1))
}

async fn frontier(tx: &mut Tx) -> Result<Frontier> {
    let size = size(tx).await?;
    let needs = Frontier::needs(size);
    let known = hashes(tx, &needs).await?;
    let peaks: Option<Vec<Hash>> = needs.iter().map(|id| known.get(id).copied()).collect();
    let tree = peaks.and_then(|peaks| Frontier::resume(size, peaks));
    tree.ok_or_else(|| broken("nodes of the ledger's log are missing"))
}

/// Hashes of nodes; those that are not there are left out.
pub(super) async fn hashes(tx: &mut Tx, ids: &[NodeId]) -> Result<HashMap<NodeId, Hash>> {
    let rows: Vec<(i16, i64, Vec<u8>)> = sqlx::query_as(
        "select i.level, i.idx, coalesce(n.hash, l.leaf) from unnest($1::int2[], $2::int8[]) as i(level, idx)
         left join ledger.nodes n on n.level = i.level and n.idx = i.idx
         left join ledger.log l on i.level = 0 and l.position = i.idx
         where coalesce(n.hash, l.leaf) is not null",
    )
    .bind(ids.iter().map(|(level, _)| i16::from(*level)).collect::<Vec<_>>())
    .bind(ids.iter().map(|(_, at)| signed(*at)).collect::<Result<Vec<_>>>()?)
    .fetch_all(tx.conn())
    .await?;
    let read = |(level, at, hash): (i16, i64, Vec<u8>)| {
        let level = u8::try_from(level).ok()?;
        Some(((level, at.unsigned_abs()), hash.try_into().ok()?))
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// Entries as they are stored, with their postings. Those that are not there are left out.
pub(super) async fn sealed(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<Sealed>> {
    let rows = sqlx::query(
        "select e.id, e.key, e.content_hash, e.agency_id, e.period, e.kind, e.agent_id, e.event_id,
           e.lead_id, e.occurred_at, e.booked_at, e.explanation::text as explanation, p.n, p.account,
           p.currency, p.amount
         from unnest($1::uuid[]) as i(id) join ledger.entries e on e.id = i.id
         cross join lateral (
           select array_agg(n order by n) as n, array_agg(account_id order by n) as account,
             array_agg(currency order by n) as currency, array_agg(amount order by n) as amount
           from ledger.postings where entry_id = e.id) p",
    )
    .bind(ids)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(seal).collect::<sqlx::Result<_>>()?)
}

fn seal(row: &PgRow) -> sqlx::Result<Sealed> {
    // An entry whose postings are gone has no arrays.
    let n: Vec<i16> = row.try_get::<Option<_>, _>("n")?.unwrap_or_default();
    let accounts: Vec<Uuid> = row.try_get::<Option<_>, _>("account")?.unwrap_or_default();
    let currencies: Vec<String> = row.try_get::<Option<_>, _>("currency")?.unwrap_or_default();
    let amounts: Vec<i64> = row.try_get::<Option<_>, _>("amount")?.unwrap_or_default();
    let parts = n.into_iter().zip(accounts).zip(currencies).zip(amounts);
    Ok(Sealed {
        id: row.try_get("id")?,
        key: row.try_get("key")?,
        content_hash: row.try_get("content_hash")?,
        agency: row.try_get("agency_id")?,
        period: row.try_get::<NaiveDate, _>("period")?,
        kind: row.try_get("kind")?,
        agent: row.try_get("agent_id")?,
        event: row.try_get("event_id")?,
        lead: row.try_get("lead_id")?,
        occurred_at: row.try_get("occurred_at")?,
        booked_at: row.try_get("booked_at")?,
        explanation: row.try_get("explanation")?,
        postings: parts
            .map(|(((n, account), currency), amount)| (n, account, currency, amount))
            .collect(),
    })
}

/// Signs the log as it stands, unless its newest head says the same. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn sign(tx: &mut Tx, key: &HeadKey, now: DateTime<Utc>) -> Result<Option<SignedHead>> {
    let tree = frontier(tx).await?;
    let newest = root(tx).await?;
    if tree.size() == 0 || newest.is_some_and(|head| head.size == tree.size()) {
        return Ok(None);
    }
    let head = key.sign(tree.size(), tree.root(), now.trunc_subsecs(6));
    sqlx::query(
        "insert into ledger.heads (size, root, signed_at, key_id, public_key, signature)
         values ($1, $2, $3, $4, $5, $6) on conflict (size) do nothing",
    )
    .bind(signed(head.size)?)
    .bind(head.root.as_slice())
    .bind(head.at)
    .bind(head.key_id())
    .bind(head.public_key.as_slice())
    .bind(head.signature.as_slice())
    .execute(tx.conn())
    .await?;
    Ok(Some(head))
}

fn head(row: &PgRow) -> sqlx::Result<SignedHead> {
    let wrong = || sqlx::Error::Decode("a head of the ledger's log is malformed".into());
    let bytes = |column: &str| row.try_get::<Vec<u8>, _>(column);
    Ok(SignedHead {
        size: row.try_get::<i64, _>("size")?.unsigned_abs(),
        root: bytes("root")?.try_into().map_err(|_| wrong())?,
        at: row.try_get("signed_at")?,
        public_key: bytes("public_key")?.try_into().map_err(|_| wrong())?,
        signature: bytes("signature")?.try_into().map_err(|_| wrong())?,
    })
}

/// The newest signed head: what a backup writes into its manifest as `ledger.root`. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn root(tx: &mut Tx) -> Result<Option<SignedHead>> {
    let row = sqlx::query("select * from ledger.heads order by size desc limit 1");
    let row = row.fetch_optional(tx.conn()).await?;
    Ok(row.as_ref().map(head).transpose()?)
}

/// The signed head of so many leaves, or the newest.
pub(super) async fn head_under(tx: &mut Tx, size: Option<u64>) -> Result<Option<SignedHead>> {
    let Some(size) = size else { return root(tx).await };
    let row = sqlx::query("select * from ledger.heads where size = $1").bind(signed(size)?);
    let row = row.fetch_optional(tx.conn()).await?;
    Ok(row.as_ref().map(head).transpose()?)
}

/// Signed heads of more than `after` leaves, the oldest first. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn heads(tx: &mut Tx, after: u64, limit: i64) -> Result<Vec<SignedHead>> {
    let rows = sqlx::query("select * from ledger.heads where size > $1 order by size limit $2")
        .bind(signed(after)?)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    Ok(rows.iter().map(head).collect::<sqlx::Result<_>>()?)
}

/// Where an entry stands in the log, if it has its place already. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn head_of(tx: &mut Tx, entry: EntryId) -> Result<Option<u64>> {
    let place: Option<i64> =
        sqlx::query_scalar("select position from ledger.log where entry_id = $1")
            .bind(entry.0)
            .fetch_optional(tx.conn())
            .await?;
    Ok(place.map(i64::unsigned_abs))
}
