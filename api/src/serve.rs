//! The listener: one task a connection, bounded in number and in patience, with a graceful end.

use crate::{Api, app};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Serves until `shutdown`, then lets requests under way end and drains the ingest writers.
///
/// HTTP/1.1: HTTP/2 is the business of the proxy that terminates TLS.
///
/// # Errors
/// If the listener has no address.
pub async fn serve(listener: TcpListener, api: Api, shutdown: CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    let (router, writers) = app(api.clone());
    let tasks = TaskTracker::new();
    let room = Arc::new(Semaphore::new(api.config.max_connections.max(1)));
    tracing::info!(%address, "listening");
    loop {
        let (stream, peer, seat) = tokio::select! {
            next = accept(&listener, &room) => next,
            () = shutdown.cancelled() => break,
        };
        let service = router.clone().map_request(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(api.config.header_timeout)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .with_upgrades();
        let closing = api.closing.clone();
        tasks.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = closing.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(e) = ended {
                tracing::debug!(error = %e, "a connection ended early");
            }
            drop(seat);
        });
    }
    drop(listener);
    api.closing.cancel();
    tasks.close();
    if tokio::time::timeout(api.config.drain_timeout, tasks.wait()).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
    writers.drain().await;
    Ok(())
}

/// The next connection, once there is room for it. Errors of `accept` concern one connection or
/// pass (no file descriptors left): they never end the server.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    let seat = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(e) = stream.set_nodelay(true) {
                    tracing::debug!(error = %e, "TCP_NODELAY could not be set");
                }
                return (stream, peer, seat);
            }
            Err(e) => {
                tracing::warn!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
