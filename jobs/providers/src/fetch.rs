//! Fetching what a sender left out: one GET for JSON, with the portal's token.

mod fault;

pub use fault::{FetchClass, FetchFault};

use crate::ConfigFault;
use crate::http::{client, retry_after};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, HeaderName, HeaderValue};
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
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self { timeout_secs: 20, allow_http: false }
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
    client: Result<Client, String>,
    allow_http: bool,
    key: Option<MasterKey>,
}

impl Fetcher {
    /// A fetcher. Where there is no HTTPS on this machine it says so when it is used.
    #[must_use]
    pub fn new(config: &FetchConfig) -> Self {
        let client = client(Duration::from_secs(config.timeout_secs.clamp(1, 90)));
        let client = client.map_err(|e: ConfigFault| e.message);
        Self { client, allow_http: config.allow_http, key: None }
    }

    /// The same with the key that opens portals' tokens.
    #[must_use]
    pub fn opening_with(self, key: Option<MasterKey>) -> Self {
        Self { key, ..self }
    }

    /// The JSON at this address. Redirects are not followed: they would carry the token elsewhere.
    ///
    /// # Errors
    /// [`FetchFault`], which says whether to try again.
    pub async fn get(&self, url: &str, token: Option<&FetchToken>) -> Result<Value, FetchFault> {
        let client = self.client.as_ref().map_err(|e| FetchFault::refused("tls", e.clone()))?;
        let url = self.admitted(url)?;
        let request = self.authorised(client, url, token)?.header(ACCEPT, "application/json");
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

    /// The one gate for addresses: they come from portals' settings and from what senders sent.
    fn admitted(&self, url: &str) -> Result<Url, FetchFault> {
        let refused = |what: &str| Err(FetchFault::refused("address", what.to_owned()));
        let Ok(url) = Url::parse(url) else {
            return refused("the address of the rest of the lead is no URL; mend `enrich.url`");
        };
        if url.scheme() != "https" && !(self.allow_http && url.scheme() == "http") {
            return refused("the rest of a lead is fetched by https only; mend `enrich.url`");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("`enrich.url` must hold no login; set `secrets.enrich_token`");
        }
        Ok(url)
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
