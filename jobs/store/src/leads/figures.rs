//! What became of the leads of a stretch of time: how many came, were taken, were sold. Under a tenant's
//! scope only of the leads that the agency holds. Tests do not count.

use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

/// Portals, agencies or agents that are told of: those with the most leads.
const MOST: i64 = 200;

/// Which leads: those that came from `from` until before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first instant.
    pub from: DateTime<Utc>,
    /// The first instant after it.
    pub to: DateTime<Utc>,
}

/// The leads of one portal, agency or agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Whose leads.
    pub id: Uuid,
    /// Its name; `None` where the scope hides it.
    pub name: Option<String>,
    /// How many came.
    pub leads: i64,
    /// How many of them were taken.
    pub accepted: i64,
    /// How many of them were sold.
    pub converted: i64,
}

/// What the sales of one currency came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sold {
    /// ISO 4217.
    pub currency: String,
    /// How many.
    pub sales: i64,
    /// Their values together, in minor units: more than 64 bits hold, so as text.
    pub amount_minor: String,
}

/// What became of leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many came.
    pub leads: i64,
    /// How many of them were taken.
    pub accepted: i64,
    /// How many of them were sold.
    pub converted: i64,
    /// Their sales, a line a currency.
    pub sold: Vec<Sold>,
    /// By portal, the one with the most leads first.
    pub by_portal: Vec<Group>,
    /// By the agency that holds them.
    pub by_agency: Vec<Group>,
    /// By the agent who works on them.
    pub by_agent: Vec<Group>,
}

macro_rules! grouped {
    ($key:literal, $names:literal) => {
        concat!(
            "with found as materialized (
               select l.",
            $key,
            " as id, count(*) as leads, count(*) filter (where l.state = 'accepted') as accepted,
                 count(s.lead_id) as converted
               from switchyard.leads l left join switchyard.lead_sales s on s.lead_id = l.id
               where l.created_at >= $1 and l.created_at < $2 and not l.is_test and l.",
            $key,
            " is not null
               group by 1 order by 2 desc, 1 limit $3)
             select f.*, n.name from found f left join switchyard.",
            $names,
            " n on n.id = f.id order by f.leads desc, f.id"
        )
    };
}

/// Counts the leads of a stretch of time by what became of them.
///
/// # Errors
/// If the database is not available, or the stretch holds more than it counts in a statement's time.
pub async fn figures(tx: &mut Tx, range: Range) -> Result<Figures> {
    let row = sqlx::query(
        "select count(*) as leads, count(*) filter (where l.state = 'accepted') as accepted,
           count(s.lead_id) as converted
         from switchyard.leads l left join switchyard.lead_sales s on s.lead_id = l.id
         where l.created_at >= $1 and l.created_at < $2 and not l.is_test",
    )
    .bind(range.from)
    .bind(range.to)
    .fetch_one(tx.conn())
    .await?;
    Ok(Figures {
        leads: row.try_get("leads")?,
        accepted: row.try_get("accepted")?,
        converted: row.try_get("converted")?,
        sold: sold(tx, range).await?,
        by_portal: groups(tx, grouped!("portal_id", "portals"), range).await?,
        by_agency: groups(tx, grouped!("agency_id", "agencies"), range).await?,
        by_agent: groups(tx, grouped!("agent_id", "agents"), range).await?,
    })
}

async fn sold(tx: &mut Tx, range: Range) -> Result<Vec<Sold>> {
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "select s.currency, count(*), sum(s.amount_minor)::text
         from switchyard.leads l join switchyard.lead_sales s on s.lead_id = l.id
         where l.created_at >= $1 and l.created_at < $2 and not l.is_test
         group by 1 order by 1",
    )
    .bind(range.from)
    .bind(range.to)
    .fetch_all(tx.conn())
    .await?;
    let line = |(currency, sales, amount_minor)| Sold { currency, sales, amount_minor };
    Ok(rows.into_iter().map(line).collect())
}

async fn groups(tx: &mut Tx, statement: &'static str, range: Range) -> Result<Vec<Group>> {
    let rows = sqlx::query(statement)
        .bind(range.from)
        .bind(range.to)
        .bind(MOST)
        .fetch_all(tx.conn())
        .await?;
    let group = |row: &PgRow| {
        Ok(Group {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            leads: row.try_get("leads")?,
            accepted: row.try_get("accepted")?,
            converted: row.try_get("converted")?,
        })
    };
    Ok(rows.iter().map(group).collect::<sqlx::Result<_>>()?)
}
