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

/// What to do, by the code of the answer. The settings are named as operators know them: `{}` is what that of the
/// archive's place is called, and the others begin with it.
const REMEDIES: [(&str, &str); 18] = [
    ("NoSuchBucket", "make the bucket, or correct `{}` and `{}_region`"),
    ("InvalidAccessKeyId", "correct `{}_access_key`"),
    ("SignatureDoesNotMatch", "correct `{}_secret_key` (and `{}_region`)"),
    (
        "InvalidToken",
        "renew the session's token (`{}_session_token` or AWS_SESSION_TOKEN), or the machine's role",
    ),
    (
        "ExpiredToken",
        "set a new temporary access key (`{}_access_key` and what goes with it), or a lasting one",
    ),
    (
        "AccessDenied",
        "allow the access key s3:GetObject, s3:PutObject, s3:DeleteObject, \
        s3:AbortMultipartUpload, s3:ListBucket and s3:ListBucketMultipartUploads on the bucket (and, \
        with a lock, s3:PutObjectRetention); a locked object can be deleted only after its retention",
    ),
    ("AllAccessDisabled", "ask the store's operator why"),
    ("AccountProblem", "ask the store's operator why"),
    ("PermanentRedirect", "set `{}_region` to the bucket's region"),
    ("IllegalLocationConstraintException", "set `{}_region` to the bucket's region"),
    ("AuthorizationHeaderMalformed", "set `{}_region` to the bucket's region"),
    ("RequestTimeTooSkewed", "set this machine's clock"),
    ("InvalidStorageClass", "set `{}_storage_class` to a class that the store knows"),
    (
        "InvalidRequest",
        "look whether the bucket has what is set: object lock (`{}_lock_days`), \
        encryption (`{}_sse`)",
    ),
    ("KMS.DisabledException", "enable the bucket's KMS key"),
    ("KMS.NotFoundException", "set `{}_kms_key` to a key that exists, or give the bucket one"),
    (
        "NotImplemented",
        "the store does not know this request: use another, or leave the setting out",
    ),
    ("XAmzContentChecksumMismatch", "look for a proxy that changes what it passes on"),
];

/// What an answer means. `called` is the setting of the archive's place, `key` that of the object it was about.
pub(super) fn fault<E>(
    archive: &str,
    called: &str,
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
    if let Some(fault) = unsigned(archive, called, error) {
        return fault;
    }
    let SdkError::ServiceError(answer) = error else {
        let settings = matches!(error, SdkError::ConstructionFailure(_));
        let problem = DisplayErrorContext(error).to_string();
        return if settings {
            refused(archive, called, shorten(problem), "correct the settings that begin with `{}`")
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
        301 | 307 => "set `{}_region` to the bucket's region",
        401 | 403 => "correct the access key (`{}_access_key`), and what it is allowed to do",
        _ => "correct the settings that begin with `{}`",
    };
    refused(archive, called, problem, remedy.unwrap_or(by_status))
}

/// What it means that nobody gave a key to sign with.
fn unsigned(archive: &str, called: &str, error: &(dyn Error + 'static)) -> Option<ArchiveFault> {
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
                          set `{}_access_key` and `{}_secret_key`";
            refused(archive, called, problem, remedy)
        }
        _ => ArchiveFault::Unavailable { archive: archive.to_owned(), problem },
    })
}

fn refused(archive: &str, called: &str, problem: String, remedy: &str) -> ArchiveFault {
    let remedy = remedy.replace("{}", called);
    ArchiveFault::Refused { archive: archive.to_owned(), problem, remedy }
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
