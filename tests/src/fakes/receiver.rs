//! A stand-in for an agency's server that takes outbound webhooks.

use super::http::{Api, HttpFake, HttpStep, Understood, header};
use super::record::{Received, Record, Script};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::{Map, Value, json};

/// A running receiver; it stops when this is dropped. Its marker is the `webhook-id`, its recipient
/// the path; the body has the `headers` and the `text` that came.
pub struct FakeReceiver(HttpFake);

impl FakeReceiver {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self(HttpFake::start(Hook).await)
    }

    /// What came.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.0.record
    }

    /// What is answered next; 200 when it is over.
    #[must_use]
    pub fn script(&self) -> &Script<HttpStep> {
        &self.0.script
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.addr.port()
    }
}

/// The headers of a webhook as they came.
#[must_use]
pub fn headers_of(received: &Received) -> HeaderMap {
    let all = received.body["headers"].as_object().into_iter().flatten();
    all.filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
    })
    .collect()
}

/// The payload of a webhook as it came.
#[must_use]
pub fn text_of(received: &Received) -> String {
    received.body["text"].as_str().unwrap_or_default().to_owned()
}

struct Hook;

impl Api for Hook {
    fn read(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Understood {
        let all: Map<String, Value> = headers
            .iter()
            .map(|(name, value)| {
                (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes())))
            })
            .collect();
        let received = Received {
            marker: header(headers, "webhook-id").unwrap_or_default().to_owned(),
            recipient: uri.path().to_owned(),
            accepted: false,
            authorization: header(headers, "webhook-signature").map(str::to_owned),
            body: json!({ "headers": all, "text": String::from_utf8_lossy(body) }),
        };
        Understood { received, refusal: None }
    }

    fn success(&self, _: &Received) -> (u16, Value) {
        (200, json!({ "taken": true }))
    }

    fn error(&self, _: u16, _: i64, message: &str) -> Value {
        json!({ "error": message })
    }
}
