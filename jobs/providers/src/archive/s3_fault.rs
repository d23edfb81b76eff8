//! What the answers of an S3 store mean for a backup.

use super::ArchiveFault;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use std::error::Error;

/// Codes after which the same request may succeed later (Amazon S3 API Reference, "Error responses"), whatever
/// their status.
const PASSING: [&str; 10] = [
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
];

/// Codes of stores that have no room left; Amazon's own has always.
const FULL: [&str; 4] =
    ["QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "EntityTooLargeForQuota"];

/// What to do, by the code of the answer. The settings are named as operators know them, those of the first
/// archive; the second's (`backup.second_...`) are called alike.
const REMEDIES: [(&str, &str); 18] = [
    ("NoSuchBucket", "make the bucket, or correct `backup.archive` and `backup.archive_region`"),
    ("InvalidAccessKeyId", "correct `backup.archive_access_key`"),
    ("SignatureDoesNotMatch", "correct `backup.archive_secret_key` (and `backup.archive_region`)"),
    ("InvalidToken", "renew the session's token (AWS_SESSION_TOKEN), or the machine's role"),
    ("ExpiredToken", "set a new temporary access key, or a lasting one"),
    (
        "AccessDenied",
        "allow the access key s3:GetObject, s3:PutObject, s3:DeleteObject, \
        s3:AbortMultipartUpload, s3:ListBucket and s3:ListBucketMultipartUploads on the bucket (and, \
        with a lock, s3:PutObjectRetention); a locked object can be deleted only after its retention",
    ),
    ("AllAccessDisabled", "ask the store's operator why"),
    ("AccountProblem", "ask the store's operator why"),
    ("PermanentRedirect", "set `backup.archive_region` to the bucket's region"),
    ("IllegalLocationConstraintException", "set `backup.archive_region` to the bucket's region"),
    ("AuthorizationHeaderMalformed", "set `backup.archive_region` to the bucket's region"),
    ("RequestTimeTooSkewed", "set this machine's clock"),
    ("InvalidStorageClass", "use a store that knows this storage class"),
    (
        "InvalidRequest",
        "look whether the bucket has what is set: object lock (`backup.archive_lock_days`), \
        encryption (`backup.archive_sse`)",
    ),
    ("KMS.DisabledException", "enable the bucket's KMS key"),
    ("KMS.NotFoundException", "give the bucket a KMS key that exists"),
    (
        "NotImplemented",
        "the store does not know this request: use another, or leave the setting out",
    ),
    ("XAmzContentChecksumMismatch", "look for a proxy that changes what it passes on"),
];

/// What an answer means. `key` is that of the object it was about.
pub(super) fn fault<E>(
    archive: &str,
    key: &str,
    error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> ArchiveFault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let unavailable = |problem: String| ArchiveFault::Unavailable {
        archive: archive.to_owned(),
        problem: shorten(problem),
    };
    if let Some(fault) = unsigned(archive, error) {
        return fault;
    }
    let SdkError::ServiceError(answer) = error else {
        let settings = matches!(error, SdkError::ConstructionFailure(_));
        let problem = DisplayErrorContext(error).to_string();
        return if settings {
            refused(
                archive,
                shorten(problem),
                "correct the settings that begin with `backup.archive`",
            )
        } else {
            // No connection, no answer in time, or one that nobody understands.
            unavailable(problem)
        };
    };
    let status = answer.raw().status().as_u16();
    let code = answer.err().code().unwrap_or_default();
    let said = answer.err().message().unwrap_or_default();
    let problem = shorten(format!("{key}: {status} {code} {said}").trim_end().to_owned());
    if FULL.contains(&code) || status == 507 {
        return ArchiveFault::Full { archive: archive.to_owned() };
    }
    if PASSING.contains(&code) || status == 429 || (status >= 500 && status != 501) {
        return unavailable(problem);
    }
    if matches!(code, "NoSuchKey" | "NotFound") || (status == 404 && code.is_empty()) {
        return ArchiveFault::NotFound { key: key.to_owned() };
    }
    let remedy = REMEDIES.iter().find(|(name, _)| *name == code).map(|(_, remedy)| *remedy);
    let by_status = match status {
        301 | 307 => "set `backup.archive_region` to the bucket's region",
        401 | 403 => "correct the access key, and what it is allowed to do",
        _ => "correct the settings that begin with `backup.archive`",
    };
    refused(archive, problem, remedy.unwrap_or(by_status))
}

/// What it means that nobody gave a key to sign with.
fn unsigned(archive: &str, error: &(dyn Error + 'static)) -> Option<ArchiveFault> {
    let mut cause = Some(error);
    let why = loop {
        let here = cause?;
        if let Some(why) = here.downcast_ref::<CredentialsError>() {
            break why;
        }
        cause = here.source();
    };
    let mut told = Vec::new();
    let mut cause: Option<&dyn Error> = Some(why);
    while let Some(here) = cause {
        told.push(here.to_string());
        cause = here.source();
    }
    let problem = shorten(format!("the machine's role gave no key: {}", told.join(": ")));
    Some(match why {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            let remedy = "give the machine a role (of the instance, the task or the service account), or \
                          set `backup.archive_access_key` and `backup.archive_secret_key`";
            refused(archive, problem, remedy)
        }
        _ => ArchiveFault::Unavailable { archive: archive.to_owned(), problem },
    })
}

fn refused(archive: &str, problem: String, remedy: &str) -> ArchiveFault {
    ArchiveFault::Refused { archive: archive.to_owned(), problem, remedy: remedy.to_owned() }
}

/// A page of HTML that some proxy sent does not belong into a log whole.
fn shorten(mut problem: String) -> String {
    const MOST: usize = 500;
    if problem.len() > MOST {
        let end = (0..=MOST).rev().find(|at| problem.is_char_boundary(*at)).unwrap_or(0);
        problem.truncate(end);
        problem.push_str(" ...");
    }
    problem
}
