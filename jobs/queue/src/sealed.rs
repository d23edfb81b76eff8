//! Arguments that only the job's own code is to see: the form in which they are stored, and what seals
//! and opens them.

use crate::{JobError, JobId};
use serde_json::{Value, json};
use std::fmt;

/// The one member of arguments that are sealed.
const SEALED: &str = "$sealed";

/// Why arguments could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// This process has no key at all.
    #[error(
        "this process has no key for encrypted arguments; set `secret_key` or `encryption.keys`"
    )]
    NoKey,
    /// They were sealed with a key that this process does not have.
    #[error(
        "the arguments are sealed with the key {0}, which this process does not have; add that key to \
         `encryption.keys`"
    )]
    MissingKey(String),
    /// The key is there, and they do not open.
    #[error("the arguments do not open: they were changed, or were sealed for another job or kind")]
    Broken,
    /// Somebody wants to enqueue arguments that look like sealed ones.
    #[error("`$sealed` as the only argument is reserved for arguments that are encrypted")]
    Reserved,
}

impl SealFault {
    /// What a job does about it: a key that is missing may be brought, and then all is well; what does
    /// not open never will.
    #[must_use]
    pub fn into_job_error(self) -> JobError {
        match self {
            Self::NoKey | Self::MissingKey(_) => JobError::retry(self),
            Self::Broken | Self::Reserved => JobError::permanent(self),
        }
    }
}

/// Seals and opens the arguments of jobs. What is sealed for one job and kind opens for no other.
pub trait ArgsCipher: fmt::Debug + Send + Sync {
    /// The stored form, under the current key.
    fn seal(&self, kind: &str, job: JobId, args: &Value) -> Value;

    /// The arguments of a stored form.
    ///
    /// # Errors
    /// If the key is not there, or the form is not what was sealed for this job.
    fn open(&self, kind: &str, job: JobId, sealed: &Value) -> Result<Value, SealFault>;

    /// The ids of all keys, the current one first.
    fn keys(&self) -> Vec<String>;

    /// What is stored instead of a text that must be compared and not be read: one form for each key, in
    /// the order of [`ArgsCipher::keys`]. Each begins with its key's id and a colon.
    fn hashes(&self, text: &str) -> Vec<String>;
}

/// The stored form of a ciphertext, which is text.
#[must_use]
pub fn sealed_form(key: &str, data: &str) -> Value {
    json!({ SEALED: { "key": key, "data": data } })
}

/// The key's id and the ciphertext of arguments in the stored form; `None` if these are plain.
#[must_use]
pub fn sealed_parts(args: &Value) -> Option<(&str, &str)> {
    let members = args.as_object().filter(|m| m.len() == 1)?;
    let sealed = members.get(SEALED)?;
    Some((sealed.get("key")?.as_str()?, sealed.get("data")?.as_str()?))
}

/// What people are shown of arguments: all of plain ones, of sealed ones only the key's id.
#[must_use]
pub fn shown_args(args: Value) -> Value {
    match sealed_parts(&args) {
        Some((key, _)) => json!({ SEALED: { "key": key } }),
        None => args,
    }
}

/// The arguments of a job, opened if they are sealed.
///
/// # Errors
/// [`SealFault`].
pub fn opened_args(
    cipher: Option<&dyn ArgsCipher>,
    kind: &str,
    job: JobId,
    args: Value,
) -> Result<Value, SealFault> {
    match (sealed_parts(&args), cipher) {
        (None, _) => Ok(args),
        (Some(_), Some(cipher)) => cipher.open(kind, job, &args),
        (Some((key, _)), None) => Err(SealFault::MissingKey(key.to_owned())),
    }
}
