//! What agencies, operators and the CLI do with endpoints, each in the caller's transaction. The
//! scope of the transaction says whose endpoints there are.

use super::{AT_ONCE, QUEUE, send, written};
use crate::FlushEndpoint;
use crate::line::Cause;
use chrono::{DateTime, Utc};
use std::time::Duration;
use switchyard_domain::outbound::{
    BadSubscription, ENDPOINT_SIGNING, EndpointSecret, Event, check_subscriptions,
};
use switchyard_domain::secrets::MasterKey;
use switchyard_domain::{AgencyId, EndpointId, OutboundMessageId};
use switchyard_providers::{GuardPolicy, UrlRefused};
use switchyard_queue::NewJob;
use switchyard_store::limits::{self, LimitScope, StartRate};
use switchyard_store::outbound::{
    self, Endpoint, EndpointChange, EndpointState, NewEndpoint, ResendFault,
};
use switchyard_store::{Db, Result, StoreFault, Tx};

/// Endpoints of one agency.
pub const MOST_OF_AGENCY: i64 = 20;
/// Endpoints of the platform's partners together.
pub const MOST_OF_PARTNERS: i64 = 200;
/// How long the secret before signs along after a rotation.
pub const OLD_SECRET_LIVES: Duration = Duration::from_secs(24 * 3600);

const LONGEST_URL: usize = 2_000;
const LONGEST_DESCRIPTION: usize = 500;
const HIGHEST_RATE: i32 = 1_000;

/// Why something was not done with an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointFault {
    /// It would not be called.
    #[error("`url`: {0}")]
    Url(#[from] UrlRefused),
    /// It is endless.
    #[error("`url` has at most {LONGEST_URL} characters")]
    LongUrl,
    /// A list of events that makes no sense.
    #[error("`events`: {0}")]
    Events(#[from] BadSubscription),
    /// Too much text.
    #[error("`description` has at most {LONGEST_DESCRIPTION} characters, none of them zero")]
    Description,
    /// Too slow or too fast.
    #[error("`rate` is 1 to {HIGHEST_RATE} requests a second, or nothing")]
    Rate,
    /// There are enough.
    #[error("there are {0} endpoints already, which is the most; remove one first")]
    TooMany(i64),
    /// It does not take anything now.
    #[error("the endpoint is {0}; let it go on first")]
    NotActive(EndpointState),
    /// The database's answer; `NotFound` if there is no such endpoint.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// What its owner says of an endpoint.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub url: String,
    /// For people.
    pub description: String,
    /// Events, groups such as `lead.*`, or `*`.
    pub events: Vec<String>,
    /// Requests a second; `None`: no limit.
    pub rate: Option<i32>,
}

impl Settings {
    fn checked(self, policy: &GuardPolicy) -> Result<EndpointChange, EndpointFault> {
        let Self { url, description, mut events, rate } = self;
        let url = url.trim().to_owned();
        if url.len() > LONGEST_URL {
            return Err(EndpointFault::LongUrl);
        }
        policy.check(&url)?;
        check_subscriptions(&events)?;
        events.sort_unstable();
        events.dedup();
        let description = description.trim().to_owned();
        if description.chars().count() > LONGEST_DESCRIPTION || description.contains('\0') {
            return Err(EndpointFault::Description);
        }
        if rate.is_some_and(|r| !(1..=HIGHEST_RATE).contains(&r)) {
            return Err(EndpointFault::Rate);
        }
        Ok(EndpointChange { url, description, events, rate })
    }
}

/// An endpoint with a secret that is shown this once.
pub struct Made {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its new secret.
    pub secret: EndpointSecret,
}

fn sealed(key: &MasterKey, secret: &EndpointSecret) -> Vec<u8> {
    key.seal(ENDPOINT_SIGNING, secret.expose_bytes())
}

/// Makes an endpoint of an agency, or of a partner (platform scope). Call [`keep_limit`] after the
/// commit.
///
/// # Errors
/// [`EndpointFault`].
pub async fn create(
    tx: &mut Tx,
    key: &MasterKey,
    policy: &GuardPolicy,
    agency: Option<AgencyId>,
    ordered: bool,
    settings: Settings,
) -> Result<Made, EndpointFault> {
    let settings = settings.checked(policy)?;
    let secret = EndpointSecret::generate();
    let most = if agency.is_some() { MOST_OF_AGENCY } else { MOST_OF_PARTNERS };
    let new = NewEndpoint { agency, ordered, secret: sealed(key, &secret), settings };
    let made = outbound::create(tx, &new, most).await?;
    let endpoint = made.ok_or(EndpointFault::TooMany(most))?;
    Ok(Made { endpoint, secret })
}

/// Changes an endpoint. What waits goes to the new address. Call [`keep_limit`] after the commit.
///
/// # Errors
/// [`EndpointFault`].
pub async fn change(
    tx: &mut Tx,
    policy: &GuardPolicy,
    id: EndpointId,
    settings: Settings,
) -> Result<Endpoint, EndpointFault> {
    Ok(outbound::change(tx, id, &settings.checked(policy)?).await?)
}

/// Takes an endpoint away; what waits for it is not sent any more.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn remove(tx: &mut Tx, id: EndpointId) -> Result<()> {
    outbound::remove(tx, id).await
}

/// Sends nothing more to an endpoint; a call under way ends. What happens is kept for it.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn pause(tx: &mut Tx, id: EndpointId) -> Result<Endpoint> {
    outbound::set_state(tx, id, EndpointState::Paused, Some("paused by hand")).await
}

/// Sends to it again, also to one that was disabled: all that waits, now.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn resume(tx: &mut Tx, id: EndpointId, cause: &Cause) -> Result<Endpoint> {
    let endpoint = outbound::set_state(tx, id, EndpointState::Active, None).await?;
    outbound::release(tx, id).await?;
    flush_soon(tx, id, None, cause).await?;
    Ok(endpoint)
}

async fn flush_soon(
    tx: &mut Tx,
    endpoint: EndpointId,
    failed_since: Option<DateTime<Utc>>,
    cause: &Cause,
) -> Result<()> {
    let job = NewJob::of(&FlushEndpoint { endpoint, failed_since })?;
    tx.enqueue(cause.stamp(job)).await?;
    Ok(())
}

/// Gives an endpoint a new secret; the one before signs along for [`OLD_SECRET_LIVES`].
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none.
pub async fn rotate(tx: &mut Tx, key: &MasterKey, id: EndpointId) -> Result<Made> {
    let secret = EndpointSecret::generate();
    let endpoint = outbound::rotate(tx, id, &sealed(key, &secret), OLD_SECRET_LIVES).await?;
    Ok(Made { endpoint, secret })
}

/// Sends a test event to one endpoint.
///
/// # Errors
/// [`EndpointFault::NotActive`] if it is paused or disabled.
pub async fn test(
    tx: &mut Tx,
    id: EndpointId,
    cause: &Cause,
) -> Result<OutboundMessageId, EndpointFault> {
    let endpoint = outbound::lock(tx, id).await?;
    if endpoint.state != EndpointState::Active {
        return Err(EndpointFault::NotActive(endpoint.state));
    }
    let event = written(&Event::Test { endpoint: id, agency: endpoint.agency });
    outbound::emit_to(tx, &endpoint, &event).await?;
    let flushed = outbound::flush(tx, id, None, AT_ONCE).await?;
    send(tx, &flushed.due, |_, job| cause.stamp(job)).await?;
    Ok(event.id)
}

/// Sends one delivery again, with the same id.
///
/// # Errors
/// [`ResendFault`].
pub async fn resend(
    tx: &mut Tx,
    id: EndpointId,
    message: OutboundMessageId,
    cause: &Cause,
) -> Result<(), ResendFault> {
    let due = outbound::requeue(tx, id, message).await?;
    Ok(send(tx, due.as_slice(), |_, job| cause.stamp(job)).await?)
}

/// Sends everything again that was given up since then.
///
/// # Errors
/// [`EndpointFault::NotActive`] if the endpoint is paused or disabled.
pub async fn resend_failed(
    tx: &mut Tx,
    id: EndpointId,
    since: DateTime<Utc>,
    cause: &Cause,
) -> Result<(), EndpointFault> {
    let endpoint = outbound::get(tx, id).await?;
    if endpoint.state != EndpointState::Active {
        return Err(EndpointFault::NotActive(endpoint.state));
    }
    Ok(flush_soon(tx, id, Some(since), cause).await?)
}

/// Limits an endpoint's partition as the endpoint says: one at a time or [`AT_ONCE`], and its rate.
/// The engine's limits are set outside of tenants' transactions; `webhook.tend` mends what a crash
/// in between, or a database that is away, leaves.
pub async fn keep_limit(db: &Db, id: EndpointId, ordered: bool, rate: Option<i32>) {
    let at_once = if ordered { 1 } else { AT_ONCE };
    let period = Duration::from_secs(1);
    let rate = rate.map(|starts| {
        let starts = starts.unsigned_abs();
        StartRate { starts, period, burst: StartRate::usual_burst(starts, period) }
    });
    if let Err(e) = limits::set(db, &limit_of(id), Some(at_once), rate).await {
        tracing::warn!(endpoint = %id, "an endpoint's limit is not set yet: {e}");
    }
}

fn limit_of(id: EndpointId) -> LimitScope {
    LimitScope::Partition { queue: QUEUE.to_owned(), partition: id.to_string() }
}
