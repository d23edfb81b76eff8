//! What endpoints are told, each event in the transaction of the thing itself, and what people do
//! with endpoints.

mod manage;

pub use manage::{
    EndpointFault, MOST_OF_AGENCY, MOST_OF_PARTNERS, Made, OLD_SECRET_LIVES, Settings, change,
    create, keep_limit, pause, remove, resend, resend_failed, resume, rotate, test,
};

pub use switchyard_providers::GuardPolicy;

use crate::{SendWebhook, queues};
use std::collections::HashMap;
use switchyard_domain::outbound::{AssignmentFacts, Event, EventType, LeadFacts, MessageFacts};
use switchyard_domain::{LeadId, LeadState, MessageId, OutboundMessageId};
use switchyard_queue::{NewJob, Options};
use switchyard_store::distribution::{Answer, Responded};
use switchyard_store::leads::{self, Lead};
use switchyard_store::outbound::{self, DueDelivery, NewOutbound};
use switchyard_store::{Result, Tx, messages};

/// Requests at once that an endpoint gets that wants no order.
pub const AT_ONCE: u32 = 8;

/// Tells everybody who wants to know, as the last thing that the transaction does. If nobody does,
/// nothing is written. `stamp` marks the jobs with what caused them.
pub(crate) async fn tell(
    tx: &mut Tx,
    events: &[Event<'_>],
    stamp: impl Fn(NewJob) -> NewJob,
) -> Result<()> {
    tell_each(tx, events, |_, job| stamp(job)).await
}

/// The same for events that have causes of their own: `stamp` is given the place of the event.
pub(crate) async fn tell_each(
    tx: &mut Tx,
    events: &[Event<'_>],
    stamp: impl Fn(usize, NewJob) -> NewJob,
) -> Result<()> {
    let (mut new, mut places) = (Vec::new(), HashMap::new());
    for (n, event) in events.iter().enumerate() {
        if outbound::is_wanted(tx, event.kind(), event.agency()).await? {
            let written = written(event);
            places.insert(written.id, n);
            new.push(written);
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let due = outbound::emit(tx, &new).await?;
    let stamp = |of: &DueDelivery, job| match places.get(&of.message) {
        Some(n) => stamp(*n, job),
        None => job,
    };
    send(tx, &due, stamp).await
}

fn written(event: &Event<'_>) -> NewOutbound {
    NewOutbound {
        id: OutboundMessageId::new(),
        kind: event.kind(),
        agency: event.agency(),
        lead: event.lead(),
        data: event.data(),
    }
}

/// Enqueues the jobs of deliveries that can be sent.
pub(crate) async fn send(
    tx: &mut Tx,
    due: &[DueDelivery],
    stamp: impl Fn(&DueDelivery, NewJob) -> NewJob,
) -> Result<()> {
    if due.is_empty() {
        return Ok(());
    }
    let jobs = due.iter().map(|d| {
        let job = SendWebhook { endpoint: d.endpoint, message: d.message };
        let options = Options::new().partition(d.endpoint);
        let options = d.tenant.iter().fold(options, |o, agency| o.tenant(agency.0));
        Ok(stamp(d, NewJob { id: d.job, ..NewJob::with_options(&job, options)? }))
    });
    let jobs: Vec<NewJob> = jobs.collect::<Result<_, serde_json::Error>>()?;
    tx.enqueue_all(jobs).await?;
    Ok(())
}

/// What a payload says of a lead that stands so from now on.
pub(crate) fn facts(lead: &Lead, state: LeadState) -> LeadFacts<'_> {
    LeadFacts {
        id: lead.id,
        state,
        portal_id: lead.portal,
        created_at: lead.created_at,
        data: &lead.data,
    }
}

/// Tells of new leads; `stamp` is given the place of the lead. Platform scope.
pub(crate) async fn leads_created(
    tx: &mut Tx,
    made: &[LeadId],
    stamp: impl Fn(usize, NewJob) -> NewJob,
) -> Result<()> {
    if made.is_empty() || !outbound::is_wanted(tx, EventType::LeadCreated, None).await? {
        return Ok(());
    }
    let mut leads = Vec::with_capacity(made.len());
    for id in made {
        leads.push(leads::get(tx, *id).await?);
    }
    let events: Vec<_> = leads.iter().map(|l| Event::LeadCreated(facts(l, l.state))).collect();
    tell_each(tx, &events, stamp).await
}

/// Tells of an agency's answer, in its scope.
pub(crate) async fn responded(
    tx: &mut Tx,
    lead: LeadId,
    answer: &Answer,
    new: Responded,
    stamp: impl Fn(NewJob) -> NewJob,
) -> Result<()> {
    let assignment = AssignmentFacts { id: new.assignment, agency_id: new.agency };
    match answer {
        Answer::Accept => {
            if outbound::is_wanted(tx, EventType::LeadAccepted, Some(new.agency)).await? {
                let lead = leads::get(tx, lead).await?;
                let event = Event::LeadAccepted(facts(&lead, LeadState::Accepted), assignment);
                tell(tx, &[event], stamp).await?;
            }
        }
        Answer::Reject { note } => {
            let event = Event::LeadRejected { lead, assignment, note: note.as_deref() };
            tell(tx, &[event], stamp).await?;
        }
    }
    Ok(())
}

/// Tells of messages that were not sent.
pub(crate) async fn messages_failed(
    tx: &mut Tx,
    failed: &[MessageId],
    stamp: impl Fn(NewJob) -> NewJob,
) -> Result<()> {
    let mut all = Vec::new();
    for id in failed {
        let message = messages::get(tx, *id).await?;
        if outbound::is_wanted(tx, EventType::MessageFailed, Some(message.agency)).await? {
            all.push(message);
        }
    }
    let events = all.iter().map(|m| {
        Event::MessageFailed(MessageFacts {
            id: m.id,
            agency_id: m.agency,
            lead_id: m.lead,
            agent_id: m.agent,
            channel: m.channel.as_str(),
            recipient: &m.recipient,
            error: m.error.as_deref(),
            attempts: m.attempts,
        })
    });
    tell(tx, &events.collect::<Vec<_>>(), stamp).await
}

/// The queue that endpoints' limits hold in.
pub(crate) const QUEUE: &str = queues::OUTBOUND.0;
