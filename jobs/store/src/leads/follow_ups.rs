//! Reminders about leads, and the message that each becomes. Under a tenant's scope only its own.

use crate::messages::NewMessage;
use crate::words::{stored_words, word};
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::{AgencyId, AgentId, AssignmentId, FollowUpId, LeadId};

/// Reminders of one lead that are read at once.
const MOST: i64 = 200;

stored_words! {
    /// Where a reminder stands.
    FollowUpState {
        /// It is not due yet.
        Planned = "planned",
        /// Its message was written.
        Told = "told",
        /// Nobody was told; the reason says why.
        Dropped = "dropped",
    }
}

/// A reminder to be planned.
#[derive(Clone, Debug)]
pub struct NewFollowUp<'a> {
    /// Its id.
    pub id: FollowUpId,
    /// About what.
    pub lead: LeadId,
    /// Who holds the lead.
    pub agency: AgencyId,
    /// Who is told; `None`: the agency itself.
    pub agent: Option<AgentId>,
    /// When.
    pub due_at: DateTime<Utc>,
    /// What about; up to 1,000 characters.
    pub note: Option<&'a str>,
    /// Who wants it.
    pub author: &'a str,
}

/// A reminder as it is stored.
#[derive(Clone, Debug)]
pub struct FollowUp {
    /// Its id.
    pub id: FollowUpId,
    /// About what.
    pub lead: LeadId,
    /// Who held the lead when it was planned.
    pub agency: AgencyId,
    /// Who is told; `None`: the agency itself.
    pub agent: Option<AgentId>,
    /// When.
    pub due_at: DateTime<Utc>,
    /// What about.
    pub note: Option<String>,
    /// Who wanted it.
    pub author: String,
    /// Where it stands.
    pub state: FollowUpState,
    /// Why nobody was told.
    pub reason: Option<String>,
    /// When it was planned.
    pub created_at: DateTime<Utc>,
}

fn follow_up(row: &PgRow) -> sqlx::Result<FollowUp> {
    Ok(FollowUp {
        id: FollowUpId(row.try_get("id")?),
        lead: LeadId(row.try_get("lead_id")?),
        agency: AgencyId(row.try_get("agency_id")?),
        agent: row.try_get::<Option<_>, _>("agent_id")?.map(AgentId),
        due_at: row.try_get("due_at")?,
        note: row.try_get("note")?,
        author: row.try_get("author")?,
        state: word(row, "state")?,
        reason: row.try_get("reason")?,
        created_at: row.try_get("created_at")?,
    })
}

impl FollowUp {
    /// Plans a reminder.
    ///
    /// # Errors
    /// If the database refuses it.
    pub async fn plan(tx: &mut Tx, new: &NewFollowUp<'_>) -> Result<()> {
        sqlx::query(
            "insert into switchyard.lead_follow_ups
               (id, lead_id, agency_id, agent_id, due_at, note, author)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(new.id.0)
        .bind(new.lead.0)
        .bind(new.agency.0)
        .bind(new.agent.map(|a| a.0))
        .bind(new.due_at)
        .bind(new.note)
        .bind(new.author)
        .execute(tx.conn())
        .await?;
        Ok(())
    }

    /// One reminder, locked until the end of the transaction.
    ///
    /// # Errors
    /// [`crate::StoreFault::NotFound`] if there is none, or the scope hides it.
    pub async fn lock(tx: &mut Tx, id: FollowUpId) -> Result<Self> {
        let row = sqlx::query("select * from switchyard.lead_follow_ups where id = $1 for update")
            .bind(id.0)
            .fetch_one(tx.conn())
            .await?;
        Ok(follow_up(&row)?)
    }

    /// The last 200 reminders of a lead, the oldest first.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn of_lead(tx: &mut Tx, lead: LeadId) -> Result<Vec<Self>> {
        let rows = sqlx::query(
            "select * from switchyard.lead_follow_ups where lead_id = $1 order by id desc limit $2",
        )
        .bind(lead.0)
        .bind(MOST)
        .fetch_all(tx.conn())
        .await?;
        Ok(rows.iter().rev().map(follow_up).collect::<sqlx::Result<_>>()?)
    }

    /// Writes the message that a reminder becomes, and ends it.
    ///
    /// # Errors
    /// Constraint `messages_once` if it was told before.
    pub async fn tell(tx: &mut Tx, id: FollowUpId, message: &NewMessage) -> Result<()> {
        sqlx::query(
            "insert into switchyard.messages (id, agency_id, lead_id, agent_id, assignment_id,
               channel, recipient, subject, body_text, body_html, follow_up_id)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(message.id.0)
        .bind(message.agency.0)
        .bind(message.lead.0)
        .bind(message.agent.map(|a| a.0))
        .bind(message.assignment.0)
        .bind(message.channel.as_str())
        .bind(&message.recipient)
        .bind(&message.subject)
        .bind(&message.body_text)
        .bind(&message.body_html)
        .bind(id.0)
        .execute(tx.conn())
        .await?;
        Self::settle(tx, id, FollowUpState::Told, None).await
    }

    /// Ends a reminder.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn settle(
        tx: &mut Tx,
        id: FollowUpId,
        state: FollowUpState,
        reason: Option<&str>,
    ) -> Result<()> {
        sqlx::query(
            "update switchyard.lead_follow_ups set state = $2, reason = $3, settled_at = now()
             where id = $1",
        )
        .bind(id.0)
        .bind(state.as_str())
        .bind(reason)
        .execute(tx.conn())
        .await?;
        Ok(())
    }
}

/// Who is told of a reminder.
#[derive(Clone, Debug)]
pub struct Reminded {
    /// The offer by which the agency holds the lead.
    pub assignment: AssignmentId,
    /// The agency's name.
    pub agency_name: String,
    /// Of the agent who is told; `None`: the agency itself.
    pub agent: Option<AgentId>,
    /// The name that is greeted.
    pub name: String,
    /// The e-mail address.
    pub email: String,
}

/// Finds who is told of a reminder: the agent, if that is active and has an e-mail address, else the
/// agency. `None`: the agency does not hold the lead any more.
///
/// # Errors
/// If the database is not available.
pub async fn remind(tx: &mut Tx, of: &FollowUp) -> Result<Option<Reminded>> {
    let row = sqlx::query(
        "select s.id as assignment, a.name as agency_name, a.email as agency_email,
           g.id as agent, g.name, g.email
         from switchyard.lead_assignments s
         join switchyard.agencies a on a.id = s.agency_id
         left join switchyard.agents g on g.id = $3 and g.agency_id = a.id and g.active
           and g.email is not null
         where s.lead_id = $1 and s.agency_id = $2 and s.state in ('offered', 'accepted')",
    )
    .bind(of.lead.0)
    .bind(of.agency.0)
    .bind(of.agent.map(|a| a.0))
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let agency_name: String = row.try_get("agency_name")?;
    let agent = row.try_get::<Option<_>, _>("agent")?.map(AgentId);
    let (name, email) = match agent {
        Some(_) => (row.try_get("name")?, row.try_get("email")?),
        None => (agency_name.clone(), row.try_get("agency_email")?),
    };
    let assignment = AssignmentId(row.try_get("assignment")?);
    Ok(Some(Reminded { assignment, agency_name, agent, name, email }))
}
