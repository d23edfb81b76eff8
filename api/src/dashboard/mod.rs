//! The operators' dashboard at `/ops`: server-rendered pages, live by server-sent events, behind
//! the administrators' sign-in. Everything it needs is embedded in the program.
//!
//! Handlers here read through `store` and render a template of `api/templates`; styles and scripts
//! are in `api/static`. No page holds a script or a style of its own, so the policy forbids both.

mod assets;
mod backups;
mod backups_chart;
mod bulk;
mod commission_payouts;
mod commission_periods;
mod commission_plans;
mod commissions;
mod data;
mod deliveries;
mod endpoints;
mod error;
mod errors;
mod fleet;
mod format;
mod job_view;
mod jobs;
mod keys;
mod kinds;
mod lead_taken_back;
mod lead_work;
mod leads;
mod lines;
mod live;
mod look;
mod messages;
mod overview;
mod pauses;
mod portals;
mod queues;
mod replays;
mod session;
mod shell;
mod workflow_graph;
mod workflows;

use crate::Api;
use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tower_http::csrf::{CsrfLayer, ProtectionError};

/// What a page may do: load our files, talk to us, frame our e-mail previews.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Every route, below `/ops`. The router is made from this list, and so is the test that walks
/// over all of them without being signed in.
fn table() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/", get(overview::show)),
        ("/login", get(session::login_form).post(session::login)),
        ("/logout", post(session::logout)),
        ("/static/{name}", get(assets::serve)),
        ("/live", get(live::live)),
        ("/jobs", get(jobs::list)),
        ("/jobs/{id}", get(jobs::show)),
        ("/jobs/{id}/{verb}", post(jobs::act)),
        ("/bulk", get(bulk::list).post(bulk::start)),
        ("/bulk/new", get(bulk::new)),
        ("/bulk/{id}", get(bulk::show)),
        ("/bulk/{id}/{verb}", post(bulk::act)),
        ("/queues", get(queues::list)),
        ("/queues/{queue}/weight", post(queues::weigh)),
        ("/queues/{queue}/{verb}", post(pauses::queue)),
        ("/partitions/{verb}", post(pauses::partition)),
        ("/limits", post(queues::set_limit)),
        ("/limits/remove", post(queues::remove_limit)),
        ("/kinds", get(kinds::list)),
        ("/kinds/{kind}/{verb}", post(kinds::act)),
        ("/workers/{worker}/{verb}", post(fleet::steer)),
        ("/keys", get(keys::show)),
        ("/errors", get(errors::list)),
        ("/errors/{fingerprint}/{verb}", post(errors::act)),
        ("/workflows", get(workflows::list)),
        ("/workflows/{id}", get(workflows::show)),
        ("/workflows/{id}/{verb}", post(workflows::act)),
        ("/leads", get(leads::list)),
        ("/leads/new", get(lead_work::form).post(lead_work::create)),
        ("/leads/{id}", get(leads::show)),
        ("/leads/{id}/note", post(lead_work::note)),
        ("/leads/{id}/convert", post(lead_work::convert)),
        ("/leads/{id}/taken-back", post(lead_taken_back::take_back)),
        ("/deliveries", get(deliveries::list)),
        ("/deliveries/{id}", get(deliveries::show)),
        ("/deliveries/{id}/raw", get(deliveries::raw)),
        ("/deliveries/{id}/rerun", post(deliveries::rerun)),
        ("/deliveries/{id}/replay", get(replays::show).post(replays::apply)),
        ("/messages", get(messages::list)),
        ("/messages/{id}", get(messages::show)),
        ("/messages/{id}/html", get(messages::html)),
        ("/messages/{id}/resend", post(messages::resend)),
        ("/commissions", get(commissions::list)),
        ("/commissions/export/{method}", post(commission_payouts::export)),
        ("/commissions/payouts/{id}/{verb}", post(commission_payouts::act)),
        ("/commissions/payout", post(commission_payouts::ask)),
        ("/commissions/plans", get(commission_plans::list)),
        ("/commissions/periods", get(commission_periods::list)),
        ("/commissions/periods/{agency}/{month}", get(commission_periods::show)),
        ("/commissions/periods/{agency}/{month}/close", post(commission_periods::close)),
        ("/commissions/statements/{month}", get(commission_periods::statement)),
        ("/commissions/{id}", get(commissions::explain)),
        ("/portals", get(portals::list)),
        ("/portals/{code}", get(portals::show)),
        ("/endpoints", get(endpoints::list)),
        ("/endpoints/{id}", get(endpoints::show)),
        ("/endpoints/{id}/deliveries/{message}", get(endpoints::delivery)),
        ("/endpoints/{id}/deliveries/{message}/resend", post(endpoints::resend)),
        ("/endpoints/{id}/{verb}", post(endpoints::act)),
        ("/portals/{code}/{verb}", post(portals::act)),
        ("/portals/{code}/rollback/{version}", post(portals::rollback)),
        ("/backups", get(backups::show)),
        ("/backups/now/{kind}", post(backups::now)),
        ("/backups/restore/{id}", post(backups::restore)),
        ("/backups/confirm/{request}", post(backups::confirm)),
        ("/backups/release", post(backups::release)),
        ("/schedules", get(fleet::schedules)),
        ("/workers", get(fleet::workers)),
    ]
}

/// The paths of every route, as declared, below `/ops`.
#[must_use]
pub fn paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).collect()
}

/// The dashboard, to be nested at `/ops`.
pub fn router(api: Api) -> Router<Api> {
    let hub = live::Hub::new(api.clone());
    let routes = table().into_iter().fold(Router::new(), |r, (path, m)| r.route(path, m));
    routes
        .fallback(unknown)
        .layer(Extension(hub))
        .layer(from_fn_with_state(api, session::guard))
        .layer(CsrfLayer::new().with_rejection_response(foreign))
        .layer(from_fn(careful))
}

async fn unknown() -> Response {
    error::OpsError::not_found("There is no such screen.").into_response()
}

/// An action that another site set going.
fn foreign(_: ProtectionError) -> Response<Body> {
    let gate = error::Gate {
        title: "Refused",
        message: "This action was sent by a page of another site. Nothing was changed.",
        sign_in: None,
        email: "",
    };
    gate.page(StatusCode::FORBIDDEN)
}

/// Headers of every answer; one that a handler set itself stands.
async fn careful(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 6] = [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
