//! Leads that people type in: judged like a portal's, by the settings of a portal of their own.

use super::{Actor, WorkFault, give_out, locked};
use crate::judging::{judge, verdict};
use crate::keeping::{Keeper, Kept};
use crate::line::Cause;
use crate::outbound;
use serde_json::{Map, Value, json};
use switchyard_domain::mapping::Judgement;
use switchyard_domain::outbound::{AssignmentFacts, Event};
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{AgencyId, EventId, FieldFault, Headers, LeadId, LeadState, StandardLead};
use switchyard_store::leads::{self, Lead};
use switchyard_store::{StoreFault, Tx, distribution, events, portals};

/// The portal that leads entered by hand belong to. It is made with the first of them; its settings
/// (defaults, duplicates, mapping) are the operators' from then on.
pub const PORTAL: &str = portals::BY_HAND;

/// Why an agency has a lead that it entered.
const ITS_OWN: &str = "The agency entered the lead itself, so it is the agency's.";

/// What became of a lead that was entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is a new lead: the agency's that entered it, or on its way to one.
    New(LeadId),
    /// The portal's settings say that its person's first lead stands for it.
    Known(LeadId),
}

/// The portal's settings until an operator changes them: what is typed in is the standard lead, and who
/// types hears of every field that cannot be read.
fn usual_settings() -> Value {
    const PLAIN: [&str; 14] = [
        "first_name",
        "last_name",
        "company",
        "email",
        "phone",
        "country",
        "postal_code",
        "city",
        "interest",
        "message",
        "budget",
        "currency",
        "source",
        "is_test",
    ];
    let rule = |from: &str| json!({ "from": from, "on_error": "reject" });
    let mut fields: Map<String, Value> =
        PLAIN.iter().map(|name| ((*name).to_owned(), rule(name))).collect();
    fields.insert("consent.privacy".to_owned(), rule("privacy_consent"));
    fields.insert("consent.marketing".to_owned(), rule("marketing_consent"));
    json!({
        "format": 1,
        "api_key": { "in": "header", "name": "X-API-Key" },
        "mapping": { "fields": fields },
    })
}

fn headers() -> Headers {
    Headers::from_iter([("content-type", "application/json")])
}

/// Takes a lead in: the event, the lead and the job that gives it out are the caller's transaction. An
/// agency keeps what it enters; what an operator enters is offered to the agency whose turn it is.
/// Platform scope.
///
/// # Errors
/// [`WorkFault::Fields`] says everything that is wrong with it; nothing of it may be committed then.
pub async fn enter(
    tx: &mut Tx,
    fields: &Value,
    by: &Actor,
    cause: &Cause,
) -> Result<Entered, WorkFault> {
    let portal = portals::by_hand(tx, "Entered by hand", &usual_settings()).await?;
    let mut body = fields.clone();
    if let Value::Object(members) = &mut body {
        members.insert("entered_by".to_owned(), json!(by.name));
    }
    let id = EventId::new();
    let (headers, request) = (serde_json::to_value(headers())?, cause.request_id.as_deref());
    events::enter(tx, id, portal.id, &body, &headers, request).await?;
    let event = events::load(tx, id).await?;
    let verdict = verdict(&event);
    let judged = match verdict.judgement {
        Ok(Judgement::Leads(judged)) => judged,
        Ok(Judgement::Ignored { code, message }) => {
            return Err(WorkFault::Fields(vec![FieldFault::new("lead", code, message)]));
        }
        Err(faults) => return Err(WorkFault::Fields(faults)),
    };
    let [judged] = <[_; 1]>::try_from(judged).map_err(|_| many())?;
    let rule = verdict.settings.as_ref().and_then(|s| s.duplicates.as_ref());
    let mut keeper = Keeper::new(&event, rule);
    let entered = match keeper.keep(tx, 0, judged).await? {
        Kept::New(lead) | Kept::Linked(lead) => Entered::New(lead),
        Kept::Repeats(lead) | Kept::Merged(lead, _) => Entered::Known(lead),
        Kept::Refused(faults) => return Err(WorkFault::Fields(faults)),
    };
    if let (Entered::New(lead), Some(agency)) = (&entered, by.agency)
        && keep(tx, *lead, agency, cause).await?
    {
        return Ok(entered);
    }
    keeper.enqueue(tx, |job| cause.stamp(job)).await?;
    if let Entered::New(lead) = entered {
        outbound::leads_created(tx, &[lead], |_, job| cause.stamp(job)).await?;
    }
    Ok(entered)
}

/// Gives a lead to the agency that entered it; `false` if the rest of it has to be fetched first.
async fn keep(
    tx: &mut Tx,
    lead: LeadId,
    agency: AgencyId,
    cause: &Cause,
) -> Result<bool, StoreFault> {
    let lead = leads::lock(tx, lead).await?;
    if lead.state != LeadState::New {
        return Ok(false);
    }
    let id = distribution::keep(tx, lead.id, agency, ITS_OWN).await?;
    let own = AssignmentFacts { id, agency_id: agency };
    let events = [
        Event::LeadCreated(outbound::facts(&lead, LeadState::New)),
        Event::LeadAssigned(outbound::facts(&lead, LeadState::Assigned), own),
        Event::LeadAccepted(outbound::facts(&lead, LeadState::Accepted), own),
    ];
    outbound::tell(tx, &events, |job| cause.stamp(job)).await?;
    Ok(true)
}

fn many() -> WorkFault {
    let message =
        format!("The settings of portal `{PORTAL}` make several leads of one; mend them.");
    WorkFault::Fields(vec![FieldFault::new("lead", "several_leads", message)])
}

/// Changes what a lead says: `changes` has the same members as what is entered; what is left out
/// stays, what is `null` goes. A lead that nobody could get is given out again.
///
/// # Errors
/// [`WorkFault::Fields`]; or if the lead is not there for the actor.
pub async fn revise(
    tx: &mut Tx,
    lead: LeadId,
    changes: &Map<String, Value>,
    by: &Actor,
    cause: &Cause,
) -> Result<Lead, WorkFault> {
    let standing = locked(tx, lead, by).await?;
    let mut body = plain(&standing.data);
    body.extend(changes.iter().map(|(name, value)| (name.clone(), value.clone())));
    let read = read(&Value::Object(body), standing.created_at)?;
    let old = standing.data.clone();
    let mut consent = old.consent.clone().unwrap_or_default();
    let asked = read.consent.unwrap_or_default();
    (consent.privacy, consent.marketing) = (asked.privacy, asked.marketing);
    let said = old.consent.is_some() || consent.privacy.is_some() || consent.marketing.is_some();
    let data = StandardLead {
        external_id: old.external_id,
        consent: said.then_some(consent),
        consent_proof: old.consent_proof,
        utm: old.utm,
        campaign: old.campaign,
        line_items: old.line_items,
        submitted_at: old.submitted_at,
        custom: old.custom,
        warnings: old.warnings,
        ..read
    };
    leads::update_fields(tx, lead, &data).await?;
    if matches!(standing.state, LeadState::New | LeadState::Unassigned) {
        give_out(tx, lead, cause).await?;
    }
    Ok(leads::get(tx, lead).await?)
}

/// The lead in the words in which one is entered.
fn plain(lead: &StandardLead) -> Map<String, Value> {
    let consent = lead.consent.clone().unwrap_or_default();
    let members = json!({
        "first_name": lead.first_name, "last_name": lead.last_name, "company": lead.company,
        "email": lead.email, "phone": lead.phone, "country": lead.country,
        "postal_code": lead.postal_code, "city": lead.city, "interest": lead.interest,
        "message": lead.message, "budget": lead.budget.map(|b| b.to_string()),
        "currency": lead.currency, "source": lead.source, "is_test": lead.is_test,
        "privacy_consent": consent.privacy, "marketing_consent": consent.marketing,
    });
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Reads what was typed in as a standard lead.
fn read(body: &Value, at: chrono::DateTime<chrono::Utc>) -> Result<StandardLead, WorkFault> {
    let settings = PortalSettings::parse(&usual_settings()).map_err(WorkFault::Fields)?;
    let bytes = serde_json::to_vec(body).map_err(StoreFault::from)?;
    let judged = match judge(&settings, &headers(), &bytes, None, at) {
        Ok(Judgement::Leads(judged)) => judged,
        Ok(Judgement::Ignored { code, message }) => {
            return Err(WorkFault::Fields(vec![FieldFault::new("lead", code, message)]));
        }
        Err(faults) => return Err(WorkFault::Fields(faults)),
    };
    let [judged] = <[_; 1]>::try_from(judged).map_err(|_| many())?;
    judged.lead.map_err(WorkFault::Fields)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use chrono::Utc;

    #[test]
    fn what_is_typed_in_is_read_as_a_portal_would_read_it() {
        let body = json!({
            "first_name": " Jan ", "email": "JAN@Example.COM", "phone": "501 234 567",
            "country": "pl", "postal_code": "00950", "budget": "650000.50", "currency": "PLN",
            "privacy_consent": true,
        });
        let lead = read(&body, Utc::now()).unwrap();
        assert_eq!(lead.first_name.as_deref(), Some("Jan"));
        assert_eq!(lead.email.as_deref(), Some("jan@example.com"));
        assert_eq!(lead.phone.as_deref(), Some("+48501234567"));
        assert_eq!(lead.postal_code.as_deref(), Some("00-950"));
        assert_eq!(lead.budget.unwrap().to_string(), "650000.50");
        assert_eq!(lead.consent.as_ref().unwrap().privacy, Some(true));
        let again = read(&Value::Object(plain(&lead)), Utc::now()).unwrap();
        assert_eq!(again, lead, "a lead that is read again is the same");
    }

    #[test]
    fn nonsense_is_refused_by_its_field() {
        for (body, field) in [
            (json!({ "email": "no" }), "email"),
            (json!({ "email": "a@b.example", "budget": "much" }), "budget"),
            (json!({ "first_name": "Jan" }), "email"),
        ] {
            let Err(WorkFault::Fields(faults)) = read(&body, Utc::now()) else { panic!("{body}") };
            assert!(faults.iter().any(|f| f.field.contains(field)), "{field}: {faults:?}");
        }
    }
}
