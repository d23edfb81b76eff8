//! Whose turn it is: who may get a lead, and where the turns stand.

use super::AssignmentReason;
use crate::leads::Lead;
use crate::words::word;
use crate::{Result, StoreFault, Tx};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::{BTreeMap, HashMap};
use switchyard_domain::AgencyId;

/// Who may get a lead.
#[derive(Clone, Debug)]
pub struct Candidates {
    /// Under which key they take turns: `PL:00-950`, or `*` for the catch-all.
    pub key: String,
    /// The agencies, in the order of their ids; not empty.
    pub agencies: Vec<AgencyId>,
    /// The rule that found them.
    pub reason: AssignmentReason,
}

/// Finds who may get each of these leads, in their order. `None`: nobody may.
///
/// The rule is the database function `switchyard.candidates`. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn candidates(tx: &mut Tx, leads: &[&Lead]) -> Result<Vec<Option<Candidates>>> {
    // All candidates of a lead share one key.
    let rows = sqlx::query(
        "select l.n, c.key, min(c.reason) as reason, array_agg(c.agency order by c.agency) as agencies
         from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality l(id, country, code, n)
         cross join lateral (
           select * from switchyard.candidates(l.id, l.country, l.code) offset 0) c
         group by l.n, c.key",
    )
    .bind(leads.iter().map(|l| l.id.0).collect::<Vec<_>>())
    .bind(leads.iter().map(|l| l.data.country.as_deref()).collect::<Vec<_>>())
    .bind(leads.iter().map(|l| l.data.postal_code.as_deref()).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    let mut found = vec![None; leads.len()];
    for row in &rows {
        let n: i64 = row.try_get("n")?;
        let agencies: Vec<uuid::Uuid> = row.try_get("agencies")?;
        let place = usize::try_from(n - 1).ok().and_then(|n| found.get_mut(n));
        *place.ok_or(StoreFault::NotFound)? = Some(Candidates {
            key: row.try_get("key")?,
            agencies: agencies.into_iter().map(AgencyId).collect(),
            reason: word(row, "reason")?,
        });
    }
    Ok(found)
}

/// The state of the turns under a key, locked until the end of the transaction: nobody else can give out
/// a lead under the same key before that.
#[derive(Clone, Debug)]
pub struct Turns {
    /// How many leads were given out under it before.
    pub position: i64,
    /// Who had the turn before.
    pub last: Option<AgencyId>,
}

/// Takes the next numbers under these keys, so many under each. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn take_turns(
    tx: &mut Tx,
    taken: &BTreeMap<&str, i64>,
) -> Result<HashMap<String, Turns>> {
    // The insert waits for the lock on a key's row and then reads its newest version, so `last` is
    // never stale. Keys are locked in one order, so that nobody waits in a circle.
    let rows = sqlx::query(
        "insert into switchyard.lead_distribution_sequence as s (key, position)
         select t.key, t.taken from unnest($1::text[], $2::int8[]) with ordinality t(key, taken, n)
         order by t.n
         on conflict (key) do update set position = s.position + excluded.position
         returning s.key, s.position, s.last_agency",
    )
    .bind(taken.keys().collect::<Vec<_>>())
    .bind(taken.values().collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    let turns = |row: &PgRow| {
        let key: String = row.try_get("key")?;
        let position: i64 = row.try_get("position")?;
        let position = position - taken.get(key.as_str()).copied().unwrap_or_default();
        let last = row.try_get::<Option<_>, _>("last_agency")?.map(AgencyId);
        Ok((key, Turns { position, last }))
    };
    Ok(rows.iter().map(turns).collect::<sqlx::Result<_>>()?)
}
