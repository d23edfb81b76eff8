//! A delivery's way through the house: event, lead, assignments, messages, in one statement.

use super::{Cursor, Page};
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::{
    AgencyId, AssignmentId, EventId, FieldFault, LeadId, LeadState, MessageId,
};
use uuid::Uuid;

/// One delivery and what has become of it so far.
#[derive(Clone, Debug, PartialEq)]
pub struct LeadLine {
    /// The delivery.
    pub event: EventId,
    /// When it came in.
    pub received_at: DateTime<Utc>,
    /// `received`, `processed` or `rejected`.
    pub event_state: String,
    /// Why it was rejected.
    pub reasons: Vec<FieldFault>,
    /// The request that brought it; all its jobs carry it.
    pub request_id: Option<String>,
    /// The sender's code.
    pub portal_code: String,
    /// The sender's name.
    pub portal_name: String,
    /// The lead, once there is one.
    pub lead: Option<LeadHead>,
    /// To whom it was given, oldest first.
    pub assignments: Vec<AssignmentLine>,
}

/// The few things by which people know a lead.
#[derive(Clone, Debug, PartialEq)]
pub struct LeadHead {
    /// The lead.
    pub id: LeadId,
    /// Where it stands.
    pub state: LeadState,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Given and family name, else the company; empty if the portal sent neither.
    pub name: String,
    /// E-mail address.
    pub email: Option<String>,
    /// E.164.
    pub phone: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Upper case.
    pub postal_code: Option<String>,
    /// Town.
    pub city: Option<String>,
    /// What the person asks for.
    pub product: Option<String>,
    /// The sender marked it as a test.
    pub is_test: bool,
    /// The delivery that made it; another one repeats it.
    pub origin: EventId,
}

/// One offer of a lead to an agency.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AssignmentLine {
    /// The assignment.
    pub id: AssignmentId,
    /// The agency.
    pub agency_id: AgencyId,
    /// Its name.
    pub agency: String,
    /// `offered`, `accepted` or `rejected`.
    pub state: String,
    /// `round_robin`, `catch_all` or `manual`.
    pub reason: String,
    /// One sentence for people.
    pub explanation: String,
    /// The job that gave it out.
    pub job_id: Option<Uuid>,
    /// When.
    pub assigned_at: DateTime<Utc>,
    /// When the agency answered.
    pub responded_at: Option<DateTime<Utc>>,
    /// Why it was rejected.
    pub note: Option<String>,
    /// Who was told, e-mail first.
    pub messages: Vec<MessageLine>,
}

/// One message about an assignment.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MessageLine {
    /// The message.
    pub id: MessageId,
    /// `email` or `whatsapp`.
    pub channel: String,
    /// Address or number.
    pub recipient: String,
    /// The agent's name, if it went to a person.
    pub agent: Option<String>,
    /// `queued`, `sent`, `failed` or `unknown`.
    pub state: String,
    /// What the provider said last.
    pub error: Option<String>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When the provider took it.
    pub sent_at: Option<DateTime<Utc>>,
}

/// A lead with all it carries.
#[derive(Clone, Debug)]
pub struct LeadDetail {
    /// Its way so far.
    pub line: LeadLine,
    /// Name and value of every other field that is set, in the order of the table.
    pub fields: Vec<(&'static str, String)>,
}

/// Which leads.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeadFilter {
    /// Only those in this state.
    pub state: Option<LeadState>,
    /// Only those after this place.
    pub after: Option<Cursor>,
    /// At most this many.
    pub limit: u32,
}

/// The columns and joins behind every [`LeadLine`]. What is aggregated per assignment is found by
/// the unique indexes on (lead, agency) and (assignment, agent, channel).
macro_rules! line_sql {
    ($from:literal, $rest:literal) => {
        concat!(
            "select e.id as event_id, e.received_at, e.state as event_state, e.reasons,
                    e.request_id, p.code, p.name as portal_name,
                    l.id as lead_id, l.state as lead_state, l.created_at, l.first_name, l.last_name,
                    l.company, l.email, l.phone, l.country, l.postal_code, l.city, l.product,
                    coalesce(l.is_test, false) as is_test, l.event_id as origin, to_jsonb(l) as whole,
                    coalesce(a.list, '[]') as assignments
             from ",
            $from,
            " join switchyard.portals p on p.id = e.portal_id
             left join lateral (
               select jsonb_agg(jsonb_build_object(
                        'id', a.id, 'agency_id', a.agency_id, 'agency', g.name, 'state', a.state,
                        'reason', a.reason, 'explanation', a.explanation, 'job_id', a.job_id,
                        'assigned_at', a.assigned_at, 'responded_at', a.responded_at,
                        'note', a.note, 'messages', coalesce(m.list, '[]'))
                        order by a.assigned_at, a.id) as list
               from switchyard.lead_assignments a
               join switchyard.agencies g on g.id = a.agency_id
               left join lateral (
                 select jsonb_agg(jsonb_build_object(
                          'id', m.id, 'channel', m.channel, 'recipient', m.recipient,
                          'agent', t.name, 'state', m.state, 'error', m.error,
                          'created_at', m.created_at, 'sent_at', m.sent_at)
                          order by m.channel, m.created_at, m.id) as list
                 from switchyard.messages m
                 left join switchyard.agents t on t.id = m.agent_id
                 where m.assignment_id = a.id
               ) m on true
               where a.lead_id = l.id
             ) a on true ",
            $rest
        )
    };
}

/// The latest deliveries, whatever became of them, newest first.
///
/// # Errors
/// If the database is not available.
pub async fn lines(tx: &mut Tx, limit: u32) -> Result<Vec<LeadLine>> {
    const SQL: &str = line_sql!(
        "switchyard.webhook_events e left join switchyard.leads l on l.id = e.lead_id",
        "order by e.received_at desc, e.id desc limit $1"
    );
    let rows = sqlx::query(SQL).bind(i64::from(limit)).fetch_all(tx.conn()).await?;
    rows.iter().map(line).collect()
}

/// Leads, newest first.
///
/// # Errors
/// If the database is not available.
pub async fn leads(tx: &mut Tx, filter: &LeadFilter) -> Result<Page<LeadLine>> {
    const ALL: &str = line_sql!(
        "switchyard.leads l join switchyard.webhook_events e on e.id = l.event_id",
        "where (l.created_at, l.id) < (coalesce($1, 'infinity'), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
         order by l.created_at desc, l.id desc limit $3"
    );
    const IN_STATE: &str = line_sql!(
        "switchyard.leads l join switchyard.webhook_events e on e.id = l.event_id",
        "where (l.created_at, l.id) < (coalesce($1, 'infinity'), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
           and l.state = $4
         order by l.created_at desc, l.id desc limit $3"
    );
    let query = sqlx::query(if filter.state.is_some() { IN_STATE } else { ALL })
        .bind(filter.after.map(|c| c.at))
        .bind(filter.after.map(|c| c.id))
        .bind(i64::from(filter.limit) + 1);
    let query = match filter.state {
        Some(state) => query.bind(state.as_str()),
        None => query,
    };
    let rows = query.fetch_all(tx.conn()).await?;
    let lines = rows.iter().map(line).collect::<Result<Vec<_>>>()?;
    Ok(Page::cut(lines, filter.limit, |l| match &l.lead {
        Some(lead) => Cursor { at: lead.created_at, id: lead.id.0 },
        None => Cursor { at: l.received_at, id: l.event.0 },
    }))
}

/// The ways of these leads, in no order.
///
/// # Errors
/// If the database is not available.
pub async fn lines_of(tx: &mut Tx, ids: &[LeadId]) -> Result<Vec<LeadLine>> {
    const SQL: &str = line_sql!(
        "switchyard.leads l join switchyard.webhook_events e on e.id = l.event_id",
        "where l.id = any($1)"
    );
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(SQL).bind(ids).fetch_all(tx.conn()).await?;
    rows.iter().map(line).collect()
}

/// One lead with everything.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is none.
pub async fn lead(tx: &mut Tx, id: LeadId) -> Result<LeadDetail> {
    const SQL: &str = line_sql!(
        "switchyard.leads l join switchyard.webhook_events e on e.id = l.event_id",
        "where l.id = $1"
    );
    let row = sqlx::query(SQL).bind(id.0).fetch_one(tx.conn()).await?;
    Ok(LeadDetail { line: line(&row)?, fields: fields(&row.try_get("whole")?) })
}

/// What a lead's page lists beside its head.
const FIELDS: [&str; 23] = [
    "external_id",
    "company",
    "email",
    "phone",
    "country",
    "postal_code",
    "city",
    "product",
    "message",
    "budget",
    "currency",
    "source",
    "consent",
    "utm",
    "campaign",
    "custom",
    "line_items",
    "warnings",
    "submitted_at",
    "duplicate_of",
    "merges",
    "fetch_url",
    "fetch_error",
];

fn fields(whole: &Value) -> Vec<(&'static str, String)> {
    let text = |v: &Value| match v {
        Value::Null => None,
        Value::String(s) => Some(s.clone()),
        other => Some(other.to_string()),
    };
    FIELDS.into_iter().filter_map(|f| Some((f, text(whole.get(f)?)?))).collect()
}

fn line(row: &PgRow) -> Result<LeadLine> {
    let reasons: Option<sqlx::types::Json<Vec<FieldFault>>> = row.try_get("reasons")?;
    let assignments: sqlx::types::Json<Vec<AssignmentLine>> = row.try_get("assignments")?;
    Ok(LeadLine {
        event: EventId(row.try_get("event_id")?),
        received_at: row.try_get("received_at")?,
        event_state: row.try_get("event_state")?,
        reasons: reasons.map(|r| r.0).unwrap_or_default(),
        request_id: row.try_get("request_id")?,
        portal_code: row.try_get("code")?,
        portal_name: row.try_get("portal_name")?,
        lead: head(row)?,
        assignments: assignments.0,
    })
}

fn head(row: &PgRow) -> Result<Option<LeadHead>> {
    let Some(id) = row.try_get::<Option<Uuid>, _>("lead_id")? else { return Ok(None) };
    let state: String = row.try_get("lead_state")?;
    let part = |column| -> Result<String> {
        Ok(row.try_get::<Option<String>, _>(column)?.unwrap_or_default())
    };
    let mut name = format!("{} {}", part("first_name")?, part("last_name")?).trim().to_owned();
    if name.is_empty() {
        name = part("company")?;
    }
    Ok(Some(LeadHead {
        id: LeadId(id),
        state: state.parse().map_err(|e: String| sqlx::Error::Decode(e.into()))?,
        created_at: row.try_get("created_at")?,
        name,
        email: row.try_get("email")?,
        phone: row.try_get("phone")?,
        country: row.try_get("country")?,
        postal_code: row.try_get("postal_code")?,
        city: row.try_get("city")?,
        product: row.try_get("product")?,
        is_test: row.try_get("is_test")?,
        origin: EventId(row.try_get("origin")?),
    }))
}
