//! A stand-in for a provider from which the rest of a lead is fetched: Meta's Graph API. Objects as in
//! <https://developers.facebook.com/docs/marketing-api/guides/lead-ads/retrieving>, errors as in
//! <https://developers.facebook.com/docs/graph-api/guides/error-handling>.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What it answers one request, whatever is asked for.
#[derive(Clone, Debug)]
pub enum GraphStep {
    /// An error of the Graph API: status, code, subcode.
    Error(u16, i64, Option<i64>),
    /// A status without a word, with a `Retry-After` in seconds.
    Busy(u16, u64),
    /// A redirect to this address.
    Redirect(String),
    /// So many bytes of JSON.
    Long(usize),
    /// Something that is no JSON.
    Garbage,
}

#[derive(Default)]
struct Inner {
    token: String,
    leads: HashMap<String, Value>,
    script: VecDeque<GraphStep>,
    asked: Vec<String>,
    demanded: Vec<(&'static str, &'static str)>,
}

/// A running fake; it stops when this is dropped.
pub struct FakeGraph {
    addr: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    _stop: DropGuard,
}

impl FakeGraph {
    /// Starts one on a free port that wants this token.
    pub async fn start(token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let inner = Inner { token: token.to_owned(), ..Inner::default() };
        let inner = Arc::new(Mutex::new(inner));
        let app = Router::new()
            .route("/{version}/{id}", axum::routing::get(answer))
            .with_state(Arc::clone(&inner));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let _ = stopped.run_until_cancelled(axum::serve(listener, app).into_future()).await;
        });
        Self { addr, inner, _stop: stop.drop_guard() }
    }

    /// Where a lead is fetched.
    #[must_use]
    pub fn lead_url(&self, id: &str) -> String {
        format!("http://{}/v23.0/{id}", self.addr)
    }

    /// Has a lead.
    pub fn put(&self, id: &str, lead: Value) {
        self.lock().leads.insert(id.to_owned(), lead);
    }

    /// Wants another token from now on.
    pub fn want(&self, token: &str) {
        self.lock().token = token.to_owned();
    }

    /// Refuses every request without this header from now on, as LinkedIn does without its version.
    pub fn demand(&self, name: &'static str, value: &'static str) {
        self.lock().demanded.push((name, value));
    }

    /// Answers the next request so.
    pub fn then(&self, step: GraphStep) {
        self.lock().script.push_back(step);
    }

    /// The ids that were asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    State(inner): State<Arc<Mutex<Inner>>>,
    Path((_, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
    inner.asked.push(id.clone());
    match inner.script.pop_front() {
        Some(GraphStep::Error(status, code, subcode)) => return error(status, code, subcode),
        Some(GraphStep::Busy(status, seconds)) => {
            let status = StatusCode::from_u16(status).expect("a status");
            return (status, [(header::RETRY_AFTER, seconds.to_string())]).into_response();
        }
        Some(GraphStep::Redirect(to)) => {
            return (StatusCode::FOUND, [(header::LOCATION, to)]).into_response();
        }
        Some(GraphStep::Long(bytes)) => {
            return format!("\"{}\"", "x".repeat(bytes)).into_response();
        }
        Some(GraphStep::Garbage) => return "<html>Sorry</html>".into_response(),
        None => {}
    }
    let told = |(name, value): &(&str, &str)| headers.get(*name).is_some_and(|v| v == value);
    if !inner.demanded.iter().all(told) {
        let fault =
            json!({"status": 400, "code": "VERSION_MISSING", "message": "A version is missing."});
        return (StatusCode::BAD_REQUEST, axum::Json(fault)).into_response();
    }
    let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let bearer = bearer.and_then(|v| v.strip_prefix("Bearer "));
    let shown = query.get("access_token").map(String::as_str).or(bearer);
    if shown != Some(inner.token.as_str()) {
        return error(401, 190, None);
    }
    match inner.leads.get(&id) {
        Some(lead) => axum::Json(lead.clone()).into_response(),
        None => error(400, 100, Some(33)),
    }
}

fn error(status: u16, code: i64, subcode: Option<i64>) -> Response {
    let message = match (code, subcode) {
        (190, _) => "Invalid OAuth access token.",
        (100, Some(33)) => "Unsupported get request. Object does not exist.",
        _ => "An error.",
    };
    let mut error = json!({
        "message": message, "type": "OAuthException", "code": code, "fbtrace_id": "AbC",
    });
    if let Some(subcode) = subcode {
        error["error_subcode"] = json!(subcode);
    }
    let status = StatusCode::from_u16(status).expect("a status");
    (status, axum::Json(json!({ "error": error }))).into_response()
}
