//! `/metrics` and `/health/live` of processes that have no HTTP front: workers and schedulers.

use crate::{Fault, compose};
use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// Serves until `stop`.
///
/// # Errors
/// If the address is taken, or the listener breaks.
pub async fn serve(address: SocketAddr, stop: CancellationToken) -> Result<(), Fault> {
    let handle = compose::metrics()?;
    let listener = compose::bind(address).await?;
    let router = Router::new()
        .route("/metrics", get(move || async move { handle.render() }))
        .route("/health/live", get(|| async { "ok" }));
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|e| Fault::new("listen", "the listener of the metrics broke").caused_by(e))
}
