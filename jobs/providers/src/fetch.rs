//! Fetching what a sender left out: one GET for JSON, with the portal's token.

mod fault;

pub use fault::{FetchClass, FetchFault};

use crate::http::retry_after;
use crate::{GuardPolicy, GuardedClient, UrlRefused};
use ipnet::IpNet;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::time::Duration;
use switchyard_domain::secrets::{MasterKey, PORTAL_ENRICH};
use zeroize::Zeroizing;

/// Most bytes of an answer. A lead has a few thousand.
const MOST_BYTES: usize = 1 << 20;

/// How the rest of a lead is fetched.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchConfig {
    /// Longest time of one request, in seconds.
    pub timeout_secs: u64,
    /// Also `http:` addresses. For tests: the token is sent in clear.
    pub allow_http: bool,
    /// Networks that may be asked though they are not public; see [`GuardPolicy::allow_private`].
    #[serde(skip)]
    pub allow_private: Vec<IpNet>,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self { timeout_secs: 20, allow_http: false, allow_private: Vec::new() }
    }
}

/// A portal's token, sealed, and where it belongs in a request.
#[derive(Clone)]
pub struct FetchToken {
    sealed: Vec<u8>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Header { name: String, prefix: String },
    Query { name: String },
}

impl FetchToken {
    /// In a header, after `prefix`.
    #[must_use]
    pub fn in_header(sealed: Vec<u8>, name: String, prefix: String) -> Self {
        Self { sealed, place: Place::Header { name, prefix } }
    }

    /// In the URL's query.
    #[must_use]
    pub fn in_query(sealed: Vec<u8>, name: String) -> Self {
        Self { sealed, place: Place::Query { name } }
    }
}

impl fmt::Debug for FetchToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FetchToken({:?})", self.place)
    }
}

/// Fetches. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Result<GuardedClient, String>,
    key: Option<MasterKey>,
}

impl Fetcher {
    /// A fetcher. Where there is no HTTPS on this machine it says so when it is used.
    #[must_use]
    pub fn new(config: &FetchConfig) -> Self {
        let policy = GuardPolicy {
            allow_private: config.allow_private.clone(),
            allow_http: config.allow_http,
            timeout: Duration::from_secs(config.timeout_secs.clamp(1, 90)),
            ..GuardPolicy::default()
        };
        let client = GuardedClient::new(policy).map_err(|e| e.message);
        Self { client, key: None }
    }

    /// The same with the key that opens portals' tokens.
    #[must_use]
    pub fn opening_with(self, key: Option<MasterKey>) -> Self {
        Self { key, ..self }
    }

    /// The JSON at this address, asked for with these header fields. Redirects are not followed: they would carry the token elsewhere.
    ///
    /// # Errors
    /// [`FetchFault`], which says whether to try again.
    pub async fn get(
        &self,
        url: &str,
        token: Option<&FetchToken>,
        headers: &[(String, String)],
    ) -> Result<Value, FetchFault> {
        let client = self.client.as_ref().map_err(|e| FetchFault::refused("tls", e.clone()))?;
        let refused = |why: UrlRefused| {
            FetchFault::refused("address", format!("{why}; see `enrich.url` of the portal"))
        };
        // Portals' settings name the host, senders the rest: what only we can reach is out of reach.
        let url = client.policy().parse(url).map_err(refused)?;
        let client = client.client_for(&url).map_err(refused)?;
        // First the fixed ones, which replace what they name: the token is never among them.
        let request = self.authorised(client, url, token)?.headers(fixed(headers)?);
        let response = request.send().await.map_err(|e| FetchFault::broken(&e.without_url()))?;
        let status = response.status();
        let wait = retry_after(response.headers());
        let body = read(response).await?;
        if !status.is_success() {
            return Err(FetchFault::of_answer(status, wait, &body));
        }
        serde_json::from_slice(&body).map_err(|e| {
            FetchFault::refused("no_json", format!("the provider's answer is no JSON: {e}"))
        })
    }

    fn authorised(
        &self,
        client: &Client,
        mut url: Url,
        token: Option<&FetchToken>,
    ) -> Result<RequestBuilder, FetchFault> {
        let Some(token) = token else { return Ok(client.get(url)) };
        let refused = |what: String| FetchFault::refused("token", what);
        let key = self.key.as_ref().ok_or_else(|| {
            refused(
                "this worker has no master key; set SWITCHYARD_SECRET_KEY for it too".to_owned(),
            )
        })?;
        let plain = key.open(PORTAL_ENRICH, &token.sealed).map_err(|e| refused(format!("{e}")))?;
        let plain = std::str::from_utf8(&plain).map_err(|e| refused(e.to_string()))?.trim();
        Ok(match &token.place {
            Place::Query { name } => {
                url.query_pairs_mut().append_pair(name, plain);
                client.get(url)
            }
            Place::Header { name, prefix } => {
                let name = HeaderName::try_from(name.as_str())
                    .map_err(|_| refused(format!("`{name}` is no header name")))?;
                let text = Zeroizing::new(format!("{prefix}{plain}"));
                let mut value = HeaderValue::from_str(&text)
                    .map_err(|_| refused("the token does not fit into a header".to_owned()))?;
                value.set_sensitive(true);
                client.get(url).header(name, value)
            }
        })
    }
}

/// What every request says, and what the portal's settings add.
fn fixed(headers: &[(String, String)]) -> Result<HeaderMap, FetchFault> {
    let mut fixed = HeaderMap::new();
    fixed.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        let (Ok(parsed), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            let message = format!("`{name}` cannot be sent; mend `enrich.headers` of the portal");
            return Err(FetchFault::refused("headers", message));
        };
        fixed.insert(parsed, value);
    }
    Ok(fixed)
}

async fn read(mut response: Response) -> Result<Vec<u8>, FetchFault> {
    let too_long =
        || FetchFault::refused("too_long", "the provider's answer has more than 1 MiB".to_owned());
    let told = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if told.is_some_and(|n: usize| n > MOST_BYTES) {
        return Err(too_long());
    }
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|e| FetchFault::broken(&e.without_url()))?
    {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_only_we_can_reach_is_not_asked() {
        let fetcher = Fetcher::new(&FetchConfig::default());
        for inside in [
            "https://127.0.0.1/lead",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/lead",
            "https://10.0.0.8/lead",
            "https://me:secret@example.com/lead",
            "http://example.com/lead",
            "file:///etc/passwd",
        ] {
            let fault = fetcher.get(inside, None, &[]).await.err();
            let class = fault.as_ref().map(|f| f.class);
            assert_eq!(class, Some(FetchClass::Refused), "{inside}: {fault:?}");
        }
        // A name is judged by the addresses that it stands for.
        let fault = fetcher.get("https://localhost/lead", None, &[]).await.err();
        assert!(fault.is_some(), "localhost was asked");
    }
}
