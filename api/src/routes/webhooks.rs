//! Where portals deliver. The way of a delivery is in [`crate::door`].

use crate::audit::Audit;
use crate::door::{Receipt, Request, receive};
use crate::envelope::Envelope;
use crate::extract::ApiPath;
use crate::ingest::Ingest;
use crate::{Api, ErrorEnvelope, RequestContext};
use axum::Extension;
use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::routing::put;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(deliver, ask))
        .routes(routes!(deliver_below, ask_below))
        // Some senders put; the documentation need not say everything twice.
        .route("/api/webhooks/{portal_code}", put(deliver))
        .route("/api/webhooks/{portal_code}/{*rest}", put(deliver_below))
        // Pasted with a slash at its end, the address is still the portal's.
        .route("/api/webhooks/{portal_code}/", put(deliver).post(deliver).get(ask))
}

/// The two doors that every delivery needs.
type Doors = (Extension<Ingest>, Extension<Audit>);

/// Deliver an event
///
/// The body is whatever the portal's mapping reads: JSON, a form, XML or CSV; the demo portal takes
/// the standard lead as flat JSON. The API key goes where the portal's settings say (by default the
/// header `X-API-Key`); a portal may also sign. The event is committed before the answer. The same
/// event again (the sender's id, else the same body within a day) is answered 200 with the first
/// event's id. A portal may have its own status and body for accepted events. PUT does the same.
#[utoipa::path(post, path = "/api/webhooks/{portal_code}", tag = "webhooks",
    operation_id = "webhook",
    params(("portal_code" = String, Path, description = "The portal", example = "demo")),
    request_body(content = Object, content_type = "application/json",
        description = "At most 1 MiB, or what the portal's settings say; JSON, NDJSON, forms, XML \
            or CSV.",
        example = json!({"id": "a-1", "first_name": "Jan", "last_name": "Kowalski",
            "email": "jan.kowalski@example.com", "phone": "+48 501 234 567",
            "postal_code": "00-950", "country": "PL", "product": "2-room flat",
            "message": "When can I see it?"})),
    responses(
        (status = 200, description = "Received before; nothing was stored.", body = Envelope<Receipt>),
        (status = 202, description = "Committed; the rest happens in the background.",
            body = Envelope<Receipt>),
        (status = 400, description = "The body cannot be read; says where.",
            body = ErrorEnvelope),
        (status = 401, description = "The API key or the signature is wrong.",
            body = ErrorEnvelope),
        (status = 403, description = "Sent from an address that is not the portal's.",
            body = ErrorEnvelope),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time.", body = ErrorEnvelope),
        (status = 413, description = "The body is too large, or inflates to too much.",
            body = ErrorEnvelope),
        (status = 415, description = "A content type or encoding that is not read.",
            body = ErrorEnvelope),
        (status = 429, description = "More than the portal may send; says when to come back.",
            body = ErrorEnvelope)))]
async fn deliver(
    State(api): State<Api>,
    doors: Doors,
    context: RequestContext,
    ApiPath(code): ApiPath<String>,
    asked: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (method, OriginalUri(uri)) = asked;
    let request = Request { context, method, code, rest: None, uri, headers, body };
    receive(request, &api, &doors.0, &doors.1).await
}

/// Method and address, as they came.
type Asked = (Method, OriginalUri);

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
        description = "As in the shorter form.",
        example = json!({"id": "a-1", "email": "jan.kowalski@example.com"})),
    responses(
        (status = 200, description = "Received before; nothing was stored.", body = Envelope<Receipt>),
        (status = 202, description = "Committed; the rest happens in the background.",
            body = Envelope<Receipt>),
        (status = 400, description = "The body cannot be read; says where.",
            body = ErrorEnvelope),
        (status = 401, description = "The API key or the signature is wrong.",
            body = ErrorEnvelope),
        (status = 403, description = "Sent from an address that is not the portal's.",
            body = ErrorEnvelope),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope),
        (status = 408, description = "The body did not arrive in time.", body = ErrorEnvelope),
        (status = 413, description = "The body is too large, or inflates to too much.",
            body = ErrorEnvelope),
        (status = 415, description = "A content type or encoding that is not read.",
            body = ErrorEnvelope),
        (status = 429, description = "More than the portal may send; says when to come back.",
            body = ErrorEnvelope)))]
async fn deliver_below(
    State(api): State<Api>,
    doors: Doors,
    context: RequestContext,
    ApiPath((code, rest)): ApiPath<(String, String)>,
    asked: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (method, OriginalUri(uri)) = asked;
    let request = Request { context, method, code, rest: Some(rest), uri, headers, body };
    receive(request, &api, &doors.0, &doors.1).await
}

/// Answer a portal's question
///
/// Senders that ask before they send ("is this address yours?") get their value back, if the
/// portal's settings know the question and the verify token is the portal's. HEAD is answered 200.
#[utoipa::path(get, path = "/api/webhooks/{portal_code}", tag = "webhooks",
    operation_id = "webhook_question",
    params(("portal_code" = String, Path, description = "The portal", example = "demo")),
    responses(
        (status = 200, description = "The value, bare or in JSON.", body = String,
            content_type = "text/plain"),
        (status = 403, description = "The verify token is wrong.", body = ErrorEnvelope),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope),
        (status = 405, description = "The portal's settings know no such question.",
            body = ErrorEnvelope)))]
async fn ask(
    State(api): State<Api>,
    doors: Doors,
    context: RequestContext,
    ApiPath(code): ApiPath<String>,
    asked: Asked,
    headers: HeaderMap,
) -> Response {
    let (method, OriginalUri(uri)) = asked;
    let body = Body::empty();
    let request = Request { context, method, code, rest: None, uri, headers, body };
    receive(request, &api, &doors.0, &doors.1).await
}

/// Answer a portal's question at a longer URL
///
/// As in the shorter form.
#[utoipa::path(get, path = "/api/webhooks/{portal_code}/{*rest}", tag = "webhooks",
    operation_id = "webhook_question_below",
    params(("portal_code" = String, Path, description = "The portal", example = "demo"),
        ("rest" = String, Path, description = "What the portal appends", example = "contact")),
    responses(
        (status = 200, description = "The value, bare or in JSON.", body = String,
            content_type = "text/plain"),
        (status = 403, description = "The verify token is wrong.", body = ErrorEnvelope),
        (status = 404, description = "There is no such portal.", body = ErrorEnvelope),
        (status = 405, description = "The portal's settings know no such question.",
            body = ErrorEnvelope)))]
async fn ask_below(
    State(api): State<Api>,
    doors: Doors,
    context: RequestContext,
    ApiPath((code, rest)): ApiPath<(String, String)>,
    asked: Asked,
    headers: HeaderMap,
) -> Response {
    let (method, OriginalUri(uri)) = asked;
    let body = Body::empty();
    let request = Request { context, method, code, rest: Some(rest), uri, headers, body };
    receive(request, &api, &doors.0, &doors.1).await
}
