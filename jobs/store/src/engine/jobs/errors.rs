//! Failures grouped by what they have in common, and what an operator can do with the dead letters
//! of a whole group.
//!
//! A group is known by its fingerprint: kind, class, and the message without what varies (see
//! `ErrorReport::pattern`). Like the counters, it is the sum of what was folded and what was not.

use super::bulk::{self, Action, BulkOp, BulkRefusal};
use super::filter::Filter;
use crate::{Db, Result, StoreFault};
use chrono::{DateTime, Utc};
use serde::Serialize;
use switchyard_queue::JobState;
use uuid::Uuid;

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
    act(db, fingerprint, &Action::Retry).await
}

/// Gives all dead letters of a group up, as `jobs::cancel` does with one: they move to history.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such group. What was done before an error stands.
pub async fn cancel(db: &Db, fingerprint: &str) -> Result<Acted> {
    act(db, fingerprint, &Action::Cancel).await
}

/// Starts a bulk operation on all dead letters of a group, for a scheduler to do.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such group.
pub async fn start(db: &Db, fingerprint: &str, action: &Action, by: &str) -> Result<BulkOp> {
    find(db, fingerprint).await?;
    let filter = Filter {
        states: vec![JobState::Discarded],
        fingerprint: Some(fingerprint.to_owned()),
        ..Filter::default()
    };
    bulk::start(db, action, &filter, by).await.map_err(fault)
}

/// A bulk operation that is waited for: if this process dies a scheduler ends it, and it can be undone.
async fn act(db: &Db, fingerprint: &str, action: &Action) -> Result<Acted> {
    let op = start(db, fingerprint, action, "errors").await?;
    let op = bulk::run(db, op.id).await.map_err(fault)?;
    let kept = op.skipped.get("key_held").copied().unwrap_or_default();
    Ok(Acted { done: op.done.unsigned_abs(), kept: kept.unsigned_abs() })
}

fn fault(refusal: BulkRefusal) -> StoreFault {
    match refusal {
        BulkRefusal::Store(fault) => fault,
        // Neither can the filter be unfit nor has anybody else had the time to forget it.
        _ => StoreFault::NotFound,
    }
}
