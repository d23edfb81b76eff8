//! Agents: the people of an agency who are told about leads. Under a tenant's scope only its own.

use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::{AgencyId, AgentId};

/// An agent as stored.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Where the agent works.
    pub agency: AgencyId,
    /// For people.
    pub name: String,
    /// Told by e-mail if there is one.
    pub email: Option<String>,
    /// Told by WhatsApp if there is one; E.164.
    pub phone: Option<String>,
    /// Whether the agent is told at all.
    pub active: bool,
    /// When the agent joined.
    pub created_at: DateTime<Utc>,
}

pub(crate) fn agent(row: &PgRow) -> sqlx::Result<Agent> {
    Ok(Agent {
        id: AgentId(row.try_get("id")?),
        agency: AgencyId(row.try_get("agency_id")?),
        name: row.try_get("name")?,
        email: row.try_get("email")?,
        phone: row.try_get("phone")?,
        active: row.try_get("active")?,
        created_at: row.try_get("created_at")?,
    })
}

/// The agents of an agency, by name.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, agency: AgencyId) -> Result<Vec<Agent>> {
    let rows = sqlx::query(
        "select id, agency_id, name, email, phone, active, created_at
         from switchyard.agents where agency_id = $1 order by name, id",
    )
    .bind(agency.0)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(agent).collect::<sqlx::Result<_>>()?)
}

/// Adds an agent, or changes the one with this id.
///
/// # Errors
/// If the database refuses it.
pub async fn upsert(
    tx: &mut Tx,
    id: AgentId,
    agency: AgencyId,
    name: &str,
    email: Option<&str>,
    phone: Option<&str>,
) -> Result<()> {
    sqlx::query(
        "insert into switchyard.agents (id, agency_id, name, email, phone)
         values ($1, $2, $3, $4, $5)
         on conflict (id) do update set name = $3, email = $4, phone = $5",
    )
    .bind(id.0)
    .bind(agency.0)
    .bind(name)
    .bind(email)
    .bind(phone)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Says who an agent's manager is: another agent of the same agency, or nobody. The manager gets what a
/// plan's split gives to managers, of what is sold from then on. Gives whether there is such an agent.
///
/// # Errors
/// The constraint `agents_manager` if the manager is no agent of the agency, `agents_own_manager` if it
/// is the agent itself.
pub async fn set_manager(tx: &mut Tx, id: AgentId, manager: Option<AgentId>) -> Result<bool> {
    let done = sqlx::query("update switchyard.agents set manager_id = $2 where id = $1")
        .bind(id.0)
        .bind(manager.map(|m| m.0))
        .execute(tx.conn())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Who an agent's manager is.
///
/// # Errors
/// If the database is not available.
pub async fn manager_of(tx: &mut Tx, id: AgentId) -> Result<Option<AgentId>> {
    let found: Option<Option<uuid::Uuid>> =
        sqlx::query_scalar("select manager_id from switchyard.agents where id = $1")
            .bind(id.0)
            .fetch_optional(tx.conn())
            .await?;
    Ok(found.flatten().map(AgentId))
}

/// Says whether an agent is told about leads; gives whether there is such an agent.
///
/// # Errors
/// If the database is not available.
pub async fn set_active(tx: &mut Tx, id: AgentId, active: bool) -> Result<bool> {
    let done = sqlx::query("update switchyard.agents set active = $2 where id = $1")
        .bind(id.0)
        .bind(active)
        .execute(tx.conn())
        .await?;
    Ok(done.rows_affected() == 1)
}
