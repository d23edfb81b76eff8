//! The settings of an archive.

use crate::ConfigFault;
use crate::config::Faults;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// Where backups are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveKind {
    /// In a directory.
    #[default]
    Directory,
    /// On S3 or a store that speaks its protocol.
    S3,
}

/// An archive. The section of the kind that is not chosen is not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveConfig {
    /// `directory` (default) or `s3`.
    pub kind: ArchiveKind,
    /// The directory.
    pub directory: DirectoryConfig,
    /// The bucket.
    pub s3: S3Config,
}

/// A directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Its absolute path.
    pub path: PathBuf,
}

/// How the store encrypts what it keeps, besides our own encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sse {
    /// As the bucket is set up.
    #[default]
    Bucket,
    /// With keys of S3 (SSE-S3).
    Aes256,
    /// With a key of AWS KMS (SSE-KMS).
    AwsKms,
}

/// Who may delete an object before its retention is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockMode {
    /// Those who have `s3:BypassGovernanceRetention`.
    Governance,
    /// Nobody.
    Compliance,
}

/// A bucket.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// Its name.
    pub bucket: String,
    /// What stands before every key: `switchyard/production`.
    pub prefix: String,
    /// Its region; of stores that have none, `us-east-1` or `auto`.
    pub region: String,
    /// `https://...` of a store that is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path and not in the host's name; most stores besides
    /// Amazon's want it so.
    pub path_style: bool,
    /// The access key's id. Without an access key the machine's role signs in.
    pub access_key_id: String,
    /// The access key's secret.
    pub secret_access_key: Option<SecretString>,
    /// The token of a temporary access key.
    pub session_token: Option<SecretString>,
    /// `bucket` (default), `aes256` or `aws_kms`.
    pub sse: Sse,
    /// The key of `aws_kms`: its ARN; without one, that of the account for S3.
    pub kms_key_id: Option<String>,
    /// `governance` or `compliance`; the bucket must have been made with object lock.
    pub lock_mode: Option<LockMode>,
    /// For how many days after they were written objects are locked. Not more than they are kept.
    pub lock_days: Option<u32>,
    /// `STANDARD`, `STANDARD_IA`, `INTELLIGENT_TIERING`, `GLACIER_IR`, ...; by default the bucket's.
    pub storage_class: Option<String>,
    /// Whether a checksum (CRC-32) is sent along. Some stores do not know the header.
    pub checksums: bool,
    /// How many parts of 8 MiB are sent at once, of all objects together.
    pub parallel_parts: usize,
    /// How often a request is tried, with growing pauses of up to 20 s.
    pub attempts: u32,
    /// Longest time of one try, in seconds.
    pub timeout_secs: u64,
    /// What operators call the setting of its place; those of the rest begin with it. For messages.
    pub called: String,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            prefix: String::new(),
            region: "us-east-1".to_owned(),
            endpoint: None,
            path_style: false,
            access_key_id: String::new(),
            secret_access_key: None,
            session_token: None,
            sse: Sse::default(),
            kms_key_id: None,
            lock_mode: None,
            lock_days: None,
            storage_class: None,
            checksums: true,
            parallel_parts: 4,
            attempts: 6,
            timeout_secs: 120,
            called: "backup.archive".to_owned(),
        }
    }
}

impl ArchiveConfig {
    /// Everything that is wrong with the section in use; nothing if it will do.
    #[must_use]
    pub fn validate(&self) -> Vec<ConfigFault> {
        let mut faults = Faults::default();
        match self.kind {
            ArchiveKind::Directory => faults.want(
                self.directory.path.is_absolute(),
                "backup.archive",
                "must be an absolute path: `/var/backups/switchyard`",
            ),
            ArchiveKind::S3 => check_s3(&self.s3, &mut faults),
        }
        faults.0
    }
}

/// Storage classes from which an object can be read at once (Amazon S3 User Guide, "Understanding and
/// managing Amazon S3 storage classes"). A backup that must be thawed for hours is none.
const CLASSES: [&str; 6] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "REDUCED_REDUNDANCY",
];

fn check_s3(s3: &S3Config, faults: &mut Faults) {
    let name = |what: &str| format!("{}_{what}", s3.called);
    // Amazon S3 User Guide, "General purpose bucket naming rules"; other stores have no wider ones.
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let bucket_ok = (3..=63).contains(&s3.bucket.len()) && s3.bucket.bytes().all(label);
    faults.want(
        bucket_ok,
        &s3.called,
        "must name a bucket behind `s3://`: 3 to 63 of a-z, 0-9, `-`, `.`",
    );
    let prefix = s3.prefix.trim_matches('/');
    faults.want(
        prefix.is_empty() || (super::check_key("", prefix).is_ok() && prefix.len() <= 200),
        &s3.called,
        "must have parts of letters, digits, `-`, `_`, `.` and `=` with slashes between behind the bucket",
    );
    let region_ok = s3.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    faults.want(
        region_ok && !s3.region.is_empty(),
        &name("region"),
        "must be the bucket's region, such as `eu-central-1`; of stores that have none, `us-east-1`",
    );
    if let Some(endpoint) = &s3.endpoint {
        faults.base_url(&name("endpoint"), endpoint);
    }
    check_key_of(s3, faults);
    faults.want(
        s3.kms_key_id.is_none() || s3.sse == Sse::AwsKms,
        &name("kms_key"),
        &format!(
            "is only of use with `{}` = `aws_kms`: set that, or leave the key out",
            name("sse")
        ),
    );
    faults.want(
        s3.lock_mode.is_some() == s3.lock_days.is_some(),
        &name("lock_days"),
        &format!("goes together with `{}`: set both or none", name("lock_mode")),
    );
    faults.want(
        s3.lock_days.is_none_or(|days| (1..=36_500).contains(&days)),
        &name("lock_days"),
        "must be 1 to 36500 days",
    );
    faults.want(
        s3.storage_class.as_ref().is_none_or(|class| CLASSES.contains(&class.as_str())),
        &name("storage_class"),
        "must be a class that can be read at once: STANDARD, STANDARD_IA, ONEZONE_IA, \
         INTELLIGENT_TIERING or GLACIER_IR",
    );
    // These are no settings of operators.
    faults.want((1..=64).contains(&s3.parallel_parts), "parallel_parts", "must be 1 to 64");
    faults.want((1..=20).contains(&s3.attempts), "attempts", "must be 1 to 20");
    faults.timeout("timeout_secs", s3.timeout_secs);
}

/// An access key is set whole, or not at all: then the machine's role signs in.
fn check_key_of(s3: &S3Config, faults: &mut Faults) {
    let name = |what: &str| format!("{}_{what}", s3.called);
    let secrets = [&s3.secret_access_key, &s3.session_token];
    if s3.access_key_id.is_empty() && secrets.iter().all(|s| s.is_none()) {
        return;
    }
    let id_ok =
        !s3.access_key_id.is_empty() && s3.access_key_id.bytes().all(|b| b.is_ascii_graphic());
    faults.want(id_ok, &name("access_key"), "is missing, or has blanks or line feeds in it");
    faults.secret(&name("secret_key"), s3.secret_access_key.as_ref());
    if s3.session_token.is_some() {
        faults.secret(&name("session_token"), s3.session_token.as_ref());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_said_at_once_and_no_secret_is() {
        let config: ArchiveConfig = serde_json::from_value(serde_json::json!({"kind": "s3", "s3": {
            "bucket": "No Bucket", "prefix": "../up", "region": "", "endpoint": "http://s3.example.com",
            "secret_access_key": "hush hush", "kms_key_id": "arn:aws:kms:x", "lock_days": 0,
            "storage_class": "DEEP_ARCHIVE", "parallel_parts": 0, "attempts": 0, "timeout_secs": 0,
            "called": "backup.second",
        }}))
        .expect("it is read");
        let faults = config.validate();
        let keys: Vec<&str> = faults.iter().map(|f| f.key.as_str()).collect();
        for key in [
            "backup.second",
            "backup.second_region",
            "backup.second_endpoint",
            "backup.second_access_key",
            "backup.second_secret_key",
            "backup.second_kms_key",
            "backup.second_lock_days",
            "backup.second_storage_class",
            "parallel_parts",
            "attempts",
            "timeout_secs",
        ] {
            assert!(keys.contains(&key), "{key} is not among {keys:?}");
        }
        assert_eq!(keys.iter().filter(|k| **k == "backup.second").count(), 2, "bucket and prefix");
        let told = format!("{faults:?}");
        assert!(!told.contains("s3.sse") && !told.contains("backup.archive"), "{told}");
        let told = format!("{told} {config:?}");
        assert!(!told.contains("hush"), "{told}");
    }

    #[test]
    fn an_access_key_is_set_whole_or_not_at_all() {
        let config = |s3: serde_json::Value| -> Vec<String> {
            let mut all = serde_json::json!({"kind": "s3", "s3": {"bucket": "backups"}});
            all["s3"].as_object_mut().unwrap().extend(s3.as_object().unwrap().clone());
            let config: ArchiveConfig = serde_json::from_value(all).unwrap();
            config.validate().into_iter().map(|f| f.key).collect()
        };
        assert!(config(serde_json::json!({})).is_empty(), "the machine's role signs in");
        let id = serde_json::json!({"access_key_id": "AKIA"});
        assert_eq!(config(id), ["backup.archive_secret_key"]);
        let secret = serde_json::json!({"secret_access_key": "hush"});
        assert_eq!(config(secret), ["backup.archive_access_key"]);
        let token = serde_json::json!({"session_token": "hush"});
        assert_eq!(config(token), ["backup.archive_access_key", "backup.archive_secret_key"]);
    }

    #[test]
    fn only_the_chosen_section_is_looked_at() {
        let directory = ArchiveConfig {
            directory: DirectoryConfig { path: "/var/backups".into() },
            ..ArchiveConfig::default()
        };
        assert_eq!(directory.validate(), []);
        assert_eq!(ArchiveConfig::default().validate()[0].key, "backup.archive");
    }
}
