//! Territories: which agency covers which postal codes. Under a tenant's scope only its own.

use crate::leads::Place;
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use switchyard_domain::AgencyId;
use switchyard_queue::NewJob;

/// One postal code that an agency covers.
#[derive(Clone, Debug)]
pub struct Territory {
    /// Who covers it.
    pub agency: AgencyId,
    /// What is covered.
    pub place: Place,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// The territories of an agency, by place.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, agency: AgencyId) -> Result<Vec<Territory>> {
    let rows = sqlx::query(
        "select country, postal_code, created_at from switchyard.territories
         where agency_id = $1 order by country, postal_code",
    )
    .bind(agency.0)
    .fetch_all(tx.conn())
    .await?;
    let territory = |row: &sqlx::postgres::PgRow| {
        let place =
            Place { country: row.try_get("country")?, postal_code: row.try_get("postal_code")? };
        Ok(Territory { agency, place, created_at: row.try_get("created_at")? })
    };
    Ok(rows.iter().map(territory).collect::<sqlx::Result<_>>()?)
}

/// Adds territories and, if any is new, enqueues `rescan`, which looks for leads that wait there.
/// Gives how many are new.
///
/// # Errors
/// If the database refuses them.
pub async fn add(tx: &mut Tx, agency: AgencyId, places: &[Place], rescan: NewJob) -> Result<u64> {
    let countries: Vec<_> = places.iter().map(|p| p.country.as_str()).collect();
    let codes: Vec<_> = places.iter().map(|p| p.postal_code.as_str()).collect();
    let done = sqlx::query(
        "insert into switchyard.territories (agency_id, country, postal_code)
         select $1, u.* from unnest($2::text[], $3::text[]) as u on conflict do nothing",
    )
    .bind(agency.0)
    .bind(countries)
    .bind(codes)
    .execute(tx.conn())
    .await?;
    if done.rows_affected() > 0 {
        tx.enqueue(rescan).await?;
    }
    Ok(done.rows_affected())
}

/// Removes a postal code, in one country or in all; gives how many rows went.
///
/// # Errors
/// If the database is not available.
pub async fn remove(
    tx: &mut Tx,
    agency: AgencyId,
    country: Option<&str>,
    postal_code: &str,
) -> Result<u64> {
    let done = sqlx::query(
        "delete from switchyard.territories
         where agency_id = $1 and postal_code = $2 and ($3::text is null or country = $3)",
    )
    .bind(agency.0)
    .bind(postal_code)
    .bind(country)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}
