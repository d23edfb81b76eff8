//! Leads. Under a tenant's scope only those that the agency holds can be seen.

mod figures;
mod follow_ups;
mod many;
mod notes;
mod sales;
mod write;

pub use figures::{Figures, Group, Range, Sold, figures};
pub use follow_ups::{FollowUp, FollowUpState, NewFollowUp, Reminded, remind};
pub use many::{NewLead, store_all};
pub use notes::{NewNote, Note};
pub use sales::{NewSale, Sale};
pub use write::{
    StoreAs, Stored, by_external_id, fetch_failed, fetched, lock_all, lock_many, merged_fields,
    note_merge, of_event, set_agent, standing, store, store_as, update_fields,
};

use crate::words::word;
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use std::time::Duration;
use switchyard_domain::{AgencyId, AgentId, EventId, LeadId, LeadState, PortalId, StandardLead};

/// A lead as it is stored.
#[derive(Clone, Debug)]
pub struct Lead {
    /// Its id.
    pub id: LeadId,
    /// Whose it was.
    pub portal: PortalId,
    /// The event that brought it first.
    pub event: EventId,
    /// Who holds it now.
    pub agency: Option<AgencyId>,
    /// Who of the agency works on it.
    pub agent: Option<AgentId>,
    /// Where it stands.
    pub state: LeadState,
    /// What the person sent.
    pub data: StandardLead,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// Its place among the leads of its event, from 0.
    pub ordinal: i32,
    /// The first lead of the same person, where the portal looks for that.
    pub duplicate_of: Option<LeadId>,
    /// What later events of the same person added: `[{"event", "at", "fields"}]`.
    pub merges: Option<Value>,
    /// Where the rest of it is fetched, without the token.
    pub fetch_url: Option<String>,
    /// Why it could not be fetched.
    pub fetch_error: Option<String>,
    /// What the provider answered.
    pub fetched: Option<Value>,
}

macro_rules! columns {
    () => {
        "l.id, l.portal_id, l.event_id, l.agency_id, l.agent_id, l.state, l.external_id, l.first_name, \
         l.last_name, l.company, l.email, l.phone, l.country, l.postal_code, l.city, l.product, \
         l.message, l.budget::text as budget, l.currency, l.source, l.consent, l.consent_proof, l.utm, \
         l.campaign, \
         l.custom, l.line_items, l.warnings, l.is_test, l.submitted_at, l.created_at, l.updated_at, l.ordinal, \
         l.duplicate_of, l.merges, l.fetch_url, l.fetch_error, l.fetched"
    };
}
use columns;

fn lead(row: &PgRow) -> sqlx::Result<Lead> {
    Ok(Lead {
        id: LeadId(row.try_get("id")?),
        portal: PortalId(row.try_get("portal_id")?),
        event: EventId(row.try_get("event_id")?),
        agency: row.try_get::<Option<_>, _>("agency_id")?.map(AgencyId),
        agent: row.try_get::<Option<_>, _>("agent_id")?.map(AgentId),
        state: word(row, "state")?,
        data: data(row)?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        ordinal: row.try_get("ordinal")?,
        duplicate_of: row.try_get::<Option<_>, _>("duplicate_of")?.map(LeadId),
        merges: row.try_get("merges")?,
        fetch_url: row.try_get("fetch_url")?,
        fetch_error: row.try_get("fetch_error")?,
        fetched: row.try_get("fetched")?,
    })
}

fn data(row: &PgRow) -> sqlx::Result<StandardLead> {
    let budget: Option<&str> = row.try_get("budget")?;
    let decode = |e| sqlx::Error::ColumnDecode { index: "budget".into(), source: Box::new(e) };
    Ok(StandardLead {
        external_id: row.try_get("external_id")?,
        first_name: row.try_get("first_name")?,
        last_name: row.try_get("last_name")?,
        company: row.try_get("company")?,
        email: row.try_get("email")?,
        phone: row.try_get("phone")?,
        country: row.try_get("country")?,
        postal_code: row.try_get("postal_code")?,
        city: row.try_get("city")?,
        interest: row.try_get("product")?,
        message: row.try_get("message")?,
        budget: budget.map(|b| b.parse().map_err(decode)).transpose()?,
        currency: row.try_get("currency")?,
        source: row.try_get("source")?,
        consent: row.try_get::<Option<Json<_>>, _>("consent")?.map(|j| j.0),
        consent_proof: row.try_get::<Option<Json<_>>, _>("consent_proof")?.map(|j| j.0),
        utm: row.try_get::<Option<Json<_>>, _>("utm")?.map(|j| j.0),
        campaign: row.try_get::<Option<Json<_>>, _>("campaign")?.map(|j| j.0),
        submitted_at: row.try_get("submitted_at")?,
        is_test: row.try_get("is_test")?,
        custom: row.try_get::<Option<Json<_>>, _>("custom")?.map(|j| j.0),
        line_items: row.try_get::<Option<Json<_>>, _>("line_items")?.map(|j| j.0),
        warnings: row.try_get::<Option<Json<_>>, _>("warnings")?.map_or_else(Vec::new, |j| j.0),
    })
}

/// One lead.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn get(tx: &mut Tx, id: LeadId) -> Result<Lead> {
    let row =
        sqlx::query(concat!("select ", columns!(), " from switchyard.leads l where l.id = $1"))
            .bind(id.0)
            .fetch_one(tx.conn())
            .await?;
    Ok(lead(&row)?)
}

/// One lead, locked until the end of the transaction.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn lock(tx: &mut Tx, id: LeadId) -> Result<Lead> {
    let row = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.leads l where l.id = $1 for no key update"
    ))
    .bind(id.0)
    .fetch_one(tx.conn())
    .await?;
    Ok(lead(&row)?)
}

/// Which leads to list.
#[derive(Clone, Debug, Default)]
pub struct LeadFilter {
    /// In this state.
    pub state: Option<LeadState>,
    /// Of this portal.
    pub portal: Option<PortalId>,
    /// Held by this agency.
    pub agency: Option<AgencyId>,
    /// Made by this event.
    pub event: Option<EventId>,
    /// Older than this one (for the next page).
    pub before: Option<LeadId>,
    /// At most so many.
    pub limit: i64,
}

/// Leads, the newest first.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, filter: &LeadFilter) -> Result<Vec<Lead>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.leads l
          where ($1::text is null or l.state = $1) and ($2::uuid is null or l.portal_id = $2)
            and ($3::uuid is null or l.agency_id = $3) and ($4::uuid is null or l.id < $4)
            and ($6::uuid is null or l.event_id = $6)
          order by l.id desc limit $5"
    ))
    .bind(filter.state.map(LeadState::as_str))
    .bind(filter.portal.map(|p| p.0))
    .bind(filter.agency.map(|a| a.0))
    .bind(filter.before.map(|l| l.0))
    .bind(filter.limit)
    .bind(filter.event.map(|e| e.0))
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(lead).collect::<sqlx::Result<_>>()?)
}

/// What an agency may see: leads offered to it or taken by it, the newest first. One that it
/// rejected is gone at once, though the next agency may not hold it yet. Tenant scope.
///
/// # Errors
/// If the database is not available.
pub async fn list_for_agency(
    tx: &mut Tx,
    state: Option<LeadState>,
    before: Option<LeadId>,
    limit: i64,
) -> Result<Vec<Lead>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.leads l
          where l.agency_id = switchyard.tenant() and l.state in ('assigned', 'accepted')
            and ($1::text is null or l.state = $1) and ($2::uuid is null or l.id < $2)
          order by l.id desc limit $3"
    ))
    .bind(state.map(LeadState::as_str))
    .bind(before.map(|l| l.0))
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(lead).collect::<sqlx::Result<_>>()?)
}

/// One lead as the agency may see it. Tenant scope.
///
/// # Errors
/// [`StoreFault::NotFound`] if it is not offered to the agency, nor taken by it.
pub async fn get_for_agency(tx: &mut Tx, id: LeadId) -> Result<Lead> {
    let lead = get(tx, id).await?;
    match lead.state {
        LeadState::Assigned | LeadState::Accepted => Ok(lead),
        LeadState::New | LeadState::Unassigned | LeadState::Pending | LeadState::Duplicate => {
            Err(StoreFault::NotFound)
        }
    }
}

/// A place on the map of territories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// As stored: upper case, no blanks at the ends.
    pub postal_code: String,
}

/// One stretch of a search through the leads that nobody holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Leads that somebody could get now.
    pub found: Vec<LeadId>,
    /// Where the search goes on; `None`: it is at its end.
    pub last: Option<LeadId>,
}

/// Leads that nobody holds though somebody could: unassigned ones that have a candidate now, and
/// ones that stayed `new` for longer than `stale`. Looks at `limit` leads after `after`, oldest
/// first; at one place only if it is given, and then at unassigned ones only. Platform scope.
///
/// # Errors
/// If the database is not available.
pub async fn waiting(
    tx: &mut Tx,
    place: Option<&Place>,
    stale: Duration,
    after: Option<LeadId>,
    limit: u32,
) -> Result<Stretch> {
    // The stretch comes first and is judged then: a filter below the limit would judge every lead
    // that waits, again for each stretch.
    let rows = sqlx::query(
        "with stretch as materialized (
           select l.id, l.state, l.country, l.postal_code, l.updated_at from switchyard.leads l
           where l.state in ('new', 'unassigned') and l.id > $1
             and ($2::text is null or l.postal_code = $2)
           order by l.id limit $5
         )
         select s.id, case s.state
             when 'new' then $2::text is null and s.updated_at < now() - make_interval(secs => $4)
             else ($3::text is null or coalesce(s.country, $3) = $3)
               and exists (select from switchyard.candidates(s.id, s.country, s.postal_code))
           end as found
         from stretch s order by s.id",
    )
    .bind(after.map_or(uuid::Uuid::nil(), |l| l.0))
    .bind(place.map(|p| p.postal_code.as_str()))
    .bind(place.map(|p| p.country.as_str()))
    .bind(stale.as_secs_f64())
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    let mut stretch = Stretch::default();
    for row in &rows {
        let id = LeadId(row.try_get("id")?);
        if row.try_get("found")? {
            stretch.found.push(id);
        }
        stretch.last = Some(id).filter(|_| rows.len() == limit as usize);
    }
    Ok(stretch)
}
