//! A stand-in for Twilio's Messages API. Bodies as in
//! <https://www.twilio.com/docs/messaging/api/message-resource>.

use super::http::{Api, HttpFake, HttpStep, Understood, header};
use super::record::{Received, Record, Script};
use axum::http::{HeaderMap, Uri};
use serde_json::{Map, Value, json};
use switchyard_providers::{ProvidersConfig, TwilioConfig, WhatsAppKind};

const ACCOUNT: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const TOKEN: &str = "fake-twilio-token";
const FROM: &str = "+14155238886";

/// A running fake Twilio; it stops when this is dropped. Its marker is the `Idempotency-Key`.
pub struct FakeTwilio(HttpFake);

impl FakeTwilio {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self(HttpFake::start(Twilio).await)
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
        let twilio = TwilioConfig {
            base_url: self.url(),
            account_sid: ACCOUNT.to_owned(),
            auth_token: Some(TOKEN.into()),
            from: FROM.to_owned(),
            ..TwilioConfig::default()
        };
        ProvidersConfig { whatsapp: WhatsAppKind::Twilio, twilio, ..ProvidersConfig::default() }
    }
}

struct Twilio;

impl Api for Twilio {
    fn read(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Understood {
        let form: Map<String, Value> =
            reqwest::Url::parse(&format!("x:?{}", String::from_utf8_lossy(body)))
                .map(|u| u.query_pairs().map(|(k, v)| (k.into_owned(), Value::from(v))).collect())
                .unwrap_or_default();
        let field = |name: &str| form.get(name).and_then(Value::as_str).unwrap_or_default();
        let authorization = header(headers, "authorization").map(str::to_owned);
        let refusal = if uri.path() != format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json") {
            Some((404, 20404, "The requested resource was not found"))
        } else if authorization.as_deref() != Some(&basic()) {
            Some((401, 20003, "Authenticate"))
        } else if field("To").is_empty() {
            Some((400, 21604, "A 'To' phone number is required."))
        } else if field("From") != format!("whatsapp:{FROM}") {
            Some((400, 63007, "Twilio could not find a Channel with the specified From address"))
        } else if field("Body").is_empty() && field("ContentSid").is_empty() {
            Some((400, 21602, "Message body is required."))
        } else if field("Body").chars().count() > 1600 {
            Some((400, 21617, "The concatenated message body exceeds the 1600 character limit"))
        } else {
            None
        };
        let received = Received {
            marker: header(headers, "idempotency-key").unwrap_or_default().to_owned(),
            recipient: field("To").to_owned(),
            accepted: false,
            authorization,
            body: Value::Object(form),
        };
        let refusal = refusal.map(|(status, code, said)| (status, self.error(status, code, said)));
        Understood { received, refusal }
    }

    fn success(&self, received: &Received) -> (u16, Value) {
        let sid = format!("SM{}", uuid::Uuid::new_v4().simple());
        let now = chrono::Utc::now().to_rfc2822();
        let uri = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}");
        let body = json!({
            "account_sid": ACCOUNT, "api_version": "2010-04-01",
            "body": received.body.get("Body"),
            "date_created": now, "date_sent": null, "date_updated": now,
            "direction": "outbound-api", "error_code": null, "error_message": null,
            "from": received.body["From"], "messaging_service_sid": null,
            "num_media": "0", "num_segments": "1", "price": null, "price_unit": null,
            "sid": sid, "status": "queued",
            "subresource_uris": { "media": format!("{uri}/Media.json") },
            "to": received.body["To"], "uri": format!("{uri}.json"),
        });
        (201, body)
    }

    fn error(&self, status: u16, code: i64, message: &str) -> Value {
        let more_info = format!("https://www.twilio.com/docs/errors/{code}");
        json!({ "code": code, "message": message, "more_info": more_info, "status": status })
    }
}

fn basic() -> String {
    use base64::Engine;
    let pair = format!("{ACCOUNT}:{TOKEN}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}
