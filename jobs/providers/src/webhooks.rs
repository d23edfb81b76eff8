//! Outbound webhooks: a payload, signed with every live secret of its endpoint (Standard Webhooks
//! 1.0), posted through the guard.

use crate::{ConfigFault, Fetched, GuardFault, GuardPolicy, GuardedClient};
use std::sync::Arc;
use switchyard_domain::OutboundMessageId;
use switchyard_domain::outbound::{ENDPOINT_SIGNING, EndpointSecret, signatures, webhook_id};
use switchyard_domain::secrets::MasterKey;

/// Sends webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Option<Arc<Ready>>);

struct Ready {
    client: GuardedClient,
    key: MasterKey,
}

/// One webhook to be sent. It does not print: the payload is personal data.
pub struct Webhook<'a> {
    /// What is told.
    pub message: OutboundMessageId,
    /// Where to.
    pub url: &'a str,
    /// JSON, exactly as it is to be sent.
    pub payload: String,
    /// The sealed secrets that are live, the current one first.
    pub sealed: &'a [Vec<u8>],
    /// The time of this attempt, in seconds of Unix time.
    pub timestamp: i64,
}

/// Why an endpoint's secrets cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// This process has no master key.
    #[error(
        "this process has no master key: set SWITCHYARD_SECRET_KEY for the workers as for the API"
    )]
    NoKey,
    /// They were sealed with another one.
    #[error(
        "the endpoint's secret was sealed with another master key: give the workers the API's \
         SWITCHYARD_SECRET_KEY, or rotate the endpoint's secret"
    )]
    OtherKey,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebhookFault {
    /// Nothing was sent: it is our fault and none of the receiver's.
    #[error(transparent)]
    Sealed(#[from] SealFault),
    /// Nothing was sent, or no answer came.
    #[error(transparent)]
    Guard(#[from] GuardFault),
}

impl Webhooks {
    /// Sends by this policy; `key` opens the endpoints' secrets.
    ///
    /// # Errors
    /// If no TLS can be had on this machine.
    pub fn new(policy: GuardPolicy, key: MasterKey) -> Result<Self, ConfigFault> {
        Ok(Self(Some(Arc::new(Ready { client: GuardedClient::new(policy)?, key }))))
    }

    /// Sends nothing: every webhook waits for a process that has the key.
    #[must_use]
    pub fn without_key() -> Self {
        Self(None)
    }

    /// Signs and posts one webhook. Any status is an answer.
    ///
    /// # Errors
    /// [`WebhookFault`].
    pub async fn send(&self, webhook: &Webhook<'_>) -> Result<Fetched, WebhookFault> {
        let ready = self.0.as_ref().ok_or(SealFault::NoKey)?;
        let secrets: Result<Vec<_>, _> =
            webhook.sealed.iter().map(|sealed| open(&ready.key, sealed)).collect();
        let id = webhook_id(webhook.message);
        let body = webhook.payload.as_bytes();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-signature", signatures(&secrets?, &id, webhook.timestamp, body)),
            ("webhook-timestamp", webhook.timestamp.to_string()),
            ("webhook-id", id),
        ];
        Ok(ready.client.post(webhook.url, &headers, body.to_vec()).await?)
    }
}

fn open(key: &MasterKey, sealed: &[u8]) -> Result<EndpointSecret, SealFault> {
    let plain = key.open(ENDPOINT_SIGNING, sealed).map_err(|_| SealFault::OtherKey)?;
    EndpointSecret::of(plain.to_vec()).map_err(|_| SealFault::OtherKey)
}
