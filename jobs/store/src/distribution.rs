//! Who gets a lead: turns, assignments, answers.

use crate::agents::{Agent, agent};
use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::{AgencyId, AssignmentId, LeadId, LeadState};
use switchyard_queue::{JobId, NewJob};

stored_words! {
    /// Where an assignment stands.
    AssignmentState {
        /// The agency has not answered yet.
        Offered = "offered",
        /// The agency took the lead.
        Accepted = "accepted",
        /// The agency does not want it and never gets it again.
        Rejected = "rejected",
    }
}

stored_words! {
    /// By what rule an agency was chosen.
    AssignmentReason {
        /// It covers the place and it was its turn.
        RoundRobin = "round_robin",
        /// Nobody covers the place; among those who take everything it was its turn.
        CatchAll = "catch_all",
        /// An operator chose it, or it entered the lead itself.
        Manual = "manual",
    }
}

/// The state of the turns for one lead, locked until the end of the transaction: nobody else can
/// give out a lead under the same key before this one is assigned.
#[derive(Clone, Debug)]
pub struct Turn {
    /// `PL:00-950`, or `*` for the catch-all.
    pub key: String,
    /// The number of this assignment under the key, from 1.
    pub position: i64,
    /// Who had the turn before.
    pub last: Option<AgencyId>,
    /// Who may get the lead, in the order of their ids; not empty.
    pub eligible: Vec<AgencyId>,
    /// The rule that found them.
    pub reason: AssignmentReason,
}

/// Finds who may get the lead and takes the next number under their key. `None`: nobody may.
///
/// The rule is the database function `switchyard.candidates`. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn take_turn(
    tx: &mut Tx,
    lead: LeadId,
    country: Option<&str>,
    postal_code: Option<&str>,
) -> Result<Option<Turn>> {
    // The insert waits for the lock on the key's row and then reads its newest version, so `last`
    // is never stale. All candidates share one key.
    let row = sqlx::query(
        "with c as materialized (
           select agency, key, reason from switchyard.candidates($1, $2, $3)
         ), seq as (
           insert into switchyard.lead_distribution_sequence as s (key, position)
           select c.key, 1 from c limit 1
           on conflict (key) do update set position = s.position + 1
           returning s.key, s.position, s.last_agency
         )
         select seq.key, seq.position, seq.last_agency, (select min(c.reason) from c) as reason,
           array(select c.agency from c order by c.agency) as eligible
         from seq",
    )
    .bind(lead.0)
    .bind(country)
    .bind(postal_code)
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let eligible: Vec<uuid::Uuid> = row.try_get("eligible")?;
    Ok(Some(Turn {
        key: row.try_get("key")?,
        position: row.try_get("position")?,
        last: row.try_get::<Option<_>, _>("last_agency")?.map(AgencyId),
        eligible: eligible.into_iter().map(AgencyId).collect(),
        reason: word(&row, "reason")?,
    }))
}

/// An assignment to be written.
#[derive(Clone, Debug)]
pub struct NewAssignment {
    /// Its id.
    pub id: AssignmentId,
    /// What is given.
    pub lead: LeadId,
    /// To whom.
    pub agency: AgencyId,
    /// By what rule.
    pub reason: AssignmentReason,
    /// One sentence for people.
    pub explanation: String,
    /// Under which key of turns.
    pub sequence_key: String,
    /// With which number.
    pub position: i64,
    /// By which job.
    pub job: JobId,
}

/// Who is to be told about an assignment.
#[derive(Clone, Debug)]
pub struct Audience {
    /// The agency's name.
    pub agency_name: String,
    /// The agency's own address.
    pub email: String,
    /// The agency's own phone, E.164.
    pub phone: Option<String>,
    /// Its active agents, by id.
    pub agents: Vec<Agent>,
}

/// Offers the lead to the agency whose turn it is: assignment, lead and turn by one statement.
/// Platform scope, in the transaction that took the turn and locked the lead.
///
/// # Errors
/// Constraint `lead_assignments_one_open` if the lead has an open offer already.
pub async fn assign(tx: &mut Tx, new: &NewAssignment) -> Result<Audience> {
    let rows = sqlx::query(
        "with given as (
           insert into switchyard.lead_assignments
             (id, lead_id, agency_id, reason, explanation, sequence_key, position, job_id)
           values ($1, $2, $3, $4, $5, $6, $7, $8)
         ), lead as (
           update switchyard.leads set state = 'assigned', agency_id = $3, updated_at = now()
           where id = $2
         ), turn as (
           update switchyard.lead_distribution_sequence set last_agency = $3 where key = $6
         )
         select a.name as agency_name, a.email as agency_email, a.phone as agency_phone,
           g.id, g.agency_id, g.name, g.email, g.phone, g.active, g.created_at
         from switchyard.agencies a
         left join switchyard.agents g on g.agency_id = a.id and g.active
         where a.id = $3 order by g.id",
    )
    .bind(new.id.0)
    .bind(new.lead.0)
    .bind(new.agency.0)
    .bind(new.reason.as_str())
    .bind(&new.explanation)
    .bind(&new.sequence_key)
    .bind(new.position)
    .bind(new.job.0)
    .fetch_all(tx.conn())
    .await?;
    let first = rows.first().ok_or(StoreFault::NotFound)?;
    let present = |row: &&PgRow| matches!(row.try_get::<Option<uuid::Uuid>, _>("id"), Ok(Some(_)));
    Ok(Audience {
        agency_name: first.try_get("agency_name")?,
        email: first.try_get("agency_email")?,
        phone: first.try_get("agency_phone")?,
        agents: rows.iter().filter(present).map(agent).collect::<sqlx::Result<_>>()?,
    })
}

/// Gives a new lead to an agency that need not be asked, and leaves everybody's turns as they are; gives
/// the assignment. Platform scope, with the lead locked.
///
/// # Errors
/// Constraint `lead_assignments_one_open` if an agency has the lead already.
pub async fn keep(
    tx: &mut Tx,
    lead: LeadId,
    agency: AgencyId,
    explanation: &str,
) -> Result<AssignmentId> {
    let id = AssignmentId::new();
    sqlx::query(
        "with given as (
           insert into switchyard.lead_assignments
             (id, lead_id, agency_id, state, reason, explanation, responded_at)
           values ($1, $2, $3, 'accepted', 'manual', $4, now())
         )
         update switchyard.leads set state = 'accepted', agency_id = $3, updated_at = now()
         where id = $2",
    )
    .bind(id.0)
    .bind(lead.0)
    .bind(agency.0)
    .bind(explanation)
    .execute(tx.conn())
    .await?;
    Ok(id)
}

/// Writes down that nobody may get the lead; gives whether that is new. Platform scope, with the lead
/// locked.
///
/// # Errors
/// If the database is not available.
pub async fn leave_unassigned(tx: &mut Tx, lead: LeadId) -> Result<bool> {
    let left = sqlx::query(
        "update switchyard.leads set state = 'unassigned', agency_id = null, updated_at = now()
         where id = $1 and state <> 'unassigned'",
    )
    .bind(lead.0)
    .execute(tx.conn())
    .await?;
    Ok(left.rows_affected() > 0)
}

/// What an agency says to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It takes the lead.
    Accept,
    /// It does not; the next agency gets it.
    Reject {
        /// Why, in the agency's words.
        note: Option<String>,
    },
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RespondFault {
    /// The agency gave the opposite answer before.
    #[error("the lead was already {0} by this agency")]
    Conflict(AssignmentState),
    /// The database's answer; `NotFound` if the lead was never offered to this agency.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// An answer that was not given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responded {
    /// The offer.
    pub assignment: AssignmentId,
    /// Whose answer it is.
    pub agency: AgencyId,
}

/// Takes the answer of the agency in whose (tenant) scope the transaction is. The same answer
/// twice is fine, and `None`. A rejection enqueues `next`, which gives the lead to another agency.
///
/// Until then the lead is `new` and keeps the agency's id, because a tenant cannot write a row
/// that it could not see; the agency's own list leaves such leads out.
///
/// # Errors
/// [`RespondFault`].
pub async fn respond(
    tx: &mut Tx,
    lead: LeadId,
    answer: &Answer,
    next: NewJob,
) -> Result<Option<Responded>, RespondFault> {
    let row = sqlx::query(
        "select id, agency_id, state from switchyard.lead_assignments
         where lead_id = $1 and agency_id = switchyard.tenant() for no key update",
    )
    .bind(lead.0)
    .fetch_one(tx.conn())
    .await
    .map_err(StoreFault::from)?;
    let stands: AssignmentState = word(&row, "state").map_err(StoreFault::from)?;
    let (wanted, lead_state, note) = match answer {
        Answer::Accept => (AssignmentState::Accepted, LeadState::Accepted, None),
        Answer::Reject { note } => (AssignmentState::Rejected, LeadState::New, note.as_deref()),
    };
    if stands == wanted {
        return Ok(None);
    }
    if stands != AssignmentState::Offered {
        return Err(RespondFault::Conflict(stands));
    }
    let assignment: uuid::Uuid = row.try_get("id").map_err(StoreFault::from)?;
    write_answer(tx, lead, assignment, wanted, lead_state, note).await?;
    if wanted == AssignmentState::Rejected {
        // After the lead's update: its lock keeps a running `lead.distribute` from ending unseen.
        tx.enqueue(next).await?;
    }
    let agency = AgencyId(row.try_get("agency_id").map_err(StoreFault::from)?);
    Ok(Some(Responded { assignment: AssignmentId(assignment), agency }))
}

async fn write_answer(
    tx: &mut Tx,
    lead: LeadId,
    assignment: uuid::Uuid,
    state: AssignmentState,
    lead_state: LeadState,
    note: Option<&str>,
) -> Result<()> {
    sqlx::query(
        "with answered as (
           update switchyard.lead_assignments
           set state = $2, note = $3, responded_at = now() where id = $1
         )
         update switchyard.leads set state = $4, updated_at = now() where id = $5",
    )
    .bind(assignment)
    .bind(state.as_str())
    .bind(note)
    .bind(lead_state.as_str())
    .bind(lead.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// An assignment for people.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Its id.
    pub id: AssignmentId,
    /// What was given.
    pub lead: LeadId,
    /// To whom.
    pub agency: AgencyId,
    /// The agency's name.
    pub agency_name: String,
    /// Where it stands.
    pub state: AssignmentState,
    /// By what rule.
    pub reason: AssignmentReason,
    /// One sentence for people.
    pub explanation: String,
    /// Under which key of turns.
    pub sequence_key: Option<String>,
    /// With which number.
    pub position: Option<i64>,
    /// By which job.
    pub job: Option<JobId>,
    /// When.
    pub assigned_at: DateTime<Utc>,
    /// When the agency answered.
    pub responded_at: Option<DateTime<Utc>>,
    /// Why it was rejected.
    pub note: Option<String>,
}

/// The assignments of a lead, in their order. Under a tenant's scope only its own.
///
/// # Errors
/// If the database is not available.
pub async fn assignments(tx: &mut Tx, lead: LeadId) -> Result<Vec<Assignment>> {
    let rows = sqlx::query(
        "select s.*, a.name as agency_name from switchyard.lead_assignments s
         join switchyard.agencies a on a.id = s.agency_id
         where s.lead_id = $1 order by s.assigned_at, s.id",
    )
    .bind(lead.0)
    .fetch_all(tx.conn())
    .await?;
    let assignment = |row: &PgRow| {
        Ok(Assignment {
            id: AssignmentId(row.try_get("id")?),
            lead,
            agency: AgencyId(row.try_get("agency_id")?),
            agency_name: row.try_get("agency_name")?,
            state: word(row, "state")?,
            reason: word(row, "reason")?,
            explanation: row.try_get("explanation")?,
            sequence_key: row.try_get("sequence_key")?,
            position: row.try_get("position")?,
            job: row.try_get::<Option<_>, _>("job_id")?.map(JobId),
            assigned_at: row.try_get("assigned_at")?,
            responded_at: row.try_get("responded_at")?,
            note: row.try_get("note")?,
        })
    };
    Ok(rows.iter().map(assignment).collect::<sqlx::Result<_>>()?)
}
