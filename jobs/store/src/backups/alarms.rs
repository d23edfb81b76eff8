//! Alarms: what is wrong now, since when, and whether people were told. Platform scope.

use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::time::Duration;
use uuid::Uuid;

stored_words! {
    /// How bad it is.
    Severity {
        /// Somebody should look at it today.
        Warning = "warning",
        /// Somebody should look at it now.
        Critical = "critical",
    }
}

/// An alarm as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Alarm {
    /// Its id.
    pub id: Uuid,
    /// What it is about: `backup.rpo`.
    pub key: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do.
    pub text: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// When people were told last.
    pub told_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub resolved_at: Option<DateTime<Utc>>,
}

fn alarm(row: &PgRow) -> sqlx::Result<Alarm> {
    Ok(Alarm {
        id: row.try_get("id")?,
        key: row.try_get("key")?,
        severity: word(row, "severity")?,
        text: row.try_get("text")?,
        since: row.try_get("since")?,
        told_at: row.try_get("told_at")?,
        resolved_at: row.try_get("resolved_at")?,
    })
}

fn all(rows: &[PgRow]) -> Result<Vec<Alarm>> {
    Ok(rows.iter().map(alarm).collect::<sqlx::Result<_>>()?)
}

/// Something that is wrong, as whoever looked found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What it is about.
    pub key: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do.
    pub text: String,
}

/// Makes the open alarms whose keys begin with `prefix` equal to what was found: new ones are raised,
/// standing ones get today's words, those that were not found are over. Gives those that people are to
/// be told of now: new ones, those of which nobody heard for `repeat`, and those that are over.
///
/// # Errors
/// If the database is not available.
pub async fn keep(
    tx: &mut Tx,
    prefix: &str,
    found: &[Wrong],
    repeat: Duration,
) -> Result<Vec<Alarm>> {
    // In the order of the keys, so that two who look at once never wait for each other in a circle.
    let mut found: Vec<&Wrong> = found.iter().collect();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    for wrong in &found {
        sqlx::query(
            "insert into switchyard.alarms as a (id, key, severity, text) values ($1, $2, $3, $4)
             on conflict (key) where resolved_at is null do update
               set severity = excluded.severity, text = excluded.text",
        )
        .bind(Uuid::now_v7())
        .bind(&wrong.key)
        .bind(wrong.severity.as_str())
        .bind(&wrong.text)
        .execute(tx.conn())
        .await?;
    }
    let keys: Vec<&str> = found.iter().map(|w| w.key.as_str()).collect();
    let over = sqlx::query(
        "update switchyard.alarms set resolved_at = clock_timestamp()
         where resolved_at is null and starts_with(key, $1) and key <> all($2) returning *",
    )
    .bind(prefix)
    .bind(keys)
    .fetch_all(tx.conn())
    .await?;
    let told = sqlx::query(
        "update switchyard.alarms set told_at = clock_timestamp()
         where resolved_at is null and starts_with(key, $1)
           and (told_at is null or told_at < clock_timestamp() - $2 * interval '1 second')
         returning *",
    )
    .bind(prefix)
    .bind(crate::engine::seconds(repeat))
    .fetch_all(tx.conn())
    .await?;
    // Of one that is over before anybody was told there is nothing to tell.
    let over = all(&over)?.into_iter().filter(|a| a.told_at.is_some());
    Ok(all(&told)?.into_iter().chain(over).collect())
}

/// One alarm.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn get(tx: &mut Tx, id: Uuid) -> Result<Alarm> {
    let row = sqlx::query("select * from switchyard.alarms where id = $1")
        .bind(id)
        .fetch_optional(tx.conn())
        .await?
        .ok_or(StoreFault::NotFound)?;
    Ok(alarm(&row)?)
}

/// Those that are open, the worst and oldest first, then the latest that are over.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, limit: u16) -> Result<Vec<Alarm>> {
    let rows = sqlx::query(
        "select * from switchyard.alarms
         order by resolved_at desc nulls first, severity = 'critical' desc, since limit $1",
    )
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    all(&rows)
}

/// Those that are open.
///
/// # Errors
/// If the database is not available.
pub async fn open(tx: &mut Tx) -> Result<Vec<Alarm>> {
    let rows = sqlx::query(
        "select * from switchyard.alarms where resolved_at is null
         order by severity = 'critical' desc, since",
    )
    .fetch_all(tx.conn())
    .await?;
    all(&rows)
}
