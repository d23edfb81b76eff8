//! `/metrics` and `/health/live` of processes that have no HTTP front: workers and schedulers. The
//! rule is the API's: from this machine, or with the token.

use crate::{Fault, compose};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::{ExposeSecret, SecretString};
use std::net::SocketAddr;
use switchyard_domain::secrets::{api_key_matches, hash_api_key};
use tokio_util::sync::CancellationToken;

/// Serves until `stop`.
///
/// # Errors
/// If the address is taken, or the listener breaks.
pub async fn serve(
    address: SocketAddr,
    token: Option<SecretString>,
    stop: CancellationToken,
) -> Result<(), Fault> {
    let handle = compose::metrics()?;
    let listener = compose::bind(address).await?;
    let token = token.map(|t| hash_api_key(t.expose_secret()));
    let metrics = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap| async move {
        if may_read(peer, token.as_ref(), &headers) {
            handle.render().into_response()
        } else {
            refused()
        }
    };
    let router =
        Router::new().route("/metrics", get(metrics)).route("/health/live", get(|| async { "ok" }));
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|e| Fault::new("listen", "the listener of the metrics broke").caused_by(e))
}

fn may_read(peer: SocketAddr, token: Option<&[u8; 32]>, headers: &HeaderMap) -> bool {
    let Some(token) = token else { return peer.ip().to_canonical().is_loopback() };
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    given.and_then(|v| v.strip_prefix("Bearer ")).is_some_and(|v| api_key_matches(token, v))
}

fn refused() -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn without_a_token_only_this_machine_reads() {
        let near = "127.0.0.1:1".parse().expect("an address");
        let mapped = "[::ffff:127.0.0.1]:1".parse().expect("an address");
        let far = "192.0.2.1:1".parse().expect("an address");
        assert!(may_read(near, None, &headers(None)) && may_read(mapped, None, &headers(None)));
        assert!(!may_read(far, None, &headers(Some("Bearer "))));
    }

    #[test]
    fn with_a_token_whoever_has_it_reads() {
        let token = hash_api_key("a-token-of-some-length");
        let far = "192.0.2.1:1".parse().expect("an address");
        assert!(may_read(far, Some(&token), &headers(Some("Bearer a-token-of-some-length"))));
        for wrong in [None, Some("Bearer other"), Some("a-token-of-some-length")] {
            assert!(!may_read(far, Some(&token), &headers(wrong)), "{wrong:?}");
        }
    }
}
