//! Passwords: argon2id with the parameters that OWASP recommends, off the async threads and only
//! a few at once.
//!
//! Source of the parameters: OWASP Password Storage Cheat Sheet, "Argon2id: m=19456 (19 MiB),
//! t=2, p=1", <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>.
//! Source of the length rule: NIST SP 800-63B, 3.1.1.2 (at least 8, allow at least 64 characters).

use crate::ApiError;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Shortest password, in characters.
pub const MIN_CHARS: usize = 8;
/// Longest password, in bytes: hashing is not to be a way to burn our time.
pub const MAX_BYTES: usize = 256;

/// A hash of nothing anybody knows, with the same parameters: verifying against it takes as long
/// as against a real one, so that an unknown account cannot be told by the time.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c3dpdGNoeWFyZG5vYm9keQ$\
                      2vTQ1s8b6mJk0r5xWc9dYhLz3NfPqUeVtAoBiXgCnM4";

/// How long a sign-in waits for its turn at the hasher.
const PATIENCE: Duration = Duration::from_secs(5);

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFault {
    /// Too short.
    #[error("a password has at least {MIN_CHARS} characters")]
    TooShort,
    /// Too long.
    #[error("a password has at most {MAX_BYTES} bytes")]
    TooLong,
    /// The hasher or the system's random generator failed.
    #[error("the password could not be hashed: {0}")]
    Hasher(String),
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("the constants are within bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a new password into a PHC string. Takes tens of milliseconds of one core: not for an
/// async thread.
///
/// # Errors
/// If the password is too short or too long.
pub fn hash(password: &str) -> Result<String, PasswordFault> {
    if password.chars().count() < MIN_CHARS {
        return Err(PasswordFault::TooShort);
    }
    if password.len() > MAX_BYTES {
        return Err(PasswordFault::TooLong);
    }
    let hash: PasswordHash = hasher()
        .hash_password(password.as_bytes())
        .map_err(|e| PasswordFault::Hasher(e.to_string()))?;
    Ok(hash.to_string())
}

/// Whether the password belongs to the PHC string. Takes tens of milliseconds of one core.
#[must_use]
pub fn verify(password: &str, phc: &str) -> bool {
    if password.len() > MAX_BYTES {
        return false;
    }
    PasswordHash::new(phc)
        .is_ok_and(|hash| hasher().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Hashing from async code: on the blocking pool, a few at once.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(at_once: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(at_once.max(1))) }
    }

    /// See [`hash`].
    pub(crate) async fn hash(&self, password: &SecretString) -> Result<String, ApiError> {
        let password = password.clone();
        let made = self.blocking(move || hash(password.expose_secret())).await?;
        made.map_err(|e| match e {
            PasswordFault::Hasher(_) => ApiError::internal(e),
            _ => ApiError::unprocessable("weak_password", e.to_string()),
        })
    }

    /// See [`verify`]; `None` (no such account) takes as long and is never right.
    pub(crate) async fn verify(
        &self,
        password: &SecretString,
        phc: Option<&str>,
    ) -> Result<bool, ApiError> {
        let known = phc.is_some();
        let phc = phc.unwrap_or(NOBODY).to_owned();
        let password = password.clone();
        let right = self.blocking(move || verify(password.expose_secret(), &phc)).await?;
        Ok(right && known)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let busy = || {
            let message = "too many people are signing in at this moment; please try again";
            ApiError::unavailable("busy", Duration::from_secs(2), message)
        };
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(PATIENCE, turn).await.map_err(|_| busy())?;
        let turn = turn.map_err(ApiError::internal)?;
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
        .map_err(ApiError::internal)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_another_is_not() {
        let phc = hash("correct horse battery").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify("correct horse battery", &phc));
        assert!(!verify("correct horse batterie", &phc));
        assert!(!verify("anything", "no hash at all"));
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(hash("correct horse").unwrap(), hash("correct horse").unwrap());
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        assert!(hash("zażółć!").is_err(), "7 characters in 11 bytes");
        assert!(hash(&"x".repeat(MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn the_hash_of_nobody_costs_what_a_real_one_costs() {
        let nobody = PasswordHash::new(NOBODY).expect("a PHC string that parses");
        let real = hash("correct horse").unwrap();
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!(Params::try_from(&nobody).unwrap().m_cost(), 19 * 1024);
        assert_eq!(nobody.algorithm, real.algorithm);
        assert_eq!(Params::try_from(&nobody).unwrap().t_cost(), 2);
        assert!(nobody.salt.is_some() && nobody.hash.is_some());
    }

    #[tokio::test]
    async fn nobody_is_never_right() {
        let p = Passwords::new(1);
        assert!(!p.verify(&SecretString::from("whatever it is"), None).await.unwrap());
    }
}
