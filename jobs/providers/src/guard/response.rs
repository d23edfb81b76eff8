//! An answer from a stranger's server: read in part and within a time.

use super::UrlRefused;
use crate::http::retry_after;
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use std::error::Error;
use std::time::{Duration, Instant};

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The HTTP status.
    pub status: u16,
    /// The first bytes, as many as the policy keeps. Empty if the body could not be read.
    pub body: Vec<u8>,
    /// There was more, or the body broke off.
    pub truncated: bool,
    /// `Content-Type`, if it is text.
    pub content_type: Option<String>,
    /// `Retry-After` in either form, at most a day.
    pub retry_after: Option<Duration>,
    /// From the beginning of the call to the end of what was read.
    pub took: Duration,
}

impl Fetched {
    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer. Holds no URL: a path may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum GuardFault {
    /// It is not called at all.
    #[error(transparent)]
    Refused(#[from] UrlRefused),
    /// The request cannot be made of this: a header's value, say.
    #[error("the request cannot be built: a header has characters that cannot be sent")]
    Request,
    /// Nothing was sent.
    #[error("the server cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// No whole answer within the policy's time. The request may have been read.
    #[error("no answer came within {0:?}")]
    TimedOut(Duration),
    /// The connection broke. The request may have been read.
    #[error("the connection broke before the answer came")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

/// Sends a request and reads what of the answer is wanted.
pub(super) async fn read(
    request: RequestBuilder,
    timeout: Duration,
    limit: usize,
) -> Result<Fetched, GuardFault> {
    let begun = Instant::now();
    let whole = async {
        let mut response = request.send().await.map_err(|e| fault(e, timeout))?;
        let (mut body, mut truncated) = (Vec::new(), false);
        // The status is the answer; a body that breaks off takes nothing away from it.
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = limit - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        truncated = true;
                        break;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    truncated = true;
                    break;
                }
            }
        }
        Ok(Fetched {
            status: response.status().as_u16(),
            content_type: content_type(response.headers()),
            retry_after: retry_after(response.headers()),
            body,
            truncated,
            took: begun.elapsed(),
        })
    };
    // Over all of it: the client's own timeouts begin after the look-up of the name.
    tokio::time::timeout(timeout, whole).await.unwrap_or(Err(GuardFault::TimedOut(timeout)))
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    headers.get(reqwest::header::CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}

fn fault(e: reqwest::Error, timeout: Duration) -> GuardFault {
    let e = e.without_url();
    if let Some(refused) = refused(&e) {
        GuardFault::Refused(refused)
    } else if e.is_timeout() {
        GuardFault::TimedOut(timeout)
    } else if e.is_connect() {
        GuardFault::Unreachable(e.into())
    } else if e.is_builder() {
        GuardFault::Request
    } else {
        GuardFault::Broken(e.into())
    }
}

/// What the resolver said, deep in the client's error.
fn refused(e: &(dyn Error + 'static)) -> Option<UrlRefused> {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(refused) = e.downcast_ref::<UrlRefused>() {
            return Some(refused.clone());
        }
        next = e.source();
    }
    None
}
