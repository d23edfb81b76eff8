//! Who gets a lead: turns, assignments, answers.

mod turns;

pub use turns::{Candidates, Turns, candidates, take_turns};

use crate::agents::{Agent, agent};
use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// Offers leads to the agencies whose turn it is, in the order of their turns: assignments, leads and
/// turns by one statement; gives whom to tell of each agency. Platform scope, in the transaction that
/// took the turns and locked the leads.
///
/// # Errors
/// Constraint `lead_assignments_one_open` if one of the leads has an open offer already.
pub async fn assign(tx: &mut Tx, new: &[NewAssignment]) -> Result<HashMap<AgencyId, Audience>> {
    let last: BTreeMap<&str, AgencyId> =
        new.iter().map(|a| (a.sequence_key.as_str(), a.agency)).collect();
    let agencies: BTreeSet<AgencyId> = new.iter().map(|a| a.agency).collect();
    let rows = sqlx::query(
        "with given as (
           insert into switchyard.lead_assignments
             (id, lead_id, agency_id, reason, explanation, sequence_key, position, job_id)
           select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[],
             $7::int8[], $8::uuid[])
         ), lead as (
           update switchyard.leads l set state = 'assigned', agency_id = g.agency, updated_at = now()
           from unnest($2::uuid[], $3::uuid[]) g(lead, agency) where l.id = g.lead
         ), turn as (
           update switchyard.lead_distribution_sequence s set last_agency = t.agency
           from unnest($9::text[], $10::uuid[]) t(key, agency) where s.key = t.key
         )
         select a.id as agency, a.name as agency_name, a.email as agency_email,
           a.phone as agency_phone, g.id, g.agency_id, g.name, g.email, g.phone, g.active, g.created_at
         from switchyard.agencies a
         left join switchyard.agents g on g.agency_id = a.id and g.active
         where a.id = any($11) order by a.id, g.id",
    )
    .bind(new.iter().map(|a| a.id.0).collect::<Vec<_>>())
    .bind(new.iter().map(|a| a.lead.0).collect::<Vec<_>>())
    .bind(new.iter().map(|a| a.agency.0).collect::<Vec<_>>())
    .bind(new.iter().map(|a| a.reason.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|a| a.explanation.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|a| a.sequence_key.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|a| a.position).collect::<Vec<_>>())
    .bind(new.iter().map(|a| a.job.0).collect::<Vec<_>>())
    .bind(last.keys().collect::<Vec<_>>())
    .bind(last.values().map(|a| a.0).collect::<Vec<_>>())
    .bind(agencies.iter().map(|a| a.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    let mut told: HashMap<AgencyId, Audience> = HashMap::with_capacity(agencies.len());
    for row in &rows {
        let audience = match told.entry(AgencyId(row.try_get("agency")?)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Audience {
                agency_name: row.try_get("agency_name")?,
                email: row.try_get("agency_email")?,
                phone: row.try_get("agency_phone")?,
                agents: Vec::new(),
            }),
        };
        if row.try_get::<Option<uuid::Uuid>, _>("id")?.is_some() {
            audience.agents.push(agent(row)?);
        }
    }
    Ok(told)
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
