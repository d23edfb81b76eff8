//! Searching all jobs: the open ones, the youngest first, then the history, what finished last first.
//! No page counts or skips: it goes on where the one before stopped.
//!
//! An answer takes a bounded time whatever is asked. What has an index is asked by it, and comes
//! first; everything else is looked through from the newest on, in stretches that are known
//! beforehand, until the page is full or the time is up. Then the page says how far it looked and
//! where to go on.
//!
//! Whether a slice of the history is sealed decides how it is asked, never what is found.

mod cursor;
mod slices;
mod walk;

use super::filter::Filter;
use super::kinds::stored_as;
use super::read::JobRow;
use crate::{Db, Result};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::time::{Duration, Instant};
use walk::Walk;

pub use cursor::Cursor;
pub(super) use walk::HELD;

/// When a page stops looking for more. The last stretch may take as long again.
const PATIENCE: Duration = Duration::from_millis(40);
/// Longest statement of a search: what guards the database when an estimate was wrong.
const LONGEST_STATEMENT: &str = "3s";
/// After everything that has finished: the last second that RFC 3339 can write.
const FOREVER: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(at) => at,
    None => DateTime::UNIX_EPOCH,
};
const DEFAULT_LIMIT: u32 = 50;
const LONGEST_PAGE: u32 = 1000;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The jobs, at most as many as asked for.
    pub rows: Vec<JobRow>,
    /// Where to go on; none if there is nothing more. The next page may be empty.
    pub next: Option<Cursor>,
    /// The time was up before the page was full: everything made (of open jobs) or finished (of the
    /// others) since then was looked at.
    pub looked_back_to: Option<DateTime<Utc>>,
}

/// One page of the jobs that meet the filter, from a cursor on; `limit` 0 means 50, at most 1,000.
///
/// A job that finishes between two pages may be in both, open and finished.
///
/// # Errors
/// If the database is not available, or a statement took longer than three seconds.
pub async fn search(db: &Db, filter: &Filter, from: Option<Cursor>, limit: u32) -> Result<Found> {
    let limit = if limit == 0 { DEFAULT_LIMIT } else { limit.min(LONGEST_PAGE) };
    let mut tx = db.begin_engine().await?;
    let found = page(&mut tx, filter, from.unwrap_or(Cursor::START), limit, PATIENCE).await?;
    tx.rollback().await?;
    Ok(found)
}

/// The same in the caller's transaction, whose longest statement it limits.
pub(super) async fn page(
    connection: &mut PgConnection,
    filter: &Filter,
    from: Cursor,
    limit: u32,
    patience: Duration,
) -> Result<Found> {
    let mut begun = Instant::now();
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(LONGEST_STATEMENT)
        .execute(&mut *connection)
        .await?;
    let limit = limit as usize;
    let kinds = stored_as(&mut *connection, &filter.kinds).await?;
    let filter = &Filter { kinds, ..filter.clone() };
    let mut walk = Walk::new(connection, filter);
    let mut found = Found { rows: Vec::new(), next: Some(from), looked_back_to: None };
    while let Some(at) = found.next.filter(|_| found.rows.len() < limit) {
        let step = walk.step(at, limit - found.rows.len()).await?;
        found.rows.extend(step.rows);
        found.next = step.next;
        found.looked_back_to = step.looked_back_to;
        if found.rows.len() > limit {
            found.rows.truncate(limit);
            found.next = found.rows.last().map(|row| at.after(row));
            found.looked_back_to = None;
            break;
        }
        if matches!(at, Cursor::Indexed(_)) {
            // What follows has its own time, so that a page never ends before it has looked at anything.
            begun = Instant::now();
        } else if begun.elapsed() >= patience {
            break;
        }
    }
    if found.next.is_none() {
        found.looked_back_to = None;
    }
    // What the indexes found goes behind what is open or finished later.
    found.rows.sort_by_key(|r| {
        (std::cmp::Reverse(r.finished_at.unwrap_or(FOREVER)), std::cmp::Reverse(r.id))
    });
    Ok(found)
}
