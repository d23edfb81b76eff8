//! Reading an object of S3 over connections that break.

use super::ArchiveFault;
use super::s3::{Inner, pause};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// How long a reading waits for more before it takes the connection for broken.
const SILENCE: Duration = Duration::from_secs(30);

/// How often in a row a reading begins again without having got a byte.
const BREAKS: u32 = 8;

/// An object that is being read. It begins again where it was when the connection breaks, and only if
/// the object is still the same.
pub(super) struct Reading {
    inner: Arc<Inner>,
    key: String,
    at: u64,
    /// Of the object, once it is known.
    length: u64,
    etag: Option<String>,
    body: Option<ByteStream>,
    breaks: u32,
}

impl Reading {
    /// Sends the first request: whether the object is there is known then.
    pub(super) async fn begin(
        inner: Arc<Inner>,
        key: &str,
        from: u64,
    ) -> Result<Self, ArchiveFault> {
        let key = key.to_owned();
        let mut reading =
            Self { inner, key, at: from, length: u64::MAX, etag: None, body: None, breaks: 0 };
        reading.connect().await?;
        Ok(reading)
    }

    async fn connect(&mut self) -> Result<(), ArchiveFault> {
        let inner = &self.inner;
        let mut get = inner
            .client
            .get_object()
            .bucket(&inner.bucket)
            .key(inner.path(&self.key))
            .set_if_match(self.etag.clone());
        if self.at > 0 {
            get = get.range(format!("bytes={}-", self.at));
        }
        let answer = match get.send().await {
            Ok(answer) => answer,
            // Nothing stands behind that position (RFC 9110, 15.5.17).
            Err(e) if e.raw_response().is_some_and(|r| r.status().as_u16() == 416) => {
                self.length = self.at;
                return Ok(());
            }
            Err(e) if e.raw_response().is_some_and(|r| r.status().as_u16() == 412) => {
                return Err(
                    inner.unavailable(format!("{} was replaced while it was read", self.key))
                );
            }
            Err(e) => return Err(inner.fault(&self.key, &e)),
        };
        let rest = answer.content_length().and_then(|n| u64::try_from(n).ok());
        self.length = rest.map_or(u64::MAX, |rest| self.at.saturating_add(rest));
        self.etag = answer.e_tag().map(str::to_owned);
        self.body = Some(answer.body);
        Ok(())
    }

    /// The next piece; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ArchiveFault> {
        loop {
            if self.at >= self.length {
                return Ok(None);
            }
            let problem = match self.body.as_mut() {
                None => "the connection broke".to_owned(),
                Some(body) => match tokio::time::timeout(SILENCE, body.next()).await {
                    Ok(Some(Ok(piece))) if piece.is_empty() => continue,
                    Ok(Some(Ok(piece))) => {
                        self.at += piece.len() as u64;
                        self.breaks = 0;
                        return Ok(Some(piece));
                    }
                    Ok(None) if self.length == u64::MAX => return Ok(None),
                    Ok(None) => "the connection ended too early".to_owned(),
                    Ok(Some(Err(e))) => format!("the connection broke ({e})"),
                    Err(_) => "nothing came any more".to_owned(),
                },
            };
            self.body = None;
            self.breaks += 1;
            if self.breaks > BREAKS {
                return Err(self.inner.unavailable(format!("{}: {problem}", self.key)));
            }
            tokio::time::sleep(pause(self.breaks - 1)).await;
            self.connect().await?;
        }
    }
}
