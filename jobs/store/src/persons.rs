//! Persons that were seen. The table's primary key decides who was first, also between two deliveries
//! at the same instant: the second waits for the first to commit and then sees it. Platform scope.
//!
//! Whoever judges events locks rows in one order, so that no two of them wait for each other in a
//! circle: first events by `(received_at, id)` ([`crate::events::lock_all`]), then persons by their key
//! ([`lock`], or a single [`claim`]), then leads by their id ([`crate::leads::lock_all`]).

use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;
use switchyard_domain::LeadId;
use switchyard_domain::duplicates::PersonKey;

/// How much longer than their window keys are kept, so that an event that is replayed days later
/// meets what it met before.
const GRACE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whether somebody was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Not within the window: the keys are the lead's now.
    First,
    /// By this lead's event. Keys that were free are the new lead's; see [`hand_over`] and
    /// [`release`].
    SeenBy(LeadId),
}

/// Locks persons until the end of the transaction, those too that nobody has seen yet. Whoever claims
/// several persons one after the other locks all of them first, and ends with [`unlock`].
///
/// # Errors
/// If the database is not available.
pub async fn lock(tx: &mut Tx, keys: &BTreeSet<PersonKey>) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    // Seen before all time, a person is free for whoever claims it.
    sqlx::query(
        "insert into switchyard.person_keys as k (key, lead_id, seen_at, expires_at)
         select key, $2, '-infinity', '-infinity'
         from unnest($1::bytea[]) with ordinality as u (key, n) order by n
         on conflict (key) do update set lead_id = k.lead_id where false",
    )
    .bind(keys.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
    .bind(uuid::Uuid::nil())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Forgets the persons among those that were locked whom nobody claimed. They stay locked.
///
/// # Errors
/// If the database is not available.
pub async fn unlock(tx: &mut Tx, keys: &BTreeSet<PersonKey>) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query("delete from switchyard.person_keys where key = any($1) and seen_at = '-infinity'")
        .bind(keys.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// The leads by which these persons were seen.
///
/// # Errors
/// If the database is not available.
pub async fn holders(tx: &mut Tx, keys: &BTreeSet<PersonKey>) -> Result<Vec<LeadId>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let leads: Vec<uuid::Uuid> = sqlx::query_scalar(
        "select distinct lead_id from switchyard.person_keys
         where key = any($1) and seen_at > '-infinity'",
    )
    .bind(keys.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    Ok(leads.into_iter().map(LeadId).collect())
}

/// A lead that claims a person.
#[derive(Clone, Copy, Debug)]
pub struct Claiming<'a> {
    /// Whom it is about.
    pub keys: &'a [PersonKey],
    /// The lead.
    pub lead: LeadId,
    /// When its event came.
    pub at: DateTime<Utc>,
    /// For how long a person counts as seen.
    pub window: Duration,
}

/// Claims persons for several leads, each person for one; gives the leads that nobody was seen before, as far
/// as that is sure: the others are to be asked one by one ([`claim`]).
///
/// # Errors
/// If the database is not available, or a key is named twice.
pub async fn claim_all(tx: &mut Tx, all: &[Claiming<'_>]) -> Result<HashSet<LeadId>> {
    let mut rows: Vec<(&[u8], &Claiming<'_>)> =
        all.iter().flat_map(|c| c.keys.iter().map(move |key| (key.as_slice(), c))).collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    let mut free: HashSet<LeadId> = all.iter().map(|c| c.lead).collect();
    if rows.is_empty() {
        return Ok(free);
    }
    let claimed: Vec<Vec<u8>> = sqlx::query_scalar(
        "insert into switchyard.person_keys as k (key, lead_id, seen_at, expires_at)
         select key, lead, at, at + make_interval(secs => span) + make_interval(secs => $5)
         from unnest($1::bytea[], $2::uuid[], $3::timestamptz[], $4::float8[]) with ordinality
           as u (key, lead, at, span, n) order by n
         on conflict (key) do update set lead_id = excluded.lead_id, seen_at = excluded.seen_at,
           expires_at = excluded.expires_at
         where k.seen_at <= excluded.seen_at - make_interval(
             secs => extract(epoch from excluded.expires_at - excluded.seen_at)::float8 - $5)
           or k.lead_id = excluded.lead_id
         returning key",
    )
    .bind(rows.iter().map(|(key, _)| *key).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, c)| c.lead.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, c)| c.at).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, c)| c.window.as_secs_f64()).collect::<Vec<_>>())
    .bind(GRACE.as_secs_f64())
    .fetch_all(tx.conn())
    .await?;
    let claimed: HashSet<&[u8]> = claimed.iter().map(Vec::as_slice).collect();
    for (_, claiming) in rows.iter().filter(|(key, _)| !claimed.contains(key)) {
        free.remove(&claiming.lead);
    }
    Ok(free)
}

/// Claims a person for a lead whose event came at `at`. The keys must be sorted.
///
/// # Errors
/// If the database is not available.
pub async fn claim(
    tx: &mut Tx,
    keys: &[PersonKey],
    lead: LeadId,
    at: DateTime<Utc>,
    window: Duration,
) -> Result<Claim> {
    if keys.is_empty() {
        return Ok(Claim::First);
    }
    let list: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    let claimed: Vec<Vec<u8>> = sqlx::query_scalar(
        "insert into switchyard.person_keys as k (key, lead_id, seen_at, expires_at)
         select key, $2, $3, $3 + make_interval(secs => $4) + make_interval(secs => $5)
         from unnest($1::bytea[]) with ordinality as u (key, n) order by n
         on conflict (key) do update set lead_id = excluded.lead_id, seen_at = excluded.seen_at,
           expires_at = excluded.expires_at
         where k.seen_at <= $3 - make_interval(secs => $4) or k.lead_id = $2
         returning key",
    )
    .bind(&list)
    .bind(lead.0)
    .bind(at)
    .bind(window.as_secs_f64())
    .bind(GRACE.as_secs_f64())
    .fetch_all(tx.conn())
    .await?;
    if claimed.len() == keys.len() {
        return Ok(Claim::First);
    }
    // A new statement sees what was committed while the first one waited. A person who was seen only
    // long after this event (it is replayed) is no reason to take it for a repetition.
    let holder: Option<uuid::Uuid> = sqlx::query_scalar(
        "select lead_id from switchyard.person_keys
         where key = any($1) and lead_id <> $2 and seen_at < $3 + make_interval(secs => $4)
         order by seen_at, lead_id limit 1",
    )
    .bind(&list)
    .bind(lead.0)
    .bind(at)
    .bind(window.as_secs_f64())
    .fetch_optional(tx.conn())
    .await?;
    Ok(holder.map_or(Claim::First, |id| Claim::SeenBy(LeadId(id))))
}

/// Gives up what a lead claimed that was not stored after all.
///
/// # Errors
/// If the database is not available.
pub async fn release(tx: &mut Tx, keys: &[PersonKey], lead: LeadId) -> Result<()> {
    let list: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    sqlx::query("delete from switchyard.person_keys where key = any($1) and lead_id = $2")
        .bind(list)
        .bind(lead.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Gives what a later lead claimed to the first one: the person is now known by this too.
///
/// # Errors
/// If the database is not available.
pub async fn hand_over(tx: &mut Tx, keys: &[PersonKey], from: LeadId, to: LeadId) -> Result<()> {
    let list: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    sqlx::query(
        "update switchyard.person_keys set lead_id = $3 where key = any($1) and lead_id = $2",
    )
    .bind(list)
    .bind(from.0)
    .bind(to.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Forgets persons whose time is over; gives how many.
///
/// # Errors
/// If the database is not available.
pub async fn expire(tx: &mut Tx, limit: i64) -> Result<u64> {
    let done = sqlx::query(
        "delete from switchyard.person_keys where key in (
           select key from switchyard.person_keys where expires_at <= now()
           limit $1 for update skip locked)",
    )
    .bind(limit)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}
