//! Requests to addresses that strangers chose, without letting them reach what only we can reach
//! (SSRF): <https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html>.
//!
//! A name is looked up once, by a resolver of our own; the connection goes to the address that was
//! judged, so a second answer of the name server changes nothing. No redirect is followed and no
//! proxy of the environment is used: either would go around the judgement.

mod policy;
mod ranges;
mod resolver;
mod response;

pub use policy::{GuardPolicy, UrlRefused};
pub use ranges::is_public;
pub use response::{Fetched, GuardFault};

use crate::{ConfigFault, http};
use policy::Reach;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use resolver::Guard;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to be made, unless the whole call must be quicker.
const CONNECT: Duration = Duration::from_secs(5);

/// A client for addresses that strangers chose. Cheap to clone.
#[derive(Clone)]
pub struct GuardedClient {
    policy: Arc<GuardPolicy>,
    /// For what anybody may call: public addresses, and the private ones that are allowed.
    open: Client,
    /// For what is allowed only inside (`http:`, odd ports): reaches nothing but the allowed ones.
    inside: Client,
}

impl fmt::Debug for GuardedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedClient").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl GuardedClient {
    /// A client that keeps to this policy. Opens no connection.
    ///
    /// # Errors
    /// If no TLS can be had on this machine.
    pub fn new(policy: GuardPolicy) -> Result<Self, ConfigFault> {
        let policy = Arc::new(policy);
        let client = |reach| {
            http::builder(policy.timeout)
                .connect_timeout(policy.timeout.min(CONNECT))
                .no_proxy()
                .dns_resolver(Guard { policy: Arc::clone(&policy), reach })
                .build()
                .map_err(http::no_tls)
        };
        Ok(Self { open: client(Reach::Open)?, inside: client(Reach::Inside)?, policy })
    }

    /// The policy it keeps to.
    #[must_use]
    pub fn policy(&self) -> &GuardPolicy {
        &self.policy
    }

    /// Sends a body. Headers whose value cannot be sent are refused before anything is.
    ///
    /// # Errors
    /// [`GuardFault`] if the address is refused or no answer came; any status is an answer.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<Fetched, GuardFault> {
        self.send(Method::POST, url, headers, Some(body)).await
    }

    /// Asks for something.
    ///
    /// # Errors
    /// As [`GuardedClient::post`].
    pub async fn get(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Fetched, GuardFault> {
        self.send(Method::GET, url, headers, None).await
    }

    /// The client that may call this address.
    pub(crate) fn client_for(&self, url: &Url) -> Result<&Client, UrlRefused> {
        Ok(match self.policy.reach(url)? {
            Reach::Open => &self.open,
            Reach::Inside => &self.inside,
        })
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<Vec<u8>>,
    ) -> Result<Fetched, GuardFault> {
        let url: Url = self.policy.parse(url)?;
        let client = self.client_for(&url)?;
        let mut request = client.request(method, url).headers(map(headers)?);
        if let Some(body) = body {
            request = request.body(body);
        }
        response::read(request, self.policy.timeout, self.policy.body_limit).await
    }
}

fn map(headers: &[(&'static str, String)]) -> Result<HeaderMap, GuardFault> {
    let one = |(name, value): &(&'static str, String)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    };
    headers.iter().map(one).collect::<Option<_>>().ok_or(GuardFault::Request)
}
