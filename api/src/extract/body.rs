//! Reading a body within a size and a time.

use crate::ApiError;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use std::time::Duration;

/// What is still read of a body that is too large, so that the sender finishes writing and reads
/// the answer instead of a reset connection (nginx calls it a lingering close).
const LINGER_BYTES: usize = 8 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Reads a whole body of at most `limit` bytes within `patience`.
///
/// # Errors
/// 413 if it is longer, whatever `Content-Length` says; 408 if it comes too slowly; 400 if it
/// breaks off.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let declared = declared_length(headers);
    if declared.is_some_and(|n| n > limit) {
        // A sender that asks first (100-continue) has not sent anything yet.
        if !headers.contains_key(header::EXPECT) {
            linger(&mut stream).await;
        }
        return Err(too_large(limit));
    }
    match tokio::time::timeout(patience, collect(&mut stream, declared, limit)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            linger(&mut stream).await;
            Err(too_large(limit))
        }
        Ok(Err(e)) => Err(ApiError::bad_request("body_broken", "the body broke off").caused_by(e)),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the body did not arrive in time; please send it again",
        )),
    }
}

/// The body, or `None` once it is longer than `limit`.
async fn collect(
    stream: &mut BodyDataStream,
    declared: Option<usize>,
    limit: usize,
) -> Result<Option<Bytes>, axum::Error> {
    let Some(first) = stream.next().await.transpose()? else { return Ok(Some(Bytes::new())) };
    // Most webhooks arrive in one piece: no copy then.
    if declared == Some(first.len()) {
        return Ok(Some(first));
    }
    let mut all = BytesMut::with_capacity(declared.unwrap_or(first.len()).min(limit));
    let mut chunk = first;
    loop {
        if all.len() + chunk.len() > limit {
            return Ok(None);
        }
        all.extend_from_slice(&chunk);
        match stream.next().await.transpose()? {
            Some(next) => chunk = next,
            None => return Ok(Some(all.freeze())),
        }
    }
}

async fn linger(stream: &mut BodyDataStream) {
    let drain = async {
        let mut read = 0;
        while let Some(Ok(chunk)) = stream.next().await {
            read += chunk.len();
            if read > LINGER_BYTES {
                break;
            }
        }
    };
    // Either way the answer is the same; this only makes it readable.
    let _ = tokio::time::timeout(LINGER_TIME, drain).await;
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: usize) -> ApiError {
    let message = format!("the body is larger than {limit} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
}
