//! The OpenAPI document: what the handlers declare, and what holds for all of them, added once.

use crate::auth::is_public;
use serde_json::json;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

const BEARER: &str = "bearer";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Switchyard",
        description = "Portals deliver leads, agencies take them, administrators watch.\n\n\
            Every answer is an envelope: `{success, message, data, timestamp}`, and for errors also \
            `error: {code, details}`. Send `X-Request-Id` and `traceparent` to find your request \
            again in logs and jobs; the answer carries the request id.\n\n\
            503 always means: nothing was stored that you must know of, send it again after \
            `Retry-After`."
    ),
    tags(
        (name = "webhooks", description = "Where portals deliver."),
        (name = "sign-in", description = "Tokens."),
        (name = "agency", description = "An agency's own leads and territories."),
        (name = "leads", description = "Leads and the work on them, for agencies (their own) and operators (all)."),
        (name = "commissions", description = "What was earned, why, and how it is paid out."),
        (name = "line", description = "Events, leads, messages and portals, for operators."),
        (name = "endpoints", description = "Outbound webhooks: who hears of what, and what became of it."),
        (name = "jobs", description = "Queues, jobs and workers, for operators."),
        (name = "agencies", description = "Agencies, for operators."),
        (name = "backups", description = "Backups, proven by restoring them, for operators."),
        (name = "health", description = "Health and metrics.")
    )
)]
struct Base;

/// The document before any route is in it.
pub(crate) fn base() -> OpenApi {
    Base::openapi()
}

/// Adds to every operation what holds for all: the token, the answers that any route may give, and
/// an example for every refusal.
pub(crate) struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("`data.token` of a sign-in."))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme(BEARER, SecurityScheme::Http(scheme));
        for (path, item) in &mut document.paths.paths {
            let public = is_public(path);
            for operation in operations(item) {
                complete(operation, public);
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]
        .into_iter()
        .filter_map(Option::as_mut)
}

fn complete(operation: &mut Operation, public: bool) {
    let mut common = vec![
        ("500", "Our fault; the request id leads to the reason."),
        ("503", "Not now: the database is away, or too much is coming in. See `Retry-After`."),
    ];
    if operation.request_body.is_some() {
        common.push(("400", "The request cannot be read; says where."));
        common.push(("408", "The body did not arrive in time."));
        common.push(("413", "The body is larger than 1 MiB."));
        common.push(("415", "Not JSON by its content type."));
        common.push(("422", "It can be read but does not make sense."));
    } else if operation.parameters.as_ref().is_some_and(|p| !p.is_empty()) {
        common.push(("400", "A parameter does not fit."));
    }
    if !public {
        let needs = SecurityRequirement::new(BEARER, Vec::<String>::new());
        operation.security.get_or_insert_default().push(needs);
        common.push(("401", "No token, or one that is not valid (any more)."));
        common.push(("403", "The token's role may not do this."));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in common {
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(refusal(description)));
    }
    for (status, response) in responses.iter_mut() {
        if let (true, RefOr::T(response)) = (status.starts_with(['4', '5']), response) {
            exemplify(status, response);
        }
    }
}

fn refusal(description: &str) -> Response {
    let schema = Ref::from_schema_name("ErrorEnvelope");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

fn exemplify(status: &str, response: &mut Response) {
    let (code, message) = match status {
        "400" => ("invalid_json", "the body is not JSON that we can read: at line 1, column 7"),
        "401" => ("unauthenticated", "sign in, then send the token as a bearer token"),
        "403" => ("forbidden", "the role `agency` may not do this (jobs.read)"),
        "404" => ("not_found", "there is no such thing, or it is not yours"),
        "408" => ("body_timeout", "the body did not arrive in time; please send it again"),
        "409" => ("wrong_state", "the job is completed"),
        "413" => ("payload_too_large", "the body is larger than 1048576 bytes"),
        "415" => ("unsupported_media_type", "send JSON, with `Content-Type: application/json`"),
        "422" => ("invalid_email", "The e-mail address has no `@` between name and domain."),
        "429" => ("too_many_requests", "too many attempts; wait, then try again"),
        "503" => ("database_unavailable", "the database is not available; please send again"),
        _ => ("internal", "something went wrong on our side"),
    };
    let example = json!({
        "success": false,
        "message": message,
        "data": null,
        "timestamp": "2026-03-01T12:00:00Z",
        "error": { "code": code },
    });
    for content in response.content.values_mut() {
        if let RefOr::T(content) = content {
            content.example.get_or_insert_with(|| example.clone());
        }
    }
}
