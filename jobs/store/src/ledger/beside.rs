//! What stands beside the entries and follows from them: the ids of accounts, the nodes of the log, the
//! figures of closed months, the states of payouts and their files. The audit derives each anew and names
//! what differs.

use super::audit::Finding;
use super::balances::account;
use super::log::hashes;
use super::periods::{Figure, figures};
use crate::{Db, Result, Scope, Tx};
use chrono::NaiveDate;
use serde_json::Value;
use sqlx::Row;
use switchyard_domain::AgencyId;
use switchyard_domain::ledger::{Hash, NodeId};
use uuid::Uuid;

/// Rows a statement.
const BATCH: i64 = 2000;

/// Nodes that leaves complete, held against those that are stored.
pub(super) async fn nodes(db: &Db, made: &[(NodeId, Hash)]) -> Result<Vec<Finding>> {
    let ids: Vec<NodeId> = made.iter().map(|(id, _)| *id).collect();
    let mut tx = db.begin(Scope::Platform).await?;
    let stored = hashes(&mut tx, &ids).await?;
    let wrong = made.iter().filter(|(id, hash)| stored.get(id) != Some(hash));
    Ok(wrong
        .map(|((level, index), _)| Finding::WrongNode { level: *level, index: *index })
        .collect())
}

/// Everything else that is derived from entries. `step` hears of every batch.
pub(super) async fn differing(db: &Db, mut step: impl FnMut()) -> Result<Vec<Finding>> {
    let mut found = beyond(db).await?;
    found.extend(loose(db).await?);
    found.extend(accounts(db, &mut step).await?);
    found.extend(months(db, &mut step).await?);
    found.extend(reopened(db).await?);
    found.extend(payouts(db).await?);
    found.extend(files(db).await?);
    Ok(found)
}

/// These read every posting.
async fn patient(db: &Db) -> Result<Tx> {
    let mut tx = db.begin(Scope::Platform).await?;
    sqlx::raw_sql("set local statement_timeout = '30min'").execute(tx.conn()).await?;
    Ok(tx)
}

/// Nodes over leaves that there are not.
async fn beyond(db: &Db) -> Result<Vec<Finding>> {
    let mut tx = patient(db).await?;
    let rows: Vec<(i16, i64)> = sqlx::query_as(
        "select n.level, n.idx from ledger.nodes n
         where (n.idx + 1)::numeric * power(2::numeric, n.level)
           > (select coalesce(max(position) + 1, 0) from ledger.log)
         order by 1, 2 limit 1000",
    )
    .fetch_all(tx.conn())
    .await?;
    let node = |(level, index): (i16, i64)| Finding::WrongNode {
        level: u8::try_from(level).unwrap_or(u8::MAX),
        index: index.unsigned_abs(),
    };
    Ok(rows.into_iter().map(node).collect())
}

/// Postings without their entry: no leaf covers them.
async fn loose(db: &Db) -> Result<Vec<Finding>> {
    let mut tx = patient(db).await?;
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "select distinct p.entry_id from ledger.postings p
         where not exists (select from ledger.entries e where e.id = p.entry_id)
         order by 1 limit 1000",
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|entry| Finding::Loose { entry }).collect())
}

/// Accounts that are not what their id says: whoever turns one over to another owner turns over what
/// lies in it.
async fn accounts(db: &Db, step: &mut impl FnMut()) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut after = Uuid::nil();
    loop {
        let mut tx = patient(db).await?;
        let rows = sqlx::query(
            "select id, kind, owner_kind, owner_id, agency_id, currency, exponent from ledger.accounts
             where id > $1 order by id limit $2",
        )
        .bind(after)
        .bind(BATCH)
        .fetch_all(tx.conn())
        .await?;
        let Some(last) = rows.last() else { return Ok(found) };
        after = last.try_get("id")?;
        for row in &rows {
            let (id, exponent): (Uuid, i16) = (row.try_get("id")?, row.try_get("exponent")?);
            // One that cannot be read is not as this program wrote it.
            let same = account(row)
                .is_ok_and(|is| is.id().0 == id && i16::from(is.currency.exponent()) == exponent);
            if !same {
                found.push(Finding::WrongAccount { account: id });
            }
        }
        step();
    }
}

/// Closed months whose figures are not the sums of their entries.
async fn months(db: &Db, step: &mut impl FnMut()) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut after: Option<(Uuid, NaiveDate)> = None;
    loop {
        let mut tx = patient(db).await?;
        let rows: Vec<(Uuid, NaiveDate, Value)> = sqlx::query_as(
            "select agency_id, month, figures from ledger.periods
             where $1::uuid is null or (agency_id, month) > ($1, $2)
             order by agency_id, month limit 100",
        )
        .bind(after.map(|(agency, _)| agency))
        .bind(after.map(|(_, month)| month))
        .fetch_all(tx.conn())
        .await?;
        let Some((agency, month, _)) = rows.last() else { return Ok(found) };
        after = Some((*agency, *month));
        for (agency, month, frozen) in rows {
            let now = figures(&mut tx, AgencyId(agency), month).await?;
            let frozen: Option<Vec<Figure>> = serde_json::from_value(frozen).ok();
            if frozen.map(by_account) != Some(by_account(now)) {
                found.push(Finding::WrongMonth { agency, month });
            }
        }
        step();
    }
}

/// Months that were closed, or an entry of theirs would not count in the month after, and are not.
async fn reopened(db: &Db) -> Result<Vec<Finding>> {
    let mut tx = patient(db).await?;
    let rows: Vec<(Uuid, NaiveDate)> = sqlx::query_as(
        "select distinct late.agency_id, late.month from (
           select agency_id, (period - interval '1 month')::date as month from ledger.entries
           where period > date_trunc('month', occurred_at at time zone 'UTC')::date) late
         where not exists (select from ledger.periods p
           where p.agency_id = late.agency_id and p.month = late.month)
         order by 1, 2 limit 1000",
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|(agency, month)| Finding::WrongMonth { agency, month }).collect())
}

fn by_account(mut figures: Vec<Figure>) -> Vec<Figure> {
    figures.sort_by_key(|f| f.account);
    figures
}

/// Payouts whose state, owner or amount is not what is booked for them, and bookings of payouts that
/// there are not.
async fn payouts(db: &Db) -> Result<Vec<Finding>> {
    let mut tx = patient(db).await?;
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "select p.id from switchyard.payouts p
         cross join lateral (
           select coalesce(array_agg(e.kind order by e.kind), '{}') as kinds,
             coalesce(bool_and(o.fits), true) as fits
           from ledger.entries e
           cross join lateral (
             select count(*) = 2 and bool_and((a.owner_kind, a.owner_id, a.agency_id, a.currency, abs(l.amount))
               = (p.owner_kind, p.owner_id, p.agency_id, p.currency, p.amount)) as fits
             from ledger.postings l join ledger.accounts a on a.id = l.account_id
             where l.entry_id = e.id) o
           where e.key = any (array['payout:' || p.id || ':payout_sent',
             'payout:' || p.id || ':payout_confirmed', 'payout:' || p.id || ':payout_failed'])) b
         where b.fits is not true or not case p.state
           when 'sent' then b.kinds = '{payout_sent}'::text[]
           when 'confirmed' then b.kinds = '{payout_confirmed,payout_sent}'::text[]
           when 'failed' then b.kinds in ('{}'::text[], '{payout_failed,payout_sent}'::text[])
           else b.kinds = '{}'::text[] end
         union all
         select e.id from ledger.entries e
         where e.kind in ('payout_sent', 'payout_confirmed', 'payout_failed') and not exists (
           select from switchyard.payouts p where e.key = 'payout:' || p.id || ':' || e.kind)
         limit 1000",
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|id| Finding::WrongPayout { id }).collect())
}

/// Files for the bank that do not say what the payouts say that went out by them.
async fn files(db: &Db) -> Result<Vec<Finding>> {
    let mut tx = patient(db).await?;
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "select f.id from switchyard.payout_files f
         left join (select file_id, count(*) as n, sum(amount) as total, min(currency || ' ' || method) as one,
                      max(currency || ' ' || method) as other
                    from switchyard.payouts where file_id is not null group by 1) p on p.file_id = f.id
         where (p.n, p.total, p.one, p.other)
           is distinct from (f.payouts, f.amount, f.currency || ' ' || f.method, f.currency || ' ' || f.method)
         order by 1 limit 1000",
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|id| Finding::WrongFile { id }).collect())
}
