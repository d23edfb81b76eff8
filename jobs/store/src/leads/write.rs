//! Storing leads and changing what they say. Platform scope.

use super::{Lead, columns, lead};
use crate::events::EventToProcess;
use crate::{Result, StoreFault, Tx};
use serde_json::Value;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::types::Json;
use switchyard_domain::{AgentId, EventId, LeadId, LeadState, PortalId, StandardLead};

/// What became of an event that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The lead.
    pub lead: LeadId,
    /// `false`: the event repeats a lead that stands (the same event, or the sender's same id).
    pub new: bool,
}

/// How a lead is stored.
#[derive(Clone, Debug)]
pub struct StoreAs<'a> {
    /// Made by the caller, because keys may name it before it is there.
    pub id: LeadId,
    /// The first lead of the same person.
    pub duplicate_of: Option<LeadId>,
    /// Where the rest is fetched: the lead is `pending` until then.
    pub fetch_url: Option<&'a str>,
}

impl Default for StoreAs<'_> {
    fn default() -> Self {
        Self { id: LeadId::new(), duplicate_of: None, fetch_url: None }
    }
}

/// Stores the lead of an event and marks the event as processed, by one statement. The same lead
/// under another event makes no second one; that event is processed too and names the first.
///
/// # Errors
/// If the database refuses it.
pub async fn store(
    tx: &mut Tx,
    of: &EventToProcess,
    ordinal: i32,
    data: &StandardLead,
) -> Result<Stored> {
    store_as(tx, of, ordinal, data, &StoreAs::default()).await
}

/// The same, with what else is known of the lead.
///
/// # Errors
/// If the database refuses it.
pub async fn store_as(
    tx: &mut Tx,
    of: &EventToProcess,
    ordinal: i32,
    data: &StandardLead,
    how: &StoreAs<'_>,
) -> Result<Stored> {
    // Of several leads the event names the first.
    let query = sqlx::query(
        "with made as (
           insert into switchyard.leads (external_id, first_name, last_name,
             company, email, phone, country, postal_code, city, product, message, budget, currency,
             source, consent, utm, campaign, custom, warnings, is_test, submitted_at, line_items,
             consent_proof, id, portal_id, event_id, ordinal, duplicate_of, fetch_url, state)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text::numeric, $13, $14, $15,
             $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)
           on conflict do nothing returning id
         )
         update switchyard.webhook_events e set state = 'processed', reasons = null,
           portal_version = $31, lead_id = coalesce(e.lead_id, made.id), processed_at = now()
         from made where e.id = $26",
    );
    let state = if how.fetch_url.is_some() { LeadState::Pending } else { LeadState::New };
    let done = with_fields(query, data)
        .bind(how.id.0)
        .bind(of.portal.0)
        .bind(of.id.0)
        .bind(ordinal)
        .bind(how.duplicate_of.map(|l| l.0))
        .bind(how.fetch_url)
        .bind(state.as_str())
        .bind(of.portal_version)
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 1 {
        return Ok(Stored { lead: how.id, new: true });
    }
    let standing = standing(tx, of, ordinal, data.external_id.as_deref()).await?;
    let lead = standing.ok_or(StoreFault::NotFound)?;
    crate::events::mark_processed(tx, of.id, of.portal_version, lead).await?;
    Ok(Stored { lead, new: false })
}

/// Parameters 1 to 23: what a lead says.
fn with_fields<'q>(
    query: Query<'q, Postgres, PgArguments>,
    data: &'q StandardLead,
) -> Query<'q, Postgres, PgArguments> {
    query
        .bind(&data.external_id)
        .bind(&data.first_name)
        .bind(&data.last_name)
        .bind(&data.company)
        .bind(&data.email)
        .bind(&data.phone)
        .bind(&data.country)
        .bind(&data.postal_code)
        .bind(&data.city)
        .bind(&data.interest)
        .bind(&data.message)
        .bind(data.budget.map(|b| b.to_string()))
        .bind(&data.currency)
        .bind(&data.source)
        .bind(data.consent.as_ref().map(Json))
        .bind(data.utm.as_ref().map(Json))
        .bind(data.campaign.as_ref().map(Json))
        .bind(data.custom.as_ref().map(Json))
        .bind((!data.warnings.is_empty()).then_some(Json(&data.warnings)))
        .bind(data.is_test)
        .bind(data.submitted_at)
        .bind(data.line_items.as_ref().map(Json))
        .bind(data.consent_proof.as_ref().map(Json))
}

/// The lead that stands for this place of an event, or under the sender's same id: a statement of its
/// own, because the one that made it may have been committed while ours waited for it.
///
/// # Errors
/// If the database is not available.
pub async fn standing(
    tx: &mut Tx,
    of: &EventToProcess,
    ordinal: i32,
    external_id: Option<&str>,
) -> Result<Option<LeadId>> {
    let found: Option<uuid::Uuid> = sqlx::query_scalar(
        "select id from switchyard.leads
         where (event_id = $1 and ordinal = $4) or (portal_id = $2 and external_id = $3)
         order by event_id = $1 desc limit 1",
    )
    .bind(of.id.0)
    .bind(of.portal.0)
    .bind(external_id)
    .bind(ordinal)
    .fetch_optional(tx.conn())
    .await?;
    Ok(found.map(LeadId))
}

/// The lead of this portal with the sender's id.
///
/// # Errors
/// If the database is not available.
pub async fn by_external_id(
    tx: &mut Tx,
    portal: PortalId,
    external_id: &str,
) -> Result<Option<LeadId>> {
    let found: Option<uuid::Uuid> = sqlx::query_scalar(
        "select id from switchyard.leads where portal_id = $1 and external_id = $2",
    )
    .bind(portal.0)
    .bind(external_id)
    .fetch_optional(tx.conn())
    .await?;
    Ok(found.map(LeadId))
}

/// Every lead that an event made, in the order in which they stand in it.
///
/// # Errors
/// If the database is not available.
pub async fn of_event(tx: &mut Tx, event: EventId) -> Result<Vec<Lead>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.leads l where l.event_id = $1 order by l.ordinal"
    ))
    .bind(event.0)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(lead).collect::<sqlx::Result<_>>()?)
}

/// Locks every lead that these events made, and these leads, until the end of the transaction, in the
/// order of their ids: whoever locks several locks them here.
///
/// # Errors
/// If the database is not available.
pub async fn lock_all(tx: &mut Tx, of: &[EventId], and: &[LeadId]) -> Result<()> {
    sqlx::query(
        "select from switchyard.leads where id in (
           select id from switchyard.leads where event_id = any($1) union all select unnest($2::uuid[]))
         order by id for no key update",
    )
    .bind(of.iter().map(|e| e.0).collect::<Vec<_>>())
    .bind(and.iter().map(|l| l.0).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Locks these leads until the end of the transaction, in the order of their ids, and gives those that
/// there are.
///
/// # Errors
/// If the database is not available.
pub async fn lock_many(tx: &mut Tx, ids: &[LeadId]) -> Result<Vec<Lead>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.leads l where l.id = any($1) order by l.id for no key update"
    ))
    .bind(ids.iter().map(|l| l.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(lead).collect::<sqlx::Result<_>>()?)
}

/// Writes what a lead says anew. Who holds it and where it stands are left as they are.
///
/// # Errors
/// Constraint `leads_external` if another lead of the portal has the sender's id.
pub async fn update_fields(tx: &mut Tx, id: LeadId, data: &StandardLead) -> Result<()> {
    let query = sqlx::query(
        "update switchyard.leads set external_id = $1, first_name = $2, last_name = $3,
           company = $4, email = $5, phone = $6, country = $7, postal_code = $8, city = $9,
           product = $10, message = $11, budget = $12::text::numeric, currency = $13, source = $14,
           consent = $15, utm = $16, campaign = $17, custom = $18, warnings = $19, is_test = $20,
           submitted_at = $21, line_items = $22, consent_proof = $23, updated_at = now()
         where id = $24",
    );
    with_fields(query, data).bind(id.0).execute(tx.conn()).await?;
    Ok(())
}

/// Notes what an event of the same person added to a lead.
///
/// # Errors
/// If the database is not available.
pub async fn note_merge(tx: &mut Tx, id: LeadId, event: EventId, fields: &[String]) -> Result<()> {
    sqlx::query(
        "update switchyard.leads set merges = coalesce(merges, '[]') ||
           jsonb_build_array(jsonb_build_object('event', $2::uuid, 'at', now(), 'fields', $3::jsonb))
         where id = $1",
    )
    .bind(id.0)
    .bind(event.0)
    .bind(Json(fields))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Ends the waiting of a pending lead: what it says now, what the provider answered, whose duplicate it
/// is, and where it stands: `new`, to be given out, or `duplicate`.
///
/// # Errors
/// Constraint `leads_external` if another lead of the portal has the sender's id.
pub async fn fetched(
    tx: &mut Tx,
    id: LeadId,
    data: &StandardLead,
    answer: &Value,
    (state, duplicate_of): (LeadState, Option<LeadId>),
) -> Result<()> {
    update_fields(tx, id, data).await?;
    sqlx::query(
        "update switchyard.leads set state = $4, fetched = $2, fetch_error = null,
           duplicate_of = $3 where id = $1 and state = 'pending'",
    )
    .bind(id.0)
    .bind(answer)
    .bind(duplicate_of.map(|l| l.0))
    .bind(state.as_str())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Notes why the rest of a lead is not there yet. It stays pending.
///
/// # Errors
/// If the database is not available.
pub async fn fetch_failed(tx: &mut Tx, id: LeadId, why: &str) -> Result<()> {
    sqlx::query(
        "update switchyard.leads set fetch_error = $2, updated_at = now()
         where id = $1 and state = 'pending'",
    )
    .bind(id.0)
    .bind(why)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What later events of the same person added to a lead, as it is shown.
#[must_use]
pub fn merged_fields(merges: Option<&Value>) -> Vec<String> {
    let notes = merges.and_then(Value::as_array).into_iter().flatten();
    let fields = notes.filter_map(|n| n.get("fields")?.as_array()).flatten();
    fields.filter_map(|f| f.as_str().map(str::to_owned)).collect()
}

/// Says who of the agency works on a lead; `None`: nobody in particular.
///
/// # Errors
/// [`StoreFault::NotFound`] unless the lead's agency has this active agent.
pub async fn set_agent(tx: &mut Tx, id: LeadId, agent: Option<AgentId>) -> Result<()> {
    let done = sqlx::query(
        "update switchyard.leads l set agent_id = $2, updated_at = now()
         where l.id = $1 and ($2::uuid is null or exists (select from switchyard.agents g
           where g.id = $2 and g.agency_id = l.agency_id and g.active))",
    )
    .bind(id.0)
    .bind(agent.map(|a| a.0))
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreFault::NotFound) }
}
