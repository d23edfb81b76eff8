//! A stand-in for the transfers of Stripe Connect. Bodies as in
//! <https://docs.stripe.com/api/transfers>, errors as in <https://docs.stripe.com/api/errors>; an
//! idempotency key is answered as <https://docs.stripe.com/api/idempotent_requests> says.

use super::http::{Api, HttpFake, HttpStep, Understood, header};
use super::record::{Received, Record, Script};
use axum::http::{HeaderMap, Uri};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use switchyard_providers::payments::StripeConfig;

const KEY: &str = "sk_test_fake";

/// A running fake Stripe; it stops when this is dropped. Its marker is the `Idempotency-Key`; a question
/// has none.
pub struct FakeStripe {
    server: HttpFake,
    books: Books,
}

/// The transfers that were made, by idempotency key.
type Books = Arc<Mutex<BTreeMap<String, Value>>>;

impl FakeStripe {
    /// Starts one on a free port. It knows every account but `acct_missing` and `acct_poor`, for which
    /// the balance does not suffice.
    pub async fn start() -> Self {
        let books = Books::default();
        Self { server: HttpFake::start(StripeApi(Arc::clone(&books))).await, books }
    }

    /// What came.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.server.record
    }

    /// What is answered next.
    #[must_use]
    pub fn script(&self) -> &Script<HttpStep> {
        &self.server.script
    }

    /// The transfers that were made.
    #[must_use]
    pub fn transfers(&self) -> Vec<Value> {
        lock(&self.books).values().cloned().collect()
    }

    /// A configuration that pays here.
    #[must_use]
    pub fn config(&self) -> StripeConfig {
        let base_url = self.server.url();
        StripeConfig { base_url, secret_key: Some(KEY.into()), ..StripeConfig::default() }
    }
}

fn lock(books: &Books) -> MutexGuard<'_, BTreeMap<String, Value>> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

struct StripeApi(Books);

fn pairs(text: &str) -> Map<String, Value> {
    reqwest::Url::parse(&format!("x:?{text}"))
        .map(|u| u.query_pairs().map(|(k, v)| (k.into_owned(), Value::from(v))).collect())
        .unwrap_or_default()
}

fn refused(kind: &str, code: &str, message: &str) -> Value {
    let doc_url = format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-"));
    json!({ "error": { "type": kind, "code": code, "message": message, "doc_url": doc_url } })
}

impl Api for StripeApi {
    fn read(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Understood {
        let asks = body.is_empty();
        let text = String::from_utf8_lossy(body).into_owned();
        let form = pairs(if asks { uri.query().unwrap_or_default() } else { &text });
        let field = |name: &str| form.get(name).and_then(Value::as_str).unwrap_or_default();
        let authorization = header(headers, "authorization").map(str::to_owned);
        let marker = header(headers, "idempotency-key").unwrap_or_default().to_owned();
        let invalid = "invalid_request_error";
        let refusal = if uri.path() != "/v1/transfers" {
            Some((404, refused(invalid, "url_invalid", "Unrecognized request URL")))
        } else if authorization.as_deref() != Some(&format!("Bearer {KEY}")) {
            let message = "Invalid API Key provided: sk_test_****";
            Some((401, json!({ "error": { "type": invalid, "message": message } })))
        } else if header(headers, "stripe-version").is_none() {
            Some((400, refused(invalid, "parameter_missing", "Missing the API version")))
        } else if asks {
            None
        } else if field("amount").parse::<i64>().map_or(true, |a| a < 1) {
            let message = "This value must be greater than or equal to 1.";
            Some((400, refused(invalid, "parameter_invalid_integer", message)))
        } else if field("destination") == "acct_missing" {
            Some((400, refused(invalid, "resource_missing", "No such destination: 'acct_missing'")))
        } else if field("destination") == "acct_poor" {
            let message = "You have insufficient available funds in your Stripe account.";
            Some((400, refused(invalid, "balance_insufficient", message)))
        } else {
            self.other_parameters(&marker, &form)
        };
        let received = Received {
            marker,
            recipient: field("destination").to_owned(),
            accepted: false,
            authorization,
            body: Value::Object(form),
        };
        Understood { received, refusal }
    }

    fn success(&self, received: &Received) -> (u16, Value) {
        let mut books = lock(&self.0);
        if !received.accepted {
            // The connection is cut before anybody reads this.
            return (200, Value::Null);
        }
        if received.marker.is_empty() {
            let group = &received.body["transfer_group"];
            let data: Vec<_> = books.values().filter(|t| t["transfer_group"] == *group).collect();
            let list = json!({ "object": "list", "data": data, "has_more": false, "url": "/v1/transfers" });
            return (200, list);
        }
        let amount: i64 =
            received.body["amount"].as_str().and_then(|a| a.parse().ok()).unwrap_or_default();
        let made = books.entry(received.marker.clone()).or_insert_with(|| {
            json!({
                "id": format!("tr_{}", uuid::Uuid::new_v4().simple()), "object": "transfer",
                "amount": amount, "amount_reversed": 0, "balance_transaction": "txn_fake",
                "created": chrono::Utc::now().timestamp(), "currency": received.body["currency"],
                "description": received.body["description"],
                "destination": received.body["destination"], "destination_payment": "py_fake",
                "livemode": false, "metadata": { "payout": received.body["metadata[payout]"] },
                "reversals": { "object": "list", "data": [], "has_more": false },
                "reversed": false, "source_transaction": null, "source_type": "card",
                "transfer_group": received.body["transfer_group"],
            })
        });
        (200, made.clone())
    }

    fn error(&self, status: u16, _: i64, message: &str) -> Value {
        let (kind, code) = match (status, message) {
            (429, _) => ("invalid_request_error", "rate_limit"),
            (409, _) => ("idempotency_error", "idempotency_key_in_use"),
            (500.., _) => ("api_error", "api_error"),
            (_, word) => ("invalid_request_error", word),
        };
        refused(kind, code, message)
    }
}

impl StripeApi {
    /// The same key with other parameters.
    fn other_parameters(&self, marker: &str, form: &Map<String, Value>) -> Option<(u16, Value)> {
        let books = lock(&self.0);
        let made = books.get(marker)?;
        let asked = form.get("amount")?.as_str()?;
        let same = made["amount"].to_string().as_str() == asked
            && Some(&made["destination"]) == form.get("destination");
        let message = "Keys for idempotent requests can only be used with the same parameters they \
                       were first used with.";
        let error = json!({ "error": { "type": "idempotency_error", "message": message } });
        (!same).then_some((400, error))
    }
}
