//! Settings of the HTTP front. Every field has a default that suits one machine.

use secrecy::SecretString;
use serde::Deserialize;
use std::time::Duration;
use switchyard_catalog::outbound::GuardPolicy;
use switchyard_domain::payment::PayoutRules;

/// Settings of the HTTP front. Durations are read as seconds (fractions allowed).
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Largest request body, bytes. 1 MiB is what the webhook contract promises.
    pub body_limit: usize,
    /// How long a client may take to send a request's head (and to sit idle between requests).
    #[serde(with = "seconds")]
    pub header_timeout: Duration,
    /// How long a client may take to send a request's body.
    #[serde(with = "seconds")]
    pub body_timeout: Duration,
    /// How long a handler may take before the client is told to come back.
    #[serde(with = "seconds")]
    pub request_timeout: Duration,
    /// How long requests under way may take to end once a shutdown has begun.
    #[serde(with = "seconds")]
    pub drain_timeout: Duration,
    /// Connections served at once; more wait in the listener's backlog.
    pub max_connections: usize,
    /// Trusted proxies in front. The client's address is the n-th entry of `X-Forwarded-For` from
    /// the right; with 0 the header is ignored and the peer is the client.
    pub forwarded_hops: u8,
    /// The address under which senders reach this server (scheme and host), for those who sign it;
    /// without it, what their request says.
    pub public_url: Option<String>,
    /// How long a portal's settings are believed, found or not found.
    #[serde(with = "seconds")]
    pub portal_cache_ttl: Duration,
    /// How many portal codes are remembered at once.
    pub portal_cache_entries: u64,
    /// How long it may take until a disabled account is locked out.
    #[serde(with = "seconds")]
    pub account_cache_ttl: Duration,
    /// Life of an administrator's token.
    #[serde(with = "seconds")]
    pub admin_token_life: Duration,
    /// Life of an agency's token.
    #[serde(with = "seconds")]
    pub agency_token_life: Duration,
    /// Passwords hashed at once; each takes 19 MiB and a core.
    pub password_concurrency: usize,
    /// With it `GET /metrics` may be read from elsewhere, as a bearer token; without it only
    /// from this machine.
    pub metrics_token: Option<SecretString>,
    /// The batching writer behind the webhooks.
    pub ingest: IngestConfig,
    /// Which addresses webhook endpoints may have.
    #[serde(skip)]
    pub outbound: GuardPolicy,
    /// By which rules commissions are paid out.
    #[serde(skip)]
    pub payouts: PayoutRules,
    /// Failed sign-ins.
    pub throttle: ThrottleConfig,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            body_limit: 1 << 20,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(20),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(20),
            max_connections: 4096,
            forwarded_hops: 0,
            public_url: None,
            portal_cache_ttl: Duration::from_secs(2),
            portal_cache_entries: 10_000,
            account_cache_ttl: Duration::from_secs(5),
            admin_token_life: Duration::from_secs(12 * 3600),
            agency_token_life: Duration::from_secs(24 * 3600),
            password_concurrency: 2,
            metrics_token: None,
            ingest: IngestConfig::default(),
            outbound: GuardPolicy::default(),
            payouts: PayoutRules::default(),
            throttle: ThrottleConfig::default(),
        }
    }
}

/// Settings of the batching writer.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Events that may wait for a writer; one more is answered 503.
    pub queue_events: usize,
    /// Bytes of bodies that may wait or be under way; one more is answered 503.
    pub queue_bytes: usize,
    /// Writers, each with one transaction at a time.
    pub writers: usize,
    /// Events in one transaction at most.
    pub batch: usize,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self { queue_events: 1024, queue_bytes: 64 << 20, writers: 2, batch: 256 }
    }
}

/// How many failed sign-ins are borne.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThrottleConfig {
    /// Attempts on one account from one address within the window.
    pub per_account: u32,
    /// Attempts from one address within the window, over all accounts.
    pub per_address: u32,
    /// The window; it begins with the first attempt.
    #[serde(with = "seconds")]
    pub window: Duration,
    /// Account and address pairs remembered at once.
    pub entries: usize,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self {
            per_account: 5,
            per_address: 50,
            window: Duration::from_secs(15 * 60),
            entries: 20_000,
        }
    }
}

/// Durations as seconds.
mod seconds {
    use serde::{Deserialize, Deserializer, de};
    use std::time::Duration;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(d)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| de::Error::custom("a duration is a number of seconds, 0 or more"))
    }
}
