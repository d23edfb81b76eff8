//! What people and senders set going, each in the caller's transaction: what is written and the
//! job that follows commit together.

use crate::replay::{self, EventReplay};
use crate::{
    DistributeLead, NotifyEmail, NotifyWhatsApp, ProcessWebhook, ReleaseHeld, ReplayWebhooks,
    RescanUnassigned, outbound,
};
use std::time::Duration;
use switchyard_domain::delivery::DeliveryKey;
use switchyard_domain::{AgencyId, EventId, Headers, LeadId, MessageId, PortalId};
use switchyard_queue::{Job, NewJob, TraceContext};
use switchyard_store::distribution::{self, Answer, RespondFault};
use switchyard_store::events::{self, NewEvent, Range, RerunFault};
use switchyard_store::leads::Place;
use switchyard_store::messages::{self, Channel, Message, ResendFault};
use switchyard_store::replays::{self, Replay};
use switchyard_store::{Result, StoreFault, Tx, portals, territories};

/// How long a body's hash counts as "the same delivery"; a sender's id counts for good.
const BODY_KEY_TTL: Duration = Duration::from_secs(24 * 3600);

/// The request behind an action; every job that follows carries it.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    /// Its trace.
    pub trace: Option<TraceContext>,
    /// Its id.
    pub request_id: Option<String>,
}

impl Cause {
    pub(crate) fn stamp(&self, job: NewJob) -> NewJob {
        job.caused_by(self.trace, self.request_id.as_deref())
    }
}

/// A delivery that was found authentic.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whose it is.
    pub portal: PortalId,
    /// Which one it is.
    pub key: DeliveryKey,
    /// Exactly as it came.
    pub body: Vec<u8>,
    /// Without credentials ([`Headers::without`]).
    pub headers: Headers,
    /// The public URL with its query, without credentials.
    pub url: Option<String>,
    /// Who sent it.
    pub remote_addr: Option<String>,
}

/// The event of a delivery with the job that will judge it, for [`events::ingest`].
///
/// # Errors
/// If headers or job cannot be written as JSON.
pub fn event(delivery: Delivery, cause: &Cause) -> Result<NewEvent, serde_json::Error> {
    let id = EventId::new();
    Ok(NewEvent {
        id,
        portal: delivery.portal,
        key: delivery.key.to_string(),
        key_ttl: (!delivery.key.is_permanent()).then_some(BODY_KEY_TTL),
        body: delivery.body,
        headers: serde_json::to_value(&delivery.headers)?,
        url: delivery.url,
        remote_addr: delivery.remote_addr,
        redacted: false,
        job: cause.stamp(process(id, delivery.portal)?),
    })
}

/// A portal that sends much must not keep the others waiting: each has a partition.
pub(crate) fn process(event: EventId, portal: PortalId) -> Result<NewJob, serde_json::Error> {
    let job = ProcessWebhook { event };
    NewJob::with_options(&job, job.options().partition(portal))
}

/// Holds a portal's deliveries from now on: they are taken, but not judged. Gives whether they were
/// not held before.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such portal.
pub async fn pause(tx: &mut Tx, portal: PortalId) -> Result<bool> {
    portals::pause(tx, portal).await
}

/// Judges a portal's deliveries again, what was held first of all. Gives whether they were held.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such portal.
pub async fn resume(tx: &mut Tx, portal: PortalId, cause: &Cause) -> Result<bool> {
    let held = portals::resume(tx, portal).await?;
    // Enqueued in any case: an earlier release may have been given up half way.
    tx.enqueue(cause.stamp(NewJob::of(&ReleaseHeld { portal })?)).await?;
    Ok(held)
}

/// Takes a rejected event up again, by the settings of today.
///
/// # Errors
/// [`RerunFault`].
pub async fn rerun(tx: &mut Tx, event: EventId, cause: &Cause) -> Result<(), RerunFault> {
    events::rerun(tx, event, |portal| Ok(cause.stamp(process(event, portal)?))).await
}

/// Judges one event again by the settings of today, whatever it is now, and keeps what comes of it.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is no such event.
pub async fn replay(tx: &mut Tx, event: EventId, cause: &Cause) -> Result<EventReplay> {
    replay::again(tx, event, |job| cause.stamp(job)).await
}

/// Sets a job going that judges the events of a range again.
///
/// # Errors
/// If the database is not available.
pub async fn replay_range(
    tx: &mut Tx,
    range: &Range,
    dry_run: bool,
    requested_by: &str,
    cause: &Cause,
) -> Result<Replay> {
    let replay = replays::create(tx, range, dry_run, requested_by).await?;
    tx.enqueue(cause.stamp(NewJob::of(&ReplayWebhooks { replay: replay.id })?)).await?;
    Ok(replay)
}

/// Takes an agency's answer to an offer, in the agency's scope. A rejected lead goes to the next.
///
/// # Errors
/// [`RespondFault`].
pub async fn respond(
    tx: &mut Tx,
    lead: LeadId,
    answer: &Answer,
    cause: &Cause,
) -> Result<(), RespondFault> {
    let job = DistributeLead { lead };
    let next = NewJob::with_options(&job, job.urgent()).map_err(StoreFault::from)?;
    let new = distribution::respond(tx, lead, answer, cause.stamp(next)).await?;
    if let Some(responded) = new {
        outbound::responded(tx, lead, answer, responded, |job| cause.stamp(job)).await?;
    }
    Ok(())
}

/// Adds territories and looks for leads that wait there. Gives how many are new.
///
/// # Errors
/// If the database refuses them.
pub async fn add_territories(
    tx: &mut Tx,
    agency: AgencyId,
    places: &[Place],
    cause: &Cause,
) -> Result<u64> {
    let place = if let [one] = places { Some(one.clone()) } else { None };
    let rescan = NewJob::of(&RescanUnassigned { place })?;
    territories::add(tx, agency, places, cause.stamp(rescan)).await
}

/// Sends a failed message, or one in doubt, anew.
///
/// # Errors
/// [`ResendFault`].
pub async fn resend(tx: &mut Tx, id: MessageId, cause: &Cause) -> Result<Message, ResendFault> {
    messages::resend(tx, id, |m| Ok(cause.stamp(notify(m.id, m.agency, m.channel)?))).await
}

/// The job that sends a message: in the agency's scope, and in a partition of its own, so that one
/// agency's backlog delays nobody else.
pub(crate) fn notify(
    message: MessageId,
    agency: AgencyId,
    channel: Channel,
) -> Result<NewJob, serde_json::Error> {
    match channel {
        Channel::Email => of_agency(&NotifyEmail { message }, agency),
        Channel::WhatsApp => of_agency(&NotifyWhatsApp { message }, agency),
    }
}

fn of_agency<J: Job>(job: &J, agency: AgencyId) -> Result<NewJob, serde_json::Error> {
    NewJob::with_options(job, job.options().tenant(agency.0).partition(agency))
}
