//! Leads that became sales. Under a tenant's scope only its own.

use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::{AgencyId, AgentId, LeadId};
use uuid::Uuid;

/// A sale to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSale<'a> {
    /// Which lead it was.
    pub lead: LeadId,
    /// Whose sale it is.
    pub agency: AgencyId,
    /// Who closed it.
    pub agent: Option<AgentId>,
    /// The conversion, by which its commission is booked.
    pub event: Uuid,
    /// The deal's value in minor units; above 0.
    pub amount_minor: i64,
    /// What the platform earns by it, in minor units; not below 0.
    pub fee_minor: Option<i64>,
    /// ISO 4217.
    pub currency: &'a str,
    /// What was sold.
    pub product: Option<&'a str>,
    /// When.
    pub sold_at: DateTime<Utc>,
    /// Who says so.
    pub recorded_by: &'a str,
}

/// A sale as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// Which lead it was.
    pub lead: LeadId,
    /// Whose sale it is.
    pub agency: AgencyId,
    /// Who closed it.
    pub agent: Option<AgentId>,
    /// The conversion, by which its commission is booked.
    pub event: Uuid,
    /// The deal's value in minor units.
    pub amount_minor: i64,
    /// What the platform earns by it, in minor units.
    pub fee_minor: Option<i64>,
    /// ISO 4217.
    pub currency: String,
    /// What was sold.
    pub product: Option<String>,
    /// When.
    pub sold_at: DateTime<Utc>,
    /// Who said so.
    pub recorded_by: String,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

fn sale(row: &PgRow) -> sqlx::Result<Sale> {
    Ok(Sale {
        lead: LeadId(row.try_get("lead_id")?),
        agency: AgencyId(row.try_get("agency_id")?),
        agent: row.try_get::<Option<_>, _>("agent_id")?.map(AgentId),
        event: row.try_get("event_id")?,
        amount_minor: row.try_get("amount_minor")?,
        fee_minor: row.try_get("fee_minor")?,
        currency: row.try_get("currency")?,
        product: row.try_get("product")?,
        sold_at: row.try_get("sold_at")?,
        recorded_by: row.try_get("recorded_by")?,
        recorded_at: row.try_get("recorded_at")?,
    })
}

impl Sale {
    /// Records the sale of a lead, once. Gives whether it is new, and the sale that stands.
    ///
    /// # Errors
    /// If the database refuses it.
    pub async fn record(tx: &mut Tx, new: &NewSale<'_>) -> Result<(bool, Self)> {
        let done = sqlx::query(
            "insert into switchyard.lead_sales (lead_id, agency_id, agent_id, event_id, amount_minor,
               fee_minor, currency, product, sold_at, recorded_by)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (lead_id) do nothing",
        )
        .bind(new.lead.0)
        .bind(new.agency.0)
        .bind(new.agent.map(|a| a.0))
        .bind(new.event)
        .bind(new.amount_minor)
        .bind(new.fee_minor)
        .bind(new.currency)
        .bind(new.product)
        .bind(new.sold_at)
        .bind(new.recorded_by)
        .execute(tx.conn())
        .await?;
        let stands = Self::of_lead(tx, new.lead).await?.ok_or(StoreFault::NotFound)?;
        Ok((done.rows_affected() == 1, stands))
    }

    /// The sale of a lead, if it became one.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn of_lead(tx: &mut Tx, lead: LeadId) -> Result<Option<Self>> {
        let row = sqlx::query("select * from switchyard.lead_sales where lead_id = $1")
            .bind(lead.0)
            .fetch_optional(tx.conn())
            .await?;
        Ok(row.map(|row| sale(&row)).transpose()?)
    }
}
