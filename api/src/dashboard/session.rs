//! The operators' session: a cookie that holds the same token as the API's. Deny by default: what
//! is not the sign-in page or a static file needs it.

use super::error::Gate;
use super::shell::Notice;
use crate::auth::Role;
use crate::{Api, ApiError, RequestContext};
use axum::Form;
use axum::extract::{OriginalUri, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use secrecy::SecretString;
use serde::Deserialize;

const TOKEN: &str = "switchyard_ops";
const NAME: &str = "switchyard_ops_name";
const NOTICE: &str = "switchyard_ops_notice";

/// Who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// For the eye only; it decides nothing.
    pub name: String,
}

/// Where somebody wanted to go.
#[derive(Debug, Deserialize)]
pub(super) struct Destination {
    next: Option<String>,
}

/// The sign-in form.
#[derive(Deserialize)]
pub(super) struct Credentials {
    email: String,
    password: SecretString,
    next: Option<String>,
}

/// `GET /ops/login`
pub(super) async fn login_form(Query(query): Query<Destination>) -> Response {
    let next = inside(query.next.as_deref());
    Gate { title: "Sign in", message: "", sign_in: Some(next), email: "" }.page(StatusCode::OK)
}

/// `POST /ops/login`
pub(super) async fn login(
    State(api): State<Api>,
    context: RequestContext,
    headers: HeaderMap,
    Form(form): Form<Credentials>,
) -> Response {
    let next = inside(form.next.as_deref());
    match api.sign_in_administrator(&form.email, &form.password, context.client).await {
        Ok(session) => {
            let life = api.config.admin_token_life.as_secs();
            let secure = is_https(&headers);
            let mut response = Redirect::to(next).into_response();
            set_cookie(&mut response, TOKEN, &session.token, life, secure);
            set_cookie(&mut response, NAME, &hex::encode(&session.name), life, secure);
            response
        }
        Err(e) => {
            let status = e.status();
            let message = sentence(e.message());
            let page = Gate {
                title: "Sign in",
                message: &message,
                sign_in: Some(next),
                email: &form.email,
            };
            page.page(status)
        }
    }
}

/// `POST /ops/logout`
pub(super) async fn logout(headers: HeaderMap) -> Response {
    let secure = is_https(&headers);
    let mut response = Redirect::to("/ops/login").into_response();
    set_cookie(&mut response, TOKEN, "", 0, secure);
    set_cookie(&mut response, NAME, "", 0, secure);
    response
}

/// Lets only administrators pass, and leaves for the handlers who it is and what the last action
/// came to.
pub(super) async fn guard(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    mut request: Request,
    next: Next,
) -> Response {
    let path = uri.path();
    if path == "/ops/login" || path.starts_with("/ops/static/") {
        return next.run(request).await;
    }
    let headers = request.headers();
    let Some(token) = cookie(headers, TOKEN).map(str::to_owned) else {
        return to_login(request.method(), headers, uri.path_and_query().map(|p| p.as_str()));
    };
    let claims = match api.authenticate(&token).await {
        Ok(claims) if claims.role == Role::Admin => claims,
        Err(e) if e.status().is_server_error() => {
            return super::error::OpsError::from(e).into_response();
        }
        _ => return to_login(request.method(), headers, uri.path_and_query().map(|p| p.as_str())),
    };
    let name = cookie(headers, NAME).and_then(|v| hex::decode(v).ok());
    let name = name.and_then(|v| String::from_utf8(v).ok()).unwrap_or_default();
    let notice = cookie(headers, NOTICE).and_then(Notice::from_cookie);
    let (shown, secure) = (notice.is_some() && is_page(&request), is_https(headers));
    request.extensions_mut().insert(Operator { name });
    request.extensions_mut().insert(claims);
    if let (true, Some(notice)) = (shown, notice) {
        request.extensions_mut().insert(notice);
    }
    let mut response = next.run(request).await;
    if shown {
        set_cookie(&mut response, NOTICE, "", 0, secure);
    }
    response
}

/// A page that a person sees, not a part of one.
fn is_page(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::GET
        && !headers.contains_key("hx-request")
        && headers.get(header::ACCEPT).is_none_or(|a| a != "text/event-stream")
}

/// After an action without script: back to a page that tells what it came to.
pub(super) fn back(to: &str, notice: &Notice, headers: &HeaderMap) -> Response {
    let mut response = Redirect::to(to).into_response();
    set_cookie(&mut response, NOTICE, &notice.cookie(), 60, is_https(headers));
    response
}

fn to_login(method: &Method, headers: &HeaderMap, from: Option<&str>) -> Response {
    let from = if *method == Method::GET { inside(from) } else { "/ops" };
    // A link on another site brings no SameSite=Strict cookie. Going on from a page of our own
    // does, so somebody who is signed in does not meet the sign-in form.
    let elsewhere = headers.get("sec-fetch-site").is_some_and(|s| s == "cross-site");
    if elsewhere && *method == Method::GET && cookie(headers, TOKEN).is_none() {
        let to = askama::filters::escape(from, askama::filters::Html)
            .map_or_else(|_| String::new(), |safe| safe.to_string());
        let hop = format!(
            "<!doctype html><meta http-equiv=\"refresh\" content=\"0; url={to}\"><title>Switchyard</title>"
        );
        return Html(hop).into_response();
    }
    let login = format!("/ops/login?next={}", urlencode(from));
    if headers.contains_key("hx-request") {
        // htmx follows this header; a redirect would put the form into the middle of a page.
        return (StatusCode::UNAUTHORIZED, [("hx-redirect", login)]).into_response();
    }
    if headers.get(header::ACCEPT).is_some_and(|a| a == "text/event-stream") {
        return ApiError::unauthorized("unauthenticated", "sign in again").into_response();
    }
    Redirect::to(&login).into_response()
}

/// Only a place of our own: an open redirect would lend our name to others.
fn inside(next: Option<&str>) -> &str {
    let ours = |n: &&str| {
        let path = n.split(['?', '#']).next().unwrap_or_default();
        (path == "/ops" || path.starts_with("/ops/"))
            && path != "/ops/live"
            && n.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    next.filter(ours).unwrap_or("/ops")
}

/// Percent-encodes a value for a query.
pub(super) fn urlencode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(n, v)| *n == name && !v.is_empty())
        .map(|(_, v)| v)
}

fn set_cookie(response: &mut Response, name: &str, value: &str, seconds: u64, secure: bool) {
    let secure = if secure { "; Secure" } else { "" };
    let cookie =
        format!("{name}={value}; Path=/ops; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // Tokens and hex are plain ASCII.
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Whether the browser came by https: its own word, or the proxy's. Either lie harms the liar only.
fn is_https(headers: &HeaderMap) -> bool {
    let starts = |name: &str, with: &str| {
        headers.get(name).and_then(|v| v.to_str().ok()).is_some_and(|v| v.starts_with(with))
    };
    starts("origin", "https://") || starts("x-forwarded-proto", "https")
}

/// With a capital and a full stop: it stands alone on the page.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str().trim_end_matches('.')),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_of_our_own_are_gone_to() {
        for ours in ["/ops", "/ops/jobs?state=running&kind=a.b", "/ops?x=1"] {
            assert_eq!(inside(Some(ours)), ours);
        }
        for other in [
            "//evil.example",
            "https://evil.example/ops",
            "/opsx",
            "/api",
            "",
            "/ops/\r\nx: y",
            "/ops/live?jobs=1",
            "/ops\\evil",
        ] {
            assert_eq!(inside(Some(other)), "/ops", "{other:?}");
        }
    }

    #[test]
    fn cookies_are_found_among_others() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_static("a=1; switchyard_ops_name=x; switchyard_ops=tok.en");
        headers.insert(header::COOKIE, value);
        assert_eq!(cookie(&headers, TOKEN), Some("tok.en"));
        assert_eq!(cookie(&headers, NOTICE), None);
    }
}
