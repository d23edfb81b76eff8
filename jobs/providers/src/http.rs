//! The HTTP client that the WhatsApp providers share the settings of, and what its failures mean.

use crate::{ConfigFault, SendError, SendFault};
use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode};
use std::time::Duration;

/// Most bytes of an answer that are looked at. Real ones have about a thousand.
const BODY_LIMIT: usize = 64 * 1024;
/// No `Retry-After` may hold a message back for longer: by then it is better to ask again.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A provider's answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    /// Cut at 64 KiB; empty if it could not be read.
    pub(crate) body: Vec<u8>,
}

/// A client for one provider: TLS by rustls over ring, no redirects (they would carry the
/// credentials elsewhere), bounded waits.
///
/// # Errors
/// If no TLS can be had on this machine.
pub(crate) fn client(timeout: Duration) -> Result<Client, ConfigFault> {
    builder(timeout).build().map_err(no_tls)
}

/// What every client of ours has in common.
pub(crate) fn builder(timeout: Duration) -> ClientBuilder {
    // Whoever comes first installs it for the process; anybody else's choice is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(timeout.min(Duration::from_secs(5)))
        .read_timeout(timeout)
        .timeout(timeout)
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_keepalive(Duration::from_secs(30))
}

/// What is wrong with a machine on which no client can be made.
pub(crate) fn no_tls(e: reqwest::Error) -> ConfigFault {
    ConfigFault {
        key: "tls".to_owned(),
        message: format!("no HTTPS on this machine: {e}; install the package ca-certificates"),
    }
}

/// Sends a request and reads the answer.
///
/// # Errors
/// A connection that was never made is [`SendFault::Retry`]; anything that broke after it is
/// [`SendFault::Unknown`], because the request may have been read.
pub(crate) async fn call(request: RequestBuilder) -> Result<Answer, SendError> {
    let mut response = request.send().await.map_err(|e| broken(e.without_url()))?;
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let mut body = Vec::new();
    // The status is the answer; a body that breaks off takes nothing away from it.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = BODY_LIMIT - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == BODY_LIMIT {
            break;
        }
    }
    Ok(Answer { status, retry_after, body })
}

fn broken(e: reqwest::Error) -> SendError {
    if e.is_builder() {
        SendError::permanent("request", "the request could not be built").because(e)
    } else if e.is_connect() {
        SendError::retry("connect", "the provider cannot be reached").because(e)
    } else if e.is_timeout() {
        SendError::unknown("timeout", "the provider did not answer in time").because(e)
    } else {
        SendError::unknown("reset", "the connection broke before the answer came").because(e)
    }
}

/// What a status says by itself, when the body has no code that is known.
pub(crate) fn class_of(answer: &Answer) -> SendFault {
    match answer.status.as_u16() {
        // A gateway that gave up waiting had passed the request on.
        504 => SendFault::Unknown,
        408 | 425 | 429 | 500..=599 => SendFault::Retry { after: answer.retry_after },
        // The address or the credentials are wrong, not the message.
        300..=399 | 401 | 403 | 404 | 405 | 407 => {
            SendFault::Retry { after: Some(SendError::OPERATOR_WAIT) }
        }
        _ => SendFault::Permanent,
    }
}

/// The class of a known code; a wait that the other side asks for wins over the table's.
pub(crate) fn with_wait(class: SendFault, answer: &Answer) -> SendFault {
    match (class, answer.retry_after) {
        (SendFault::Retry { .. }, Some(after)) => SendFault::Retry { after: Some(after) },
        _ => class,
    }
}

/// `Retry-After` in either form (RFC 9110, 10.2.3). A date is measured by the sender's own `Date`.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(value).ok()?;
            let now = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
            (at - now).to_std().unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}
