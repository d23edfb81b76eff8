//! A stand-in for Meta's Cloud API. Bodies as in
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages>.

use super::http::{Api, HttpFake, HttpStep, Understood, header};
use super::record::{Received, Record, Script};
use axum::http::{HeaderMap, Uri};
use serde_json::{Value, json};
use switchyard_providers::{MetaConfig, ProvidersConfig, WhatsAppKind};

const NUMBER: &str = "106540352242922";
const TOKEN: &str = "fake-meta-token";

/// A running fake Meta; it stops when this is dropped. Its marker is the
/// `biz_opaque_callback_data`.
pub struct FakeMeta(HttpFake);

impl FakeMeta {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self(HttpFake::start(Meta).await)
    }

    /// What came.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.0.record
    }

    /// What is answered next.
    #[must_use]
    pub fn script(&self) -> &Script<HttpStep> {
        &self.0.script
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// A configuration that sends here.
    #[must_use]
    pub fn config(&self) -> ProvidersConfig {
        let meta = MetaConfig {
            base_url: self.url(),
            phone_number_id: NUMBER.to_owned(),
            access_token: Some(TOKEN.into()),
            ..MetaConfig::default()
        };
        ProvidersConfig { whatsapp: WhatsAppKind::Meta, meta, ..ProvidersConfig::default() }
    }
}

struct Meta;

impl Api for Meta {
    fn read(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Understood {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let authorization = header(headers, "authorization").map(str::to_owned);
        let known =
            uri.path().starts_with("/v") && uri.path().ends_with(&format!("/{NUMBER}/messages"));
        let refusal = if authorization != Some(format!("Bearer {TOKEN}")) {
            Some((401, 190, "Invalid OAuth access token - Cannot parse access token"))
        } else if !known {
            Some((400, 100, "Unsupported post request. Object does not exist"))
        } else if body["messaging_product"] != "whatsapp" {
            Some((400, 100, "(#100) The parameter messaging_product is required."))
        } else if field("to").is_empty() {
            Some((400, 131008, "(#131008) Required parameter is missing"))
        } else if body[field("type")].is_null() {
            Some((400, 131009, "(#131009) Parameter value is not valid"))
        } else {
            None
        };
        let received = Received {
            marker: field("biz_opaque_callback_data"),
            recipient: field("to"),
            accepted: false,
            authorization,
            body,
        };
        let refusal = refusal.map(|(status, code, said)| (status, self.error(status, code, said)));
        Understood { received, refusal }
    }

    fn success(&self, received: &Received) -> (u16, Value) {
        let id = format!("wamid.HBgL{}", uuid::Uuid::new_v4().simple());
        let wa_id = received.recipient.trim_start_matches('+');
        let body = json!({
            "messaging_product": "whatsapp",
            "contacts": [{ "input": received.recipient, "wa_id": wa_id }],
            "messages": [{ "id": id }],
        });
        (200, body)
    }

    fn error(&self, _: u16, code: i64, message: &str) -> Value {
        json!({ "error": {
            "message": message, "type": "OAuthException", "code": code,
            "error_data": { "messaging_product": "whatsapp", "details": format!("Details of {code}.") },
            "fbtrace_id": "AbCdEfGhIjKlMnOp",
        }})
    }
}
