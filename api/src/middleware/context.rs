//! Every request gets an id, a trace and a span; it is counted, timed, bounded in time, and its
//! panics end here. No header value, query or path parameter is logged: they hold credentials.

use crate::{Api, ApiError};
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_catalog::line::Cause;
use switchyard_queue::{NewJob, TraceContext};
use tracing::Instrument;
use uuid::Uuid;

/// The header that carries the request id, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What is known of a request before its handler runs.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The sender's, if it is sane, else a new UUID.
    pub request_id: Arc<str>,
    /// This request's span, in the sender's trace if there is one.
    pub trace: TraceContext,
    /// The client, seen through the trusted proxies.
    pub client: IpAddr,
    /// The other end of the connection is on this machine, and nobody forwarded the request.
    pub local: bool,
}

impl RequestContext {
    fn of(request: &Request, forwarded_hops: u8) -> Self {
        let headers = request.headers();
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ip| ip.to_canonical());
        let forwarded = headers.contains_key(FORWARDED_FOR) || headers.contains_key("forwarded");
        Self {
            request_id: request_id(headers),
            trace: trace(headers),
            client: client(headers, peer, forwarded_hops),
            local: peer.is_loopback() && !forwarded,
        }
    }

    /// The same for what the catalog enqueues.
    #[must_use]
    pub fn as_cause(&self) -> Cause {
        Cause { trace: Some(self.trace), request_id: Some(self.request_id.to_string()) }
    }

    /// Stamps a job with this request.
    #[must_use]
    pub fn cause(&self, job: NewJob) -> NewJob {
        job.caused_by(Some(self.trace), Some(&self.request_id))
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing = || ApiError::internal("the request context is missing");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// Letters, digits and `._:-`, at most 64: what is safe in logs, headers and the database.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let sane = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
    };
    match headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(sane) {
        Some(id) => id.into(),
        None => Uuid::now_v7().to_string().into(),
    }
}

/// A new span in the sender's trace; a new trace if there is none or it cannot be read, as
/// <https://www.w3.org/TR/trace-context/#processing-model> has it.
fn trace(headers: &HeaderMap) -> TraceContext {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let one = match (given.next(), given.next()) {
        (Some(value), None) => value.to_str().ok().and_then(|v| v.parse().ok()),
        _ => None,
    };
    one.map_or_else(TraceContext::new_root, TraceContext::child)
}

/// The n-th address from the right was written by the n-th proxy; what stands left of it the
/// client may have made up.
fn client(headers: &HeaderMap, peer: IpAddr, hops: u8) -> IpAddr {
    let Some(back) = usize::from(hops).checked_sub(1) else { return peer };
    let entries: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .collect();
    let entry = entries.iter().rev().nth(back).or(entries.first());
    entry.and_then(|e| e.trim().parse::<IpAddr>().ok()).map_or(peer, |ip| ip.to_canonical())
}

/// The outermost layer.
pub(crate) async fn observe(
    State(api): State<Api>,
    route: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let context = RequestContext::of(&request, api.config.forwarded_hops);
    let route = route.map_or_else(|| "unmatched".to_owned(), |r| r.as_str().to_owned());
    let method = method_label(request.method());
    let span = tracing::info_span!(
        "request",
        method,
        route,
        request_id = &*context.request_id,
        trace_id = format_args!("{:032x}", context.trace.trace_id),
    );
    let id = HeaderValue::from_str(&context.request_id);
    request.extensions_mut().insert(context);
    let mut response =
        bounded(next.run(request), api.config.request_timeout).instrument(span.clone()).await;
    if let Ok(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let took = begun.elapsed();
    let status = response.status();
    span.in_scope(|| tracing::debug!(status = status.as_u16(), took_ms = millis(took), "answered"));
    record(route, method, status.as_str(), took);
    response
}

/// The answer, or 503 when it took too long, or 500 when the handler panicked.
async fn bounded(answer: impl Future<Output = Response>, limit: Duration) -> Response {
    let caught = AssertUnwindSafe(answer).catch_unwind();
    match tokio::time::timeout(limit, caught).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            metrics::counter!("switchyard_http_panics_total").increment(1);
            ApiError::internal(format!("panic: {}", panic_text(&*panic))).into_response()
        }
        Err(_) => {
            let message = "this took too long; please try again";
            ApiError::unavailable("timeout", Duration::from_secs(5), message).into_response()
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text")
}

/// Methods are labels of metrics, so made-up ones must not add to them.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn record(route: String, method: &'static str, status: &str, took: Duration) {
    metrics::counter!("switchyard_http_requests_total",
        "route" => route.clone(), "method" => method, "status" => status.to_owned())
    .increment(1);
    metrics::histogram!("switchyard_http_request_duration_seconds", "route" => route)
        .record(took.as_secs_f64());
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_sane_request_id_is_kept_and_others_are_replaced() {
        assert_eq!(&*request_id(&headers(&[("x-request-id", "order-7:a.b_c")])), "order-7:a.b_c");
        for bad in ["", "a b", "x\u{e9}", "{\"a\":1}", &"x".repeat(65)] {
            let id = request_id(&headers(&[("x-request-id", bad)]));
            assert!(id.parse::<Uuid>().is_ok(), "{bad:?} became {id}");
        }
    }

    #[test]
    fn a_trace_goes_on_and_a_broken_one_begins_anew() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let t = trace(&headers(&[("traceparent", parent)]));
        assert_eq!(t.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_ne!(t.span_id, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(t.flags, 0, "not sampled stays not sampled");
        let t = trace(&headers(&[("traceparent", "00-zz")]));
        assert_ne!(t.trace_id, 0);
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let h = headers(&[("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2")]);
        assert_eq!(client(&h, peer, 0), peer);
        assert_eq!(client(&h, peer, 1).to_string(), "10.0.0.2");
        assert_eq!(client(&h, peer, 2).to_string(), "192.0.2.7");
        assert_eq!(client(&headers(&[("x-forwarded-for", "junk")]), peer, 1), peer);
    }

    #[test]
    fn made_up_methods_share_a_label() {
        assert_eq!(method_label(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
