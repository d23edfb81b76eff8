//! Backups on S3, or on a store that speaks its protocol.
//!
//! Requests that fail for a reason that passes are tried again with growing pauses. An object is sent in
//! parts, several at once, and is there when the last of them is and the upload is completed; a reading
//! whose connection breaks goes on where it was.

use super::config::{LockMode, S3Config, Sse};
use super::s3_fault::fault;
use super::s3_read::Reading;
use super::s3_role::MachineRole;
use super::s3_upload::S3Upload;
use super::{Archive, ArchiveFault, Entry, Upload, check_key};
use crate::ConfigFault;
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, DateTime as SmithyTime};
use aws_sdk_s3::types::{ObjectLockMode, ServerSideEncryption, StorageClass};
use aws_smithy_http_client::{Builder as HttpClient, tls};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use secrecy::ExposeSecret;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};

/// The first pause before a request is tried again; it doubles, with jitter, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));

/// The object by which it is found out whether the store knows conditional writes. It stays.
const PROBE: &str = "probe/if-none-match";

/// A bucket, or a part of one.
#[derive(Clone)]
pub struct S3 {
    pub(super) inner: Arc<Inner>,
}

/// What uploads share.
pub(super) struct Inner {
    pub(super) client: Client,
    pub(super) bucket: String,
    /// With a slash behind it, or empty.
    prefix: String,
    pub(super) name: String,
    /// What the setting of its place is called.
    called: String,
    pub(super) sse: Option<ServerSideEncryption>,
    pub(super) kms_key_id: Option<String>,
    pub(super) storage_class: Option<StorageClass>,
    lock: Option<(ObjectLockMode, TimeDelta)>,
    pub(super) checksums: bool,
    attempts: u32,
    /// Set when the store was seen to keep what is there.
    conditional: OnceCell<()>,
    /// As many parts as may be under way at once, of all uploads together: that bounds the memory.
    pub(super) parts: Arc<Semaphore>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({})", self.inner.name) // never the client: it has the access key
    }
}

impl S3 {
    /// The bucket of these settings, which must be valid. Opens no connection.
    ///
    /// # Errors
    /// Of an access key only the id is set.
    pub fn new(config: &S3Config) -> Result<Self, ConfigFault> {
        let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        let http = HttpClient::new().tls_provider(ring).build_https();
        let credentials = credentials(config, &http)?;
        let checksums = match config.checksums {
            true => RequestChecksumCalculation::WhenSupported,
            false => RequestChecksumCalculation::WhenRequired,
        };
        let mut sdk = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(config.path_style)
            .request_checksum_calculation(checksums)
            // What is read is checked against the signed manifest, by a stronger hash.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            // Our own readings may wait for a database; a silent connection is found by a timeout.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(retries(config.attempts))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(10))
                    .operation_attempt_timeout(Duration::from_secs(config.timeout_secs))
                    .build(),
            );
        if let Some(endpoint) = &config.endpoint {
            sdk = sdk.endpoint_url(endpoint);
        }
        let prefix = match config.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let lock = config.lock_mode.zip(config.lock_days).map(|(mode, days)| {
            let mode = match mode {
                LockMode::Governance => ObjectLockMode::Governance,
                LockMode::Compliance => ObjectLockMode::Compliance,
            };
            (mode, TimeDelta::days(i64::from(days)))
        });
        let inner = Inner {
            client: Client::from_conf(sdk.build()),
            bucket: config.bucket.clone(),
            name: format!("s3://{}/{prefix}", config.bucket).trim_end_matches('/').to_owned(),
            called: config.called.clone(),
            prefix,
            sse: match config.sse {
                Sse::Bucket => None,
                Sse::Aes256 => Some(ServerSideEncryption::Aes256),
                Sse::AwsKms => Some(ServerSideEncryption::AwsKms),
            },
            kms_key_id: config.kms_key_id.clone(),
            storage_class: config.storage_class.as_deref().map(StorageClass::from),
            lock,
            checksums: config.checksums,
            attempts: config.attempts,
            conditional: OnceCell::new(),
            parts: Arc::new(Semaphore::new(config.parallel_parts)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// The access key that is set, or the machine's role.
fn credentials(
    config: &S3Config,
    http: &SharedHttpClient,
) -> Result<SharedCredentialsProvider, ConfigFault> {
    if let Some(secret) = &config.secret_access_key {
        return Ok(SharedCredentialsProvider::new(Credentials::new(
            &config.access_key_id,
            secret.expose_secret(),
            config.session_token.as_ref().map(|t| t.expose_secret().to_owned()),
            None,
            "settings",
        )));
    }
    if !config.access_key_id.is_empty() {
        let message = "is missing".to_owned();
        return Err(ConfigFault { key: format!("{}_secret_key", config.called), message });
    }
    let region = Region::new(config.region.clone());
    Ok(SharedCredentialsProvider::new(MachineRole::new(http.clone(), region)))
}

fn retries(attempts: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(attempts)
        .with_initial_backoff(PAUSE.0)
        .with_max_backoff(PAUSE.1)
}

impl Inner {
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Until when an object that is written now is locked.
    pub(super) fn lock(&self) -> (Option<ObjectLockMode>, Option<SmithyTime>) {
        match &self.lock {
            Some((mode, days)) => {
                let until = Utc::now() + *days;
                (Some(mode.clone()), Some(SmithyTime::from_secs(until.timestamp())))
            }
            None => (None, None),
        }
    }

    /// An object in one request.
    pub(super) fn put(&self, key: &str, content: Bytes) -> PutObjectFluentBuilder {
        let (mode, until) = self.lock();
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(self.path(key))
            .set_server_side_encryption(self.sse.clone())
            .set_ssekms_key_id(self.kms_key_id.clone())
            .set_storage_class(self.storage_class.clone())
            .set_object_lock_mode(mode)
            .set_object_lock_retain_until_date(until)
            .body(ByteStream::from(content))
    }

    pub(super) fn fault<E>(
        &self,
        key: &str,
        error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
    ) -> ArchiveFault
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        fault(&self.name, &self.called, key, error)
    }

    pub(super) fn unavailable(&self, problem: impl Into<String>) -> ArchiveFault {
        ArchiveFault::Unavailable { archive: self.name.clone(), problem: problem.into() }
    }

    /// Refuses a store that overwrites what it is asked to leave alone. Found out once, before the first
    /// object is written.
    async fn keeps_what_is_there(&self) -> Result<(), ArchiveFault> {
        self.conditional.get_or_try_init(|| self.probe()).await.copied()
    }

    /// Writes an object twice on the condition that it is not there.
    async fn probe(&self) -> Result<(), ArchiveFault> {
        for _ in 0..2 {
            let content = Bytes::from_static(b"Shows that this store knows conditional writes.\n");
            let put = self.put(PROBE, content).if_none_match("*").send().await;
            let Err(error) = put else { continue };
            return match error.raw_response().map(|r| r.status().as_u16()) {
                // 409: another process writes it at this moment, and the store sees that.
                Some(412 | 409) => Ok(()),
                _ => Err(self.fault(PROBE, &error)),
            };
        }
        Err(ArchiveFault::Refused {
            archive: self.name.clone(),
            problem: "it overwrites what is there although it is asked not to (it ignores \
                      `If-None-Match: *`), so two runs at once could destroy one another's backups"
                .to_owned(),
            remedy: "use a store that knows conditional writes (Amazon S3, MinIO and Cloudflare R2 do), \
                     a newer version of this one, or a directory"
                .to_owned(),
        })
    }

    /// Whether the object there is this one: the answer to a try that had arrived after all.
    async fn is_ours(self: &Arc<Self>, key: &str, ours: &Bytes) -> Result<bool, ArchiveFault> {
        let mut reading = Reading::begin(Arc::clone(self), key, 0).await?;
        let mut at = 0usize;
        while let Some(piece) = reading.next().await? {
            if ours.get(at..at + piece.len()) != Some(&piece[..]) {
                return Ok(false);
            }
            at += piece.len();
        }
        Ok(at == ours.len())
    }
}

#[async_trait]
impl Archive for S3 {
    fn name(&self) -> &str {
        &self.inner.name
    }

    async fn create(&self, key: &str) -> Result<Box<dyn Upload>, ArchiveFault> {
        check_key(&self.inner.name, key)?;
        // Before hours of sending, and not when the manifest comes.
        self.inner.keeps_what_is_there().await?;
        Ok(Box::new(S3Upload::new(Arc::clone(&self.inner), key)))
    }

    async fn put_new(&self, key: &str, content: Bytes) -> Result<(), ArchiveFault> {
        check_key(&self.inner.name, key)?;
        let inner = &self.inner;
        inner.keeps_what_is_there().await?;
        let mut tries = 0;
        loop {
            // Tried again here and not by the client, so that the answer to our own first try is
            // known from that to somebody else's.
            let once = aws_sdk_s3::Config::builder().retry_config(RetryConfig::disabled());
            let put = inner.put(key, content.clone()).if_none_match("*");
            let Err(error) = put.customize().config_override(once).send().await else {
                return Ok(());
            };
            let status = error.raw_response().map(|r| r.status().as_u16());
            if status == Some(412) {
                if tries > 0 && inner.is_ours(key, &content).await? {
                    return Ok(());
                }
                return Err(ArchiveFault::AlreadyThere { key: key.to_owned() });
            }
            let fault = inner.fault(key, &error);
            tries += 1;
            if !fault.is_transient() || tries >= inner.attempts {
                return Err(fault);
            }
            tokio::time::sleep(pause(tries)).await;
        }
    }

    async fn read(
        &self,
        key: &str,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, ArchiveFault>>, ArchiveFault> {
        check_key(&self.inner.name, key)?;
        let reading = Reading::begin(Arc::clone(&self.inner), key, from).await?;
        let stream = futures::stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|piece| (piece, reading)))
        });
        Ok(stream.boxed())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, ArchiveFault> {
        let inner = &self.inner;
        let mut pages = inner
            .client
            .list_objects_v2()
            .bucket(&inner.bucket)
            .prefix(inner.path(prefix))
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| inner.fault(prefix, &e))?;
            for object in page.contents() {
                let key = object.key().and_then(|key| key.strip_prefix(&inner.prefix));
                // Whatever has no key that could be ours is not ours.
                let Some(key) = key.filter(|key| check_key(&inner.name, key).is_ok()) else {
                    continue;
                };
                found.push(Entry {
                    key: key.to_owned(),
                    bytes: u64::try_from(object.size().unwrap_or(0)).unwrap_or(0),
                    modified: object.last_modified().and_then(moment).unwrap_or_default(),
                });
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<(), ArchiveFault> {
        check_key(&self.inner.name, key)?;
        let inner = &self.inner;
        let delete = inner.client.delete_object().bucket(&inner.bucket).key(inner.path(key));
        match delete.send().await.map_err(|e| inner.fault(key, &e)) {
            Ok(_) | Err(ArchiveFault::NotFound { .. }) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn sweep(&self, older_than: DateTime<Utc>) -> Result<u64, ArchiveFault> {
        super::s3_upload::sweep(&self.inner, older_than).await
    }
}

/// A time of the store's as ours.
pub(super) fn moment(at: &SmithyTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(at.secs(), at.subsec_nanos())
}

/// A growing pause with jitter. Two writers of one key are told apart by the store, not by the jitter.
pub(super) fn pause(tries: u32) -> Duration {
    let most = PAUSE.0.saturating_mul(1 << tries.min(10)).min(PAUSE.1);
    let random = uuid::Uuid::new_v4().as_bytes()[0];
    most.mul_f64(0.5 + f64::from(random) / 512.0)
}
