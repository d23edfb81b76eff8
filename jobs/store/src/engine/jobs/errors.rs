//! Failures grouped by what they have in common, and what an operator can do with the dead letters
//! of a whole group.
//!
//! A group is known by its fingerprint: kind, class, and the message without what varies (see
//! `ErrorReport::pattern`). Like the counters, it is the sum of what was folded and what was not.

use super::act::{BY_OPERATOR, end_waiting};
use crate::engine::workflows;
use crate::{Db, Result, StoreFault};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use std::collections::BTreeSet;
use switchyard_queue::{LaneId, WakeToken};
use uuid::Uuid;

/// Dead letters that are acted on in one transaction: few enough to hold their locks briefly.
const BATCH: i64 = 500;
/// Dead letters of a group are counted up to here.
const MOST_COUNTED: i64 = 10_000;

/// Failures that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct ErrorGroup {
    /// Names the group for good.
    pub fingerprint: String,
    /// Stored kind of the jobs.
    pub kind: String,
    /// `error`, `panic` or `timeout`.
    pub class: String,
    /// The message without what varies.
    pub pattern: String,
    /// Attempts that failed so.
    pub failures: i64,
    /// When the first did.
    pub first_seen: DateTime<Utc>,
    /// When the last did.
    pub last_seen: DateTime<Utc>,
    /// The job that failed so last.
    pub example: Uuid,
    /// Dead letters that died of it and wait for somebody to act; counted up to 10,000.
    pub dead_letters: i64,
}

/// Which groups to list.
#[derive(Clone, Debug, Default)]
pub struct ErrorFilter {
    /// Only of this stored kind.
    pub kind: Option<String>,
    /// At most this many (0 means 50; never more than 1,000).
    pub limit: u32,
}

/// What became of a group's dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Acted {
    /// Jobs that were acted on.
    pub done: u64,
    /// Jobs that stay dead letters because another job holds their unique key by now.
    pub kept: u64,
}

/// The groups that failed last, the latest first.
///
/// # Errors
/// If the database is not available.
pub async fn list(db: &Db, filter: &ErrorFilter) -> Result<Vec<ErrorGroup>> {
    let limit = if filter.limit == 0 { 50 } else { filter.limit.min(1000) };
    groups(db, None, filter.kind.as_deref(), limit).await
}

/// One group.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn find(db: &Db, fingerprint: &str) -> Result<ErrorGroup> {
    let mut found = groups(db, Some(fingerprint), None, 1).await?;
    found.pop().ok_or(StoreFault::NotFound)
}

async fn groups(
    db: &Db,
    fingerprint: Option<&str>,
    kind: Option<&str>,
    limit: u32,
) -> Result<Vec<ErrorGroup>> {
    let rows = sqlx::query_as(
        "with seen as (
           select fingerprint, kind, class, pattern, failures, first_seen, last_seen, example
           from engine.error_groups
           union all
           select fingerprint, kind, class, pattern, n, at, at, example from engine.error_deltas
         ), latest as (
           select fingerprint, min(kind) as kind, min(class) as class, min(pattern) as pattern,
             sum(failures)::int8 as failures, min(first_seen) as first_seen,
             max(last_seen) as last_seen, (array_agg(example order by last_seen desc))[1] as example
           from seen
           where ($1::text is null or fingerprint = $1) and ($2::text is null or kind = $2)
           group by fingerprint
           order by max(last_seen) desc, fingerprint limit $3
         )
         select g.*, (select count(*) from (
             select 1 from engine.jobs j where j.stage = 5 and j.fingerprint = g.fingerprint
             limit $4) dead) as dead_letters
         from latest g order by g.last_seen desc, g.fingerprint",
    )
    .bind(fingerprint)
    .bind(kind)
    .bind(i64::from(limit))
    .bind(MOST_COUNTED)
    .fetch_all(db.engine())
    .await?;
    Ok(rows)
}

/// Runs all dead letters of a group again, now, as `jobs::retry` does with one.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such group. What was done before an error stands.
pub async fn retry(db: &Db, fingerprint: &str) -> Result<Acted> {
    find(db, fingerprint).await?;
    let mut acted = Acted::default();
    let mut after = Uuid::nil();
    loop {
        let mut tx = db.engine().begin().await?;
        let dead = lock(&mut tx, fingerprint, after).await?;
        let Some(last) = dead.last() else { return Ok(acted) };
        after = *last;
        let revived = revive(&mut tx, &dead).await?;
        tx.commit().await?;
        acted.done += revived.len() as u64;
        acted.kept += (dead.len() - revived.len()) as u64;
        let lanes: BTreeSet<i32> = revived.into_iter().collect();
        let wakes: Vec<_> = lanes.into_iter().map(|lane| WakeToken::Lane(LaneId(lane))).collect();
        db.wake().send(&wakes);
    }
}

/// Gives all dead letters of a group up, as `jobs::cancel` does with one: they move to history.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such group. What was done before an error stands.
pub async fn cancel(db: &Db, fingerprint: &str) -> Result<Acted> {
    find(db, fingerprint).await?;
    let mut acted = Acted::default();
    let mut after = Uuid::nil();
    loop {
        let mut tx = db.engine().begin().await?;
        let dead = lock(&mut tx, fingerprint, after).await?;
        let Some(last) = dead.last() else { return Ok(acted) };
        after = *last;
        let told = end_waiting(&mut tx, &dead, BY_OPERATOR).await?;
        tx.commit().await?;
        workflows::advance_soon(db, &told).await;
        acted.done += dead.len() as u64;
    }
}

/// Locks the next dead letters of a group. Those that somebody is just acting on are theirs.
async fn lock(connection: &mut PgConnection, fingerprint: &str, after: Uuid) -> Result<Vec<Uuid>> {
    let ids = sqlx::query_scalar(
        "select id from engine.jobs where stage = 5 and fingerprint = $1 and id > $2
         order by id limit $3 for update skip locked",
    )
    .bind(fingerprint)
    .bind(after)
    .bind(BATCH)
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Starts dead letters over that get their unique key again; gives the lane of each. The caller
/// holds their rows' locks.
async fn revive(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<i32>> {
    let lanes = sqlx::query_scalar(
        "with keyed as (
           insert into engine.job_uniques (key, job_id)
           select unique_key, id from engine.jobs
           where id = any($1) and unique_key is not null order by unique_key, id
           on conflict do nothing
           returning job_id
         ), back as (
           update engine.jobs set stage = 0, run_at = statement_timestamp(), attempt = 0,
             crashes = 0, lone_crashes = 0, deadline = null
           where id = any($1) and (unique_key is null or id in (select job_id from keyed))
           returning lane, kind
         ), counted as (
           insert into engine.counter_deltas (lane, kind, state, n)
           select b.lane, b.kind, s.state, sum(s.n) from back b
           cross join (values (7::int2, -1), (0::int2, 1)) s(state, n)
           group by 1, 2, 3
         )
         select lane from back",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(lanes)
}
