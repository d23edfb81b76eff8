//! The sections of the HTTP front: `http`, `ingest`, `auth`, `throttle`, `metrics`.

use super::reader::Reader;
use super::{DAY, MINUTE, MS, SECOND};
use switchyard_api::{ApiConfig, IngestConfig, ThrottleConfig};

pub(super) fn read(r: &mut Reader) -> ApiConfig {
    let d = ApiConfig::default();
    ApiConfig {
        body_limit: r.number(
            "http.body_limit",
            whole(d.body_limit),
            1024..=64 << 20,
            "Largest request, in bytes",
        ),
        header_timeout: r.duration(
            "http.header_timeout",
            d.header_timeout,
            100 * MS..=10 * MINUTE,
            "How long a client may take to send a request's head",
        ),
        body_timeout: r.duration(
            "http.body_timeout",
            d.body_timeout,
            100 * MS..=10 * MINUTE,
            "How long a client may take to send a request's body",
        ),
        request_timeout: r.duration(
            "http.request_timeout",
            d.request_timeout,
            100 * MS..=10 * MINUTE,
            "How long an answer may take",
        ),
        drain_timeout: r.duration(
            "http.drain_timeout",
            d.drain_timeout,
            MS..=10 * MINUTE,
            "How long requests may go on after a stop was asked for",
        ),
        max_connections: r.number(
            "http.max_connections",
            whole(d.max_connections),
            1..=1_000_000,
            "Connections served at once",
        ),
        forwarded_hops: r.number(
            "http.forwarded_hops",
            u64::from(d.forwarded_hops),
            0..=10,
            "Trusted proxies in front, for the client's address",
        ),
        // Set from `public_url` where the parts are put together.
        public_url: None,
        portal_cache_ttl: r.duration(
            "http.portal_cache_ttl",
            d.portal_cache_ttl,
            MS..=10 * MINUTE,
            "How long a portal's settings are believed",
        ),
        portal_cache_entries: r.number(
            "http.portal_cache_entries",
            d.portal_cache_entries,
            1..=10_000_000,
            "Portals remembered at once",
        ),
        account_cache_ttl: r.duration(
            "auth.account_cache_ttl",
            d.account_cache_ttl,
            MS..=10 * MINUTE,
            "How long it may take until a disabled account is locked out",
        ),
        admin_token_life: r.duration(
            "auth.admin_token_life",
            d.admin_token_life,
            MINUTE..=30 * DAY,
            "Life of an administrator's sign-in",
        ),
        agency_token_life: r.duration(
            "auth.agency_token_life",
            d.agency_token_life,
            MINUTE..=90 * DAY,
            "Life of an agency's sign-in",
        ),
        password_concurrency: r.number(
            "auth.password_concurrency",
            whole(d.password_concurrency),
            1..=64,
            "Passwords checked at once; each takes a core and 19 MiB",
        ),
        metrics_token: r.secret(
            "metrics.token",
            "Bearer token for /metrics from other machines",
            token,
        ),
        ingest: ingest(r, &d.ingest),
        throttle: throttle(r, &d.throttle),
        // Its own section, see `outbound`.
        outbound: d.outbound,
        payouts: d.payouts,
    }
}

fn ingest(r: &mut Reader, d: &IngestConfig) -> IngestConfig {
    IngestConfig {
        queue_events: r.number(
            "ingest.queue_events",
            whole(d.queue_events),
            1..=1_000_000,
            "Webhooks that may wait to be written; one more is answered 503",
        ),
        queue_bytes: r.number(
            "ingest.queue_bytes",
            whole(d.queue_bytes),
            1 << 20..=16 << 30,
            "Bytes of webhooks that may wait to be written",
        ),
        writers: r.number(
            "ingest.writers",
            whole(d.writers),
            1..=64,
            "Transactions that write webhooks at once",
        ),
        batch: r.number(
            "ingest.batch",
            whole(d.batch),
            1..=10_000,
            "Most webhooks in one transaction",
        ),
    }
}

fn throttle(r: &mut Reader, d: &ThrottleConfig) -> ThrottleConfig {
    ThrottleConfig {
        per_account: r.number(
            "throttle.per_account",
            u64::from(d.per_account),
            1..=10_000,
            "Failed sign-ins on one account from one address within the window",
        ),
        per_address: r.number(
            "throttle.per_address",
            u64::from(d.per_address),
            1..=100_000,
            "Failed sign-ins from one address within the window",
        ),
        window: r.duration("throttle.window", d.window, SECOND..=DAY, "The window"),
        entries: r.number(
            "throttle.entries",
            whole(d.entries),
            1..=10_000_000,
            "Account and address pairs remembered at once",
        ),
    }
}

fn whole(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn token(text: &str) -> Option<String> {
    let ok = text.len() >= 16 && text.bytes().all(|b| b.is_ascii_graphic());
    (!ok).then(|| "must be at least 16 visible ASCII characters".to_owned())
}
