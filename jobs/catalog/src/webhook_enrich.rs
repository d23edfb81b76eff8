//! `webhook.enrich`: fetches what a sender left out. Some portals send a lead's id only.

use crate::fault::OrFail;
use crate::judging::verdict;
use crate::keeping::{Met, Person};
use crate::{DistributeLead, Platform, outbound, queues};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use switchyard_domain::{FieldFault, LeadId, LeadState, PortalId};
use switchyard_providers::{FetchClass, FetchFault, FetchToken};
use switchyard_queue::{Context, Job, JobError, JobResult, NewJob, Options, QueueName};
use switchyard_store::events;
use switchyard_store::leads::{self, Lead};
use switchyard_store::persons::Claim;
use switchyard_store::portals::{self, Portal};

/// Fetches the rest of one lead.
#[derive(Debug, Serialize, Deserialize)]
pub struct EnrichLead {
    /// The lead; it is `pending`.
    pub lead: LeadId,
}

/// Why a lead is not whole.
#[derive(Debug, thiserror::Error)]
#[error("lead {lead} was not fetched: {why}")]
struct NotFetched {
    lead: LeadId,
    why: String,
}

impl EnrichLead {
    /// A provider that is slow for one portal keeps no other waiting.
    pub(crate) fn job(&self, portal: PortalId) -> Result<NewJob, serde_json::Error> {
        NewJob::with_options(self, self.options().partition(portal))
    }
}

impl Job for EnrichLead {
    type State = Platform;

    const KIND: &'static str = "webhook.enrich";
    const ABOUT: &'static str = "Fetches the rest of a lead of which its portal sent an id only.";
    const QUEUE: QueueName = queues::WEBHOOKS;
    /// More than the client waits for an answer.
    const TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_ATTEMPTS: u16 = 15;

    fn options(&self) -> Options {
        Options::new().unique_by(self.lead)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let db = &cx.state().db;
        let mut tx = db.begin_job(cx.job()).await.or_fail()?;
        let lead = leads::get(&mut tx, self.lead).await.or_fail()?;
        let (LeadState::Pending, Some(url)) = (lead.state, &lead.fetch_url) else {
            return tx.done().await;
        };
        let portal = portals::get(&mut tx, lead.portal).await.or_fail()?;
        // No transaction stays open while somebody else is asked.
        tx.commit().await.or_fail()?;
        let (token, headers) = (token(&portal), headers(&portal));
        let answer = cx.state().providers.fetch.get(url, token.as_ref(), &headers).await;
        match answer {
            Ok(fetched) => complete(cx, &lead, &fetched).await,
            Err(fault) => postpone(cx, &lead, fault).await,
        }
    }
}

/// The portal's token and where it belongs. Without a word in the settings it is a bearer token.
fn token(portal: &Portal) -> Option<FetchToken> {
    let sealed = portal.enrich_token.clone()?;
    let place = portal.settings.pointer("/enrich/token").unwrap_or(&Value::Null);
    let text = |name: &str| place.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(match text("in").as_deref() {
        Some("query") => {
            let name = text("name").unwrap_or_else(|| "access_token".to_owned());
            FetchToken::in_query(sealed, name)
        }
        _ => {
            let name = text("name").unwrap_or_else(|| "Authorization".to_owned());
            let usual = if name.eq_ignore_ascii_case("authorization") { "Bearer " } else { "" };
            FetchToken::in_header(sealed, name, text("prefix").unwrap_or_else(|| usual.to_owned()))
        }
    })
}

/// The fixed headers that the portal's provider wants.
fn headers(portal: &Portal) -> Vec<(String, String)> {
    let members = portal.settings.pointer("/enrich/headers").and_then(Value::as_object);
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    members.into_iter().flatten().filter_map(text).collect()
}

/// Writes the whole lead down and sets its distribution going, in one commit. Event, persons, leads: the
/// order in which everybody locks.
async fn complete(cx: &Context<Platform>, lead: &Lead, fetched: &Value) -> JobResult {
    let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
    let event = events::lock(&mut tx, lead.event).await.or_fail()?;
    let standing = leads::get(&mut tx, lead.id).await.or_fail()?;
    if standing.state != LeadState::Pending {
        return tx.done().await;
    }
    let settings = verdict(&event).settings;
    let whole = match settings.as_ref().map(|s| s.enrich(standing.data.clone(), fetched)) {
        Some(Ok(whole)) => whole,
        Some(Err(faults)) => {
            return give_up(cx, tx, lead, FieldFault::sentences(&faults)).await;
        }
        None => {
            let why = "the portal's settings cannot be read; mend them and retry the job";
            return give_up(cx, tx, lead, why.to_owned()).await;
        }
    };
    let rule = settings.as_ref().and_then(|s| s.duplicates.as_ref());
    let keys = rule.map(|rule| rule.keys(lead.portal, &whole)).unwrap_or_default();
    let person = rule.map(|rule| Person { rule, event: &event, lead: lead.id });
    let mut first = None;
    if let Some(person) = &person
        && let Claim::SeenBy(id) = person.claim(&mut tx, &keys).await.or_fail()?
    {
        first = Some(id);
    }
    let both: Vec<LeadId> = first.into_iter().chain([lead.id]).collect();
    leads::lock_all(&mut tx, &[], &both).await.or_fail()?;
    let locked = leads::get(&mut tx, lead.id).await.or_fail()?;
    if (locked.state, &locked.data) != (LeadState::Pending, &standing.data) {
        return Err(JobError::retry("somebody changed the lead at this moment"));
    }
    if let (Some(person), Some(id)) = (&person, first) {
        let why = match person.meet(&mut tx, &keys, id, &whole).await.or_fail()? {
            Met::Stands => {
                first = None;
                None
            }
            Met::Linked => None,
            Met::Merged(_) => {
                Some(format!("The same person asked before: it completed lead {id}."))
            }
            Met::Refused(fault) => Some(fault.message),
        };
        if let Some(why) = why {
            // The portal wants no second lead: it is never given out.
            let as_what = (LeadState::Duplicate, first);
            leads::fetched(&mut tx, lead.id, &whole, fetched, as_what).await.or_fail()?;
            let reason = [FieldFault::new("person", "duplicate_person", why)];
            events::note_partial(&mut tx, event.id, &reason).await.or_fail()?;
            return tx.done().await;
        }
    }
    let as_what = (LeadState::New, first);
    leads::fetched(&mut tx, lead.id, &whole, fetched, as_what).await.or_fail()?;
    let next = NewJob::of(&DistributeLead { lead: lead.id }).or_fail()?;
    tx.enqueue(cx.follow_up(next)).await.or_fail()?;
    outbound::leads_created(&mut tx, &[lead.id], |_, job| cx.follow_up(job)).await.or_fail()?;
    tx.done().await
}

async fn give_up(
    cx: &Context<Platform>,
    mut tx: switchyard_store::JobTx,
    lead: &Lead,
    why: String,
) -> JobResult {
    leads::fetch_failed(&mut tx, lead.id, &why).await.or_fail()?;
    tx.commit().await.or_fail()?;
    tracing::warn!(lead = %lead.id, job = %cx.job().id, "what was fetched is no lead");
    // What it said may hold personal data: it stands with the lead, not with the job.
    let why = "what the provider answered is no lead by the portal's mapping; see the lead";
    Err(JobError::permanent(NotFetched { lead: lead.id, why: why.to_owned() }))
}

/// Notes why, and says whether another attempt makes sense.
async fn postpone(cx: &Context<Platform>, lead: &Lead, fault: FetchFault) -> JobResult {
    let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
    leads::fetch_failed(&mut tx, lead.id, &fault.to_string()).await.or_fail()?;
    tx.commit().await.or_fail()?;
    let why = NotFetched { lead: lead.id, why: fault.to_string() };
    Err(match fault.class {
        FetchClass::Retry { after: Some(wait) } => JobError::retry_after(wait, why),
        FetchClass::Retry { after: None } => JobError::retry(why),
        FetchClass::Gone | FetchClass::Denied | FetchClass::Refused => JobError::permanent(why),
    })
}
