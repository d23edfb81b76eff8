//! Where an archive is and how to get in: `backup.archive` and `backup.second`, with the same settings each.

use super::reader::Reader;
use super::without_password;
use secrecy::SecretString;
use switchyard_providers::archive::{LockMode, Sse};

/// Where an archive is and how to get in.
#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    /// The setting that names its place; the others' names begin with it.
    pub called: &'static str,
    /// `s3://bucket/prefix` or a folder.
    pub place: String,
    /// Another server than Amazon's: `https://s3.example.com`.
    pub endpoint: Option<url::Url>,
    /// The region.
    pub region: String,
    /// Whether the bucket's name stands in the path; not set: with another server than Amazon's.
    pub path_style: Option<bool>,
    /// Who signs in; none: the machine's role.
    pub access_key: Option<String>,
    /// The password to it.
    pub secret_key: Option<SecretString>,
    /// The third part of a temporary access key.
    pub session_token: Option<SecretString>,
    /// How the server encrypts what it stores, besides our own encryption.
    pub sse: Sse,
    /// The key of that, if it is one of KMS.
    pub kms_key: Option<String>,
    /// Who may delete before the days are over.
    pub lock_mode: LockMode,
    /// Days for which the server lets nobody delete what was stored (object lock).
    pub lock_days: Option<u32>,
    /// The storage class; none: the bucket's.
    pub storage_class: Option<String>,
    /// Whether a checksum is sent along.
    pub checksums: bool,
}

impl ArchiveSettings {
    /// A folder of this machine.
    #[must_use]
    pub fn folder(folder: &std::path::Path) -> Self {
        Self {
            called: FIRST.place,
            place: folder.display().to_string(),
            endpoint: None,
            region: String::new(),
            path_style: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            sse: Sse::Bucket,
            kms_key: None,
            lock_mode: LockMode::Compliance,
            lock_days: None,
            storage_class: None,
            checksums: true,
        }
    }
}

/// The keys of one archive's settings.
pub(super) struct Names {
    place: &'static str,
    about: &'static str,
    endpoint: &'static str,
    region: &'static str,
    path_style: &'static str,
    access_key: &'static str,
    secret_key: &'static str,
    session_token: &'static str,
    sse: &'static str,
    kms_key: &'static str,
    lock_mode: &'static str,
    lock_days: &'static str,
    storage_class: &'static str,
    checksums: &'static str,
}

macro_rules! names {
    ($place:literal, $about:literal) => {
        Names {
            place: $place,
            about: $about,
            endpoint: concat!($place, "_endpoint"),
            region: concat!($place, "_region"),
            path_style: concat!($place, "_path_style"),
            access_key: concat!($place, "_access_key"),
            secret_key: concat!($place, "_secret_key"),
            session_token: concat!($place, "_session_token"),
            sse: concat!($place, "_sse"),
            kms_key: concat!($place, "_kms_key"),
            lock_mode: concat!($place, "_lock_mode"),
            lock_days: concat!($place, "_lock_days"),
            storage_class: concat!($place, "_storage_class"),
            checksums: concat!($place, "_checksums"),
        }
    };
}

pub(super) const FIRST: Names =
    names!("backup.archive", "Where backups go: s3://bucket/prefix or a folder; not set: none");
pub(super) const SECOND_ONE: Names =
    names!("backup.second", "A second archive that backups are copied to");

/// An archive, if its place is set, and how to get in, in any case.
pub(super) fn archive(r: &mut Reader, names: &Names) -> (Option<ArchiveSettings>, ArchiveSettings) {
    let place: Option<String> = r.optional(names.place, names.about);
    let (access_key, secret_key) = access_key(r, names);
    if let Some(place) = &place
        && !place.starts_with("s3://")
        && place.contains("://")
    {
        let shown = without_password(place);
        let remedy = "write s3://bucket/prefix, or a folder";
        r.fault(names.place, format!("is {shown:?}; that is no archive"), remedy);
    }
    let lock_days =
        r.number(names.lock_days, 0, 0..=36_500, "Days for which nobody can delete; 0: none");
    let sign_in = ArchiveSettings {
        called: names.place,
        place: String::new(),
        endpoint: r.optional(names.endpoint, "Its S3 server, if it is not Amazon's"),
        region: r.get(names.region, "us-east-1".to_owned(), "Its region"),
        path_style: r.optional(
            names.path_style,
            "Whether the bucket stands in the path; not set: where the server is not Amazon's",
        ),
        access_key,
        secret_key,
        session_token: r.secret(
            names.session_token,
            "The session's token, if the access key is a temporary one",
            super::backup::any,
        ),
        sse: r.choice(
            names.sse,
            &[("bucket", Sse::Bucket), ("aes256", Sse::Aes256), ("aws_kms", Sse::AwsKms)],
            "How the S3 server encrypts what it stores, too; `bucket`: as that is set up",
        ),
        kms_key: r.optional(names.kms_key, "The key of aws_kms: its ARN; not set: the account's"),
        lock_mode: r.choice(
            names.lock_mode,
            &[("compliance", LockMode::Compliance), ("governance", LockMode::Governance)],
            "Who can delete before the days of the lock are over: nobody, or whom the bucket lets",
        ),
        lock_days: (lock_days > 0u32).then_some(lock_days),
        storage_class: r.optional(
            names.storage_class,
            "STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING or GLACIER_IR; not set: the bucket's",
        ),
        checksums: r.get(
            names.checksums,
            true,
            "Whether a checksum (CRC-32) is sent along; some stores do not know the header",
        ),
    };
    (place.map(|place| ArchiveSettings { place, ..sign_in.clone() }), sign_in)
}

/// Both halves of it, or none.
fn access_key(r: &mut Reader, names: &Names) -> (Option<String>, Option<SecretString>) {
    let access_key: Option<String> = r.optional(
        names.access_key,
        "Its access key; not set: AWS_* of the environment, or the machine's role",
    );
    let secret_key = r.secret(names.secret_key, "The secret to the access key", super::backup::any);
    if access_key.is_some() != secret_key.is_some() {
        let key = if access_key.is_some() { names.secret_key } else { names.access_key };
        if !r.is_faulty(key) {
            r.fault(key, "is not set, but the other half of the sign-in is", "set both or none");
        }
    }
    (access_key, secret_key)
}
