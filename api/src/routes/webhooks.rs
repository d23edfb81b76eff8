//! Where portals deliver. Thin: who is it, is it JSON, commit, answer.

use crate::envelope::Envelope;
use crate::extract::{ApiPath, json_only, read_body};
use crate::ingest::Ingest;
use crate::portals::Sender;
use crate::{Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use switchyard_catalog::line::{self, Delivery};
use switchyard_domain::body::BodyFault;
use switchyard_domain::{Headers, delivery};
use switchyard_store::events::{Ingested, NewEvent};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Names the event in answers whose body is the portal's own.
const EVENT_ID: HeaderName = HeaderName::from_static("switchyard-event-id");

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(deliver)).routes(routes!(deliver_below))
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

/// Deliver an event
///
/// The body is whatever the portal's mapping reads; the demo portal takes the standard lead as flat
/// JSON. The API key goes where the portal's settings say (by default the header `X-API-Key`); a
/// portal may also sign the raw body. The event is committed before the answer. The same event
/// again (the sender's id, else the same body within a day) is answered 200 with the first event's
/// id. A portal may have its own status and body for accepted events.
#[utoipa::path(post, path = "/api/webhooks/{portal_code}", tag = "webhooks",
    operation_id = "webhook",
    params(("portal_code" = String, Path, description = "The portal", example = "demo")),
    request_body(content = Object, content_type = "application/json",
        description = "At most 1 MiB of JSON in UTF-8.",
        example = json!({"id": "a-1", "first_name": "Jan", "last_name": "Kowalski",
            "email": "jan.kowalski@example.com", "phone": "+48 501 234 567",
            "postal_code": "00-950", "country": "PL", "product": "2-room flat",
            "message": "When can I see it?"})),
    responses(
        (status = 200, description = "Received before; nothing was stored.",
            body = Envelope<Receipt>),
        (status = 202, description = "Committed; the rest happens in the background.",
            body = Envelope<Receipt>),
        (status = 400, description = "Not JSON, not UTF-8 or too deep; says where.",
            body = ErrorEnvelope),
        (status = 401, description = "The API key or the signature is wrong.",
            body = ErrorEnvelope),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time.", body = ErrorEnvelope),
        (status = 413, description = "The body is larger than 1 MiB.", body = ErrorEnvelope),
        (status = 415, description = "Not JSON by its content type.", body = ErrorEnvelope)))]
async fn deliver(
    State(api): State<Api>,
    Extension(ingest): Extension<Ingest>,
    context: RequestContext,
    ApiPath(code): ApiPath<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let request = Request { context, code, rest: None, query, headers, body };
    counted(request, &api, &ingest).await
}

/// Deliver an event to a URL that holds the key
///
/// For portals that post to a URL of their own shape, such as
/// `/api/webhooks/indomio_immobiliare/tok_123/contact`: the first segment after the portal's code
/// is the API key if the portal's settings say so. All else is as in the shorter form.
#[utoipa::path(post, path = "/api/webhooks/{portal_code}/{*rest}", tag = "webhooks",
    operation_id = "webhook_below",
    params(("portal_code" = String, Path, description = "The portal", example = "demo"),
        ("rest" = String, Path, description = "The key, and what the portal appends",
            example = "tok_123/contact")),
    request_body(content = Object, content_type = "application/json",
        description = "At most 1 MiB of JSON in UTF-8.",
        example = json!({"id": "a-1", "email": "jan.kowalski@example.com"})),
    responses(
        (status = 200, description = "Received before; nothing was stored.",
            body = Envelope<Receipt>),
        (status = 202, description = "Committed; the rest happens in the background.",
            body = Envelope<Receipt>),
        (status = 400, description = "Not JSON, not UTF-8 or too deep; says where.",
            body = ErrorEnvelope),
        (status = 401, description = "The API key or the signature is wrong.",
            body = ErrorEnvelope),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time.", body = ErrorEnvelope),
        (status = 413, description = "The body is larger than 1 MiB.", body = ErrorEnvelope),
        (status = 415, description = "Not JSON by its content type.", body = ErrorEnvelope)))]
async fn deliver_below(
    State(api): State<Api>,
    Extension(ingest): Extension<Ingest>,
    context: RequestContext,
    ApiPath((code, rest)): ApiPath<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let request = Request { context, code, rest: Some(rest), query, headers, body };
    counted(request, &api, &ingest).await
}

/// A delivery before anything is known of it.
struct Request {
    context: RequestContext,
    code: String,
    rest: Option<String>,
    query: Option<String>,
    headers: HeaderMap,
    body: Body,
}

/// Refused deliveries are counted, not stored. Only real portals become labels.
async fn counted(request: Request, api: &Api, ingest: &Ingest) -> Response {
    let sender = match api.portals.find(api, &request.code).await {
        Ok(sender) => sender,
        Err(e) => return count("unknown", e.code(), e.into_response()),
    };
    match accept(request, &sender, api, ingest).await {
        Ok(done) => {
            let outcome = if done.duplicate { "duplicate" } else { "accepted" };
            count(&sender.code, outcome, answer(&sender, done))
        }
        Err(e) => count(&sender.code, e.code(), e.into_response()),
    }
}

fn count(portal: &str, outcome: &'static str, response: Response) -> Response {
    metrics::counter!("switchyard_webhooks_total",
        "portal" => portal.to_owned(), "outcome" => outcome)
    .increment(1);
    response
}

/// Cheap checks first; the body is read only for somebody who knows the key.
async fn accept(
    request: Request,
    sender: &Sender,
    api: &Api,
    ingest: &Ingest,
) -> Result<Ingested, ApiError> {
    let headers = fields(&request.headers);
    let segment = request.rest.as_deref().and_then(|r| r.split('/').next());
    sender.check_key(&headers, segment, request.query.as_deref())?;
    json_only(&request.headers)?;
    let (limit, patience) = (api.config.body_limit, api.config.body_timeout);
    let body = read_body(&request.headers, request.body, limit, patience).await?;
    sender.check_signature(api, &headers, &body)?;
    let value = sender.settings.decode(&headers, &body).map_err(unreadable)?;
    ingest.submit(event(sender, &headers, &value, &body, &request.context)?).await
}

fn unreadable(fault: BodyFault) -> ApiError {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_REQUEST);
    ApiError::new(status, fault.code, fault.message).details(fault.place)
}

fn fields(headers: &HeaderMap) -> Headers {
    let text = |v: &HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect()
}

fn event(
    sender: &Sender,
    headers: &Headers,
    value: &Value,
    body: &Bytes,
    context: &RequestContext,
) -> Result<NewEvent, ApiError> {
    let delivery = Delivery {
        portal: sender.id,
        key: delivery::key(&sender.settings, headers, value, body),
        body: body.to_vec(),
        headers: headers.without(&sender.settings.credential_headers()),
        url: None,
        remote_addr: Some(context.client.to_string()),
    };
    line::event(delivery, &context.as_cause()).map_err(ApiError::internal)
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
