//! Sending an object in parts (Amazon S3 User Guide, "Uploading and copying objects using multipart upload").

use super::s3::{Inner, moment};
use super::{ArchiveFault, Upload};
use async_trait::async_trait;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use tokio::task::JoinSet;

/// The size of a part in bytes. All but the last must be 5 MiB or more, and there can be 10,000.
const PART: usize = 8 * 1024 * 1024;

/// An object on its way. One that fits into a part is sent in one request.
pub(super) struct S3Upload {
    inner: Arc<Inner>,
    key: String,
    waiting: BytesMut,
    upload_id: Option<String>,
    sending: JoinSet<Result<CompletedPart, ArchiveFault>>,
    sent: Vec<CompletedPart>,
    begun: i32,
    bytes: u64,
}

impl S3Upload {
    pub(super) fn new(inner: Arc<Inner>, key: &str) -> Self {
        Self {
            inner,
            key: key.to_owned(),
            waiting: BytesMut::new(),
            upload_id: None,
            sending: JoinSet::new(),
            sent: Vec::new(),
            begun: 0,
            bytes: 0,
        }
    }

    async fn begin(&mut self) -> Result<String, ArchiveFault> {
        if let Some(id) = &self.upload_id {
            return Ok(id.clone());
        }
        let inner = &self.inner;
        let (mode, until) = inner.lock();
        let begun = inner
            .client
            .create_multipart_upload()
            .bucket(&inner.bucket)
            .key(inner.path(&self.key))
            .set_server_side_encryption(inner.sse.clone())
            .set_ssekms_key_id(inner.kms_key_id.clone())
            .set_storage_class(inner.storage_class.clone())
            .set_object_lock_mode(mode)
            .set_object_lock_retain_until_date(until)
            .set_checksum_algorithm(inner.checksums.then_some(ChecksumAlgorithm::Crc32))
            .send()
            .await
            .map_err(|e| inner.fault(&self.key, &e))?;
        let id = begun.upload_id().map(str::to_owned).ok_or_else(|| ArchiveFault::Unavailable {
            archive: inner.name.clone(),
            problem: format!("{}: the store gave the upload no number", self.key),
        })?;
        self.upload_id = Some(id.clone());
        Ok(id)
    }

    /// Sends a part beside the others. Waits while as many are under way as may be.
    async fn send(&mut self, part: Bytes) -> Result<(), ArchiveFault> {
        let id = self.begin().await?;
        while let Some(done) = self.sending.try_join_next() {
            self.sent.push(joined(&self.inner, done)?);
        }
        let inner = Arc::clone(&self.inner);
        let room = Arc::clone(&inner.parts).acquire_owned().await.map_err(|_| stopped(&inner))?;
        self.begun += 1;
        let (key, number) = (self.key.clone(), self.begun);
        self.sending.spawn(async move {
            let _room = room;
            let answer = inner
                .client
                .upload_part()
                .bucket(&inner.bucket)
                .key(inner.path(&key))
                .upload_id(id)
                .part_number(number)
                .body(ByteStream::from(part))
                .send()
                .await
                .map_err(|e| inner.fault(&key, &e))?;
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag().map(str::to_owned))
                .set_checksum_crc32(answer.checksum_crc32().map(str::to_owned))
                .build())
        });
        Ok(())
    }

    async fn complete(&mut self, id: String) -> Result<(), ArchiveFault> {
        let rest = self.waiting.split().freeze();
        if !rest.is_empty() {
            self.send(rest).await?;
        }
        while let Some(done) = self.sending.join_next().await {
            self.sent.push(joined(&self.inner, done)?);
        }
        self.sent.sort_by_key(CompletedPart::part_number);
        let inner = &self.inner;
        let parts =
            CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.sent)));
        let done = inner
            .client
            .complete_multipart_upload()
            .bucket(&inner.bucket)
            .key(inner.path(&self.key))
            .upload_id(id)
            .multipart_upload(parts.build())
            .send()
            .await;
        match done {
            Ok(_) => Ok(()),
            // The first try had arrived and only its answer was lost: then the object is there.
            Err(e) if e.code() == Some("NoSuchUpload") && self.is_there().await => Ok(()),
            Err(e) => Err(inner.fault(&self.key, &e)),
        }
    }

    async fn is_there(&self) -> bool {
        let inner = &self.inner;
        let head = inner.client.head_object().bucket(&inner.bucket).key(inner.path(&self.key));
        let length = head.send().await.ok().and_then(|head| head.content_length());
        length.is_some_and(|n| u64::try_from(n) == Ok(self.bytes))
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, more: Bytes) -> Result<(), ArchiveFault> {
        self.bytes += more.len() as u64;
        self.waiting.extend_from_slice(&more);
        while self.waiting.len() > PART {
            let part = self.waiting.split_to(PART).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ArchiveFault> {
        let Some(id) = self.upload_id.clone() else {
            let whole = self.waiting.split().freeze();
            let put = self.inner.put(&self.key, whole).send().await;
            return put.map(|_| ()).map_err(|e| self.inner.fault(&self.key, &e));
        };
        self.complete(id).await?;
        self.upload_id = None; // nothing is left to take back
        Ok(())
    }

    async fn abort(mut self: Box<Self>) {
        // Parts that are under way must have ended, or they stay behind.
        self.sending.shutdown().await;
        if let Some(id) = self.upload_id.take() {
            take_back(&self.inner, &self.key, id).await;
        }
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let Some(id) = self.upload_id.take() else { return };
        // Without a runtime the process ends: a later sweep takes the parts.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (inner, key) = (Arc::clone(&self.inner), std::mem::take(&mut self.key));
        let mut sending = std::mem::take(&mut self.sending);
        runtime.spawn(async move {
            sending.shutdown().await;
            take_back(&inner, &key, id).await;
        });
    }
}

async fn take_back(inner: &Inner, key: &str, id: String) {
    let abort = inner
        .client
        .abort_multipart_upload()
        .bucket(&inner.bucket)
        .key(inner.path(key))
        .upload_id(id);
    if let Err(error) = abort.send().await {
        let fault = inner.fault(key, &error);
        tracing::warn!(%fault, "parts of an upload stay behind until the next prune takes them");
    }
}

fn joined(
    inner: &Inner,
    done: Result<Result<CompletedPart, ArchiveFault>, tokio::task::JoinError>,
) -> Result<CompletedPart, ArchiveFault> {
    done.map_err(|_| stopped(inner))?
}

fn stopped(inner: &Inner) -> ArchiveFault {
    let problem = "the work was stopped before its end".to_owned();
    ArchiveFault::Unavailable { archive: inner.name.clone(), problem }
}

/// Takes back the uploads that began before a moment and never ended.
pub(super) async fn sweep(
    inner: &Arc<Inner>,
    older_than: DateTime<Utc>,
) -> Result<u64, ArchiveFault> {
    let mut taken = 0;
    let (mut key_marker, mut id_marker) = (None, None);
    loop {
        let page = inner
            .client
            .list_multipart_uploads()
            .bucket(&inner.bucket)
            .prefix(inner.path(""))
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker)
            .send()
            .await;
        let page = match page {
            Ok(page) => page,
            // A store that cannot list them has its own way to clear them away.
            Err(e) if e.code() == Some("NotImplemented") => return Ok(taken),
            Err(e) => return Err(inner.fault("the unfinished uploads", &e)),
        };
        for upload in page.uploads() {
            let old = upload.initiated().and_then(moment).is_some_and(|at| at < older_than);
            let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
            let ours = key.strip_prefix(&inner.path("")).filter(|_| old);
            if let Some(key) = ours {
                take_back(inner, key, id.to_owned()).await;
                taken += 1;
            }
        }
        key_marker = page.next_key_marker().map(str::to_owned);
        if page.is_truncated() != Some(true) || key_marker.is_none() {
            return Ok(taken);
        }
        id_marker = page.next_upload_id_marker().map(str::to_owned);
    }
}
