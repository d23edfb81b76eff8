//! The way of one delivery: from where, who is it, how much, what is it, commit, answer.

use crate::audit::Audit;
use crate::extract::read_body;
use crate::ingest::Ingest;
use crate::portals::Sender;
use crate::{Api, ApiError, Reply, RequestContext};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use switchyard_catalog::line::{self, Delivery};
use switchyard_domain::body::{self, BodyFault, Opened};
use switchyard_domain::portal::{ApiKeyPlace, Handshake, Shaken};
use switchyard_domain::signature::SignedRequest;
use switchyard_domain::{Headers, delivery};
use switchyard_store::events::{Ingested, NewEvent};
use switchyard_store::refusals::NewRefusal;
use utoipa::ToSchema;
use uuid::Uuid;

/// Names the event in answers whose body is the portal's own.
const EVENT_ID: HeaderName = HeaderName::from_static("switchyard-event-id");
/// What is kept of a refused body, bytes.
const SAMPLE: usize = 2 << 10;

/// A request before anything is known of it.
pub(crate) struct Request {
    pub(crate) context: RequestContext,
    pub(crate) method: Method,
    pub(crate) code: String,
    /// The path after the code, decoded.
    pub(crate) rest: Option<String>,
    /// The address as it came.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// The receipt of a delivery.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Receipt {
    /// The event; of a repeated delivery, the first one's.
    event_id: Uuid,
    /// This delivery was received before; nothing was stored.
    #[schema(example = false)]
    duplicate: bool,
}

/// What became of a request.
enum Outcome {
    Taken(Ingested),
    Answered(Response),
}

/// What is learnt of a request on its way, for the audit.
struct Seen {
    headers: Headers,
    method: String,
    address: String,
    request_id: String,
    body: Option<Bytes>,
}

/// Where the request went.
struct Address {
    /// As its sender knows it.
    public: String,
    /// The same without keys.
    masked: String,
    query: Option<String>,
    /// The path segment after the code, decoded.
    segment: Option<String>,
}

/// Takes a request at the door of a portal. Only real portals become labels of metrics.
pub(crate) async fn receive(
    request: Request,
    api: &Api,
    ingest: &Ingest,
    audit: &Audit,
) -> Response {
    let sender = match api.portals.find(api, &request.code).await {
        Ok(sender) => sender,
        Err(e) => {
            counted("unknown", e.code());
            return e.into_response();
        }
    };
    let mut seen = Seen {
        headers: fields(&request.headers),
        method: request.method.to_string(),
        address: request.context.client.to_string(),
        request_id: request.context.request_id.to_string(),
        body: None,
    };
    let (outcome, response) = match pass(request, &sender, api, ingest, &mut seen).await {
        Ok(Outcome::Taken(done)) => {
            (if done.duplicate { "duplicate" } else { "accepted" }, answer(&sender, done))
        }
        Ok(Outcome::Answered(response)) => ("handshake", response),
        Err(e) => {
            if audit.wants_sample(sender.id, api.clock.now()) {
                audit.keep(sample(&sender, &seen, &e));
            }
            (e.code(), refuse(&sender, e))
        }
    };
    counted(&sender.code, outcome);
    audit.count(sender.id, outcome);
    response
}

fn counted(portal: &str, outcome: &'static str) {
    metrics::counter!("switchyard_webhooks_total",
        "portal" => portal.to_owned(), "outcome" => outcome)
    .increment(1);
}

/// Cheap checks first; the body is read only for somebody who knows the key, or must prove who it
/// is by the body.
async fn pass(
    request: Request,
    sender: &Sender,
    api: &Api,
    ingest: &Ingest,
    seen: &mut Seen,
) -> Result<Outcome, ApiError> {
    let settings = &sender.settings;
    if !settings.door.admits(request.context.client) {
        let message = "this portal does not send from your address";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "address_not_allowed", message));
    }
    if request.method == Method::HEAD {
        // "Is anybody there?"
        return Ok(Outcome::Answered(StatusCode::OK.into_response()));
    }
    let address = address(&request, sender, api);
    let presented = settings.api_key.presented(
        &seen.headers,
        address.segment.as_deref(),
        address.query.as_deref(),
    );
    // A sender that was given an address with a key asks there as well.
    let by_address = settings.api_key.is_in_address();
    if by_address {
        sender.check_key(api, presented.as_deref())?;
    }
    let client = request.context.client;
    if let Some(answer) = asked_in_head(&request.method, sender, api, &address, &seen.headers)? {
        sender.check_questions(api, client).await?;
        return Ok(Outcome::Answered(answer));
    }
    let by_body = sender.is_known_by_body();
    if !by_address && !settings.api_key.is_in_body() {
        sender.check_key(api, presented.as_deref())?;
    }
    body::check_headers(&settings.door.body, &seen.headers).map_err(unreadable)?;
    if !by_body {
        sender.check_limits(api).await?;
    }
    let limit = settings.door.body.limits.bytes_or(api.config.body_limit);
    let patience = api.config.body_timeout;
    let raw = read_body(&request.headers, request.body, limit, patience).await?;
    seen.body = Some(raw.clone());
    if is_ping(sender, seen, &raw) {
        sender.check_questions(api, client).await?;
        return Ok(Outcome::Answered(StatusCode::OK.into_response()));
    }
    let parts = settings.parts(&seen.headers, &raw, limit).map_err(unreadable)?;
    let signed = SignedRequest::new(&seen.headers, &raw)
        .sent_to(&seen.method, &address.public)
        .with_parts(parts.as_ref())
        .beside_challenges(settings.door.handshake.as_ref().is_some_and(Handshake::proves));
    sender.check_signature(api, &signed)?;
    let opened = settings.open(&seen.headers, &raw, limit).map_err(unreadable)?;
    if settings.api_key.is_in_body() {
        sender.check_key(api, opened.credential.as_ref().map(|c| c.as_str()))?;
    }
    if by_body {
        sender.check_limits(api).await?;
    }
    if let Some(answer) = asked_in_body(&seen.method, sender, &opened)? {
        return Ok(Outcome::Answered(answer));
    }
    let event = event(sender, &seen.headers, opened, &raw, &address, &request.context)?;
    ingest.submit(event).await.map(Outcome::Taken)
}

/// The answer to a question that stands in the query or the headers, or `None` for a delivery. Who
/// asks is not known yet.
fn asked_in_head(
    method: &Method,
    sender: &Sender,
    api: &Api,
    address: &Address,
    headers: &Headers,
) -> Result<Option<Response>, ApiError> {
    if let Some(handshake) = &sender.settings.door.handshake {
        let shaken = handshake.in_head(
            method.as_str(),
            address.query.as_deref(),
            headers,
            sender.secrets.as_ref(),
            |token| sender.is_verify_token(api, token),
        );
        if let Some(response) = shaken_to(shaken)? {
            return Ok(Some(response));
        }
    }
    if *method == Method::GET {
        let message = "deliveries are sent by POST or PUT, and this request is no question that the \
                       portal's settings know";
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message));
    }
    Ok(None)
}

/// Is this body that of a ping, which nobody signs? A longer one is not even read.
fn is_ping(sender: &Sender, seen: &Seen, raw: &Bytes) -> bool {
    let Some(handshake) = &sender.settings.door.handshake else { return false };
    handshake.may_be_ping(&seen.method, raw.len())
        && sender
            .settings
            .open(&seen.headers, raw, raw.len())
            .is_ok_and(|opened| handshake.is_ping(&opened.value))
}

fn asked_in_body(
    method: &str,
    sender: &Sender,
    opened: &Opened,
) -> Result<Option<Response>, ApiError> {
    let Some(handshake) = &sender.settings.door.handshake else { return Ok(None) };
    shaken_to(handshake.in_body(method, &opened.value, sender.secrets.as_ref()))
}

fn shaken_to(shaken: Shaken) -> Result<Option<Response>, ApiError> {
    match shaken {
        Shaken::NoQuestion => Ok(None),
        Shaken::Refused(status, code, message) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            Err(ApiError::new(status, code, message))
        }
        Shaken::Answer { content_type, body, header } => {
            let content_type = [(header::CONTENT_TYPE, content_type)];
            let mut response = (StatusCode::OK, content_type, body).into_response();
            if let Some((name, value)) = header {
                let name = HeaderName::try_from(name).map_err(ApiError::internal)?;
                let mut value = HeaderValue::try_from(value).map_err(ApiError::internal)?;
                // It may be the secret with which the sender is going to sign.
                value.set_sensitive(true);
                response.headers_mut().insert(name, value);
            }
            Ok(Some(response))
        }
    }
}

fn unreadable(fault: BodyFault) -> ApiError {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_REQUEST);
    ApiError::new(status, fault.code, fault.message).details(fault.place)
}

fn fields(headers: &HeaderMap) -> Headers {
    let text = |v: &HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect()
}

fn address(request: &Request, sender: &Sender, api: &Api) -> Address {
    let door = &sender.settings.door;
    let server = server_address(request, api);
    let rest = rest_of(request.uri.path());
    let query = request.uri.query();
    let (code, key) = (&sender.code, &sender.settings.api_key);
    Address {
        public: door.public_url(&server, code, rest, query),
        masked: door.masked_url(key, &server, code, rest, query),
        query: query.map(str::to_owned),
        segment: request.rest.as_deref().and_then(|r| r.split('/').next()).map(str::to_owned),
    }
}

/// Scheme and host. Without a configured address what the request says: whoever lies about it gets
/// a signature that does not match.
fn server_address(request: &Request, api: &Api) -> String {
    if let Some(configured) = &api.config.public_url {
        return configured.clone();
    }
    let text = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok());
    let proxied = api.config.forwarded_hops > 0;
    let scheme = text("x-forwarded-proto").filter(|s| proxied && matches!(*s, "http" | "https"));
    format!("{}://{}", scheme.unwrap_or("http"), text("host").unwrap_or("localhost"))
}

/// The path after `/api/webhooks/<code>`, as it came.
fn rest_of(path: &str) -> &str {
    let after = path.strip_prefix("/api/webhooks/").unwrap_or_default();
    after.find('/').map_or("", |slash| &after[slash..])
}

fn event(
    sender: &Sender,
    headers: &Headers,
    opened: Opened,
    raw: &Bytes,
    address: &Address,
    context: &RequestContext,
) -> Result<NewEvent, ApiError> {
    let settings = &sender.settings;
    let mut dropped = settings.credential_headers();
    if opened.stored.is_some() {
        // What is stored is not compressed any more.
        dropped.extend(["content-encoding", "content-length"]);
    }
    let query = address.query.as_deref();
    let redacted = opened.stored.is_some();
    let delivery = Delivery {
        portal: sender.id,
        key: delivery::key_at(settings, headers, query, &opened.value, raw),
        body: opened.stored.unwrap_or_else(|| raw.to_vec()),
        headers: headers.without(&dropped),
        url: Some(address.masked.clone()),
        remote_addr: Some(context.client.to_string()),
    };
    let mut event = line::event(delivery, &context.as_cause()).map_err(ApiError::internal)?;
    event.redacted = redacted;
    Ok(event)
}

/// A refusal as it is kept. Of a portal whose key stands in the body, no body is.
fn sample(sender: &Sender, seen: &Seen, fault: &ApiError) -> NewRefusal {
    let settings = &sender.settings;
    let headers = seen.headers.without(&settings.credential_headers());
    let body = seen.body.as_ref().filter(|_| !settings.api_key.is_in_body());
    NewRefusal {
        portal: sender.id,
        address: seen.address.clone(),
        method: seen.method.chars().take(16).collect(),
        status: fault.status().as_u16(),
        code: fault.code().to_owned(),
        message: fault.message().to_owned(),
        request_id: Some(seen.request_id.clone()),
        headers: serde_json::to_value(&headers).unwrap_or_default(),
        body: body.map(|b| b[..b.len().min(SAMPLE)].to_vec()),
        body_bytes: seen.body.as_ref().and_then(|b| i64::try_from(b.len()).ok()),
    }
}

/// What a refusal's sender must know beside the sentence (RFC 9110, 11.6.1 and 15.5.6).
fn refuse(sender: &Sender, fault: ApiError) -> Response {
    let status = fault.status();
    let mut response = fault.into_response();
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST, PUT"));
    }
    if status == StatusCode::UNAUTHORIZED
        && matches!(sender.settings.api_key, ApiKeyPlace::Basic { .. })
    {
        let challenge = HeaderValue::from_static("Basic realm=\"webhooks\", charset=\"UTF-8\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The portal's own reply if it has one, for a repeated delivery too: its sender may not know
/// another answer. Else the envelope, and 200 for a repeated delivery.
fn answer(sender: &Sender, done: Ingested) -> Response {
    let reply = &sender.settings.reply;
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::ACCEPTED);
    let mut response = match &reply.body {
        Some(body) => {
            let content_type = reply.content_type.as_deref().unwrap_or("text/plain").to_owned();
            (status, [(header::CONTENT_TYPE, content_type)], body.clone()).into_response()
        }
        None if matches!(reply.status, 204 | 205) => status.into_response(),
        None => {
            let receipt = Receipt { event_id: done.event.0, duplicate: done.duplicate };
            let (status, message) = match done.duplicate {
                true => (StatusCode::OK, "received before"),
                false => (status, "accepted"),
            };
            Reply::ok(message, receipt).status(status).into_response()
        }
    };
    if let Ok(id) = HeaderValue::from_str(&done.event.to_string()) {
        response.headers_mut().insert(EVENT_ID, id);
    }
    response
}
