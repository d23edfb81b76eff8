//! Signing secrets: at most two live ones, so that a sender can change over.

use super::SignatureScheme;
use super::key::Key;
use super::rule::Algorithm;
use std::borrow::Cow;
use std::fmt;
use zeroize::Zeroizing;

/// The secrets a portal may sign with, newest first. Neither prints; wiped when dropped.
#[derive(Clone)]
pub struct SigningSecrets {
    text: Zeroizing<String>,
    keys: Vec<Key>,
}

/// Why a secret is refused. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// Nothing there.
    #[error("the signing secret is empty")]
    Empty,
    /// More than two lines.
    #[error("at most two signing secrets can be live at once: the new one and the one it replaces")]
    TooMany,
    /// Too easily guessed.
    #[error("the signing secret has {got} bytes, at least {least} are needed")]
    TooShort {
        /// Its length.
        got: usize,
        /// What is needed.
        least: usize,
    },
    /// Longer than any scheme uses: probably a whole file.
    #[error("the signing secret has {got} bytes, at most {most} are allowed")]
    TooLong {
        /// Its length.
        got: usize,
        /// What is allowed.
        most: usize,
    },
    /// The scheme writes its keys in base64.
    #[error("the signing secret must be base64, with or without the scheme's prefix before it")]
    NotBase64,
    /// The portal's keys are written in hexadecimal.
    #[error("the signing secret must be hexadecimal")]
    NotHex,
    /// The scheme needs the sender's public key.
    #[error(
        "the signing secret must be the sender's public key: PEM, base64 of its DER or of its \
         bytes, or hexadecimal"
    )]
    NotPublicKey,
    /// The scheme itself cannot be used.
    #[error("the signature scheme has faults; mend it first")]
    BadScheme,
}

impl SigningSecrets {
    /// Reads one secret, or two on a line each, the newest first; a public key may be a PEM block
    /// of several lines. What [`Self::text`] gives back is what is sealed and stored.
    ///
    /// An HMAC key must have 8 to 1024 bytes once it is decoded.
    ///
    /// # Errors
    /// If a secret is empty, too short, too long or not written as the scheme says.
    pub fn parse(scheme: &SignatureScheme, text: &str) -> Result<Self, SecretFault> {
        let lines = lines(text);
        if lines.is_empty() {
            return Err(SecretFault::Empty);
        }
        if lines.len() > 2 {
            return Err(SecretFault::TooMany);
        }
        let keys = lines.iter().map(|line| key(scheme, line)).collect::<Result<_, _>>()?;
        let mut text = Zeroizing::new(String::new());
        for line in &lines {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
        }
        Ok(Self { text, keys })
    }

    /// A key as it is, for published vectors whose keys are too short.
    #[cfg(test)]
    pub(super) fn unchecked(key: &[u8]) -> Self {
        let key = Key::Hmac(Zeroizing::new(key.to_vec()));
        Self { text: Zeroizing::default(), keys: vec![key] }
    }

    /// These secrets after a rotation: `new` first, the former first one kept as the second.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn rotated(&self, scheme: &SignatureScheme, new: &str) -> Result<Self, SecretFault> {
        let former = self.text.lines().next().unwrap_or_default();
        Self::parse(scheme, &Zeroizing::new(format!("{}\n{former}", new.trim())))
    }

    /// The secrets, a line each: for sealing.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// HMAC-SHA256 of a text under the newest secret, for a sender that wants a proof that we know
    /// it; `None` if the secret is a public key.
    #[must_use]
    pub fn prove(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.keys.first()?.hmac_sha256(text)
    }

    pub(super) fn fit(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|k| k.fits(algorithm))
    }

    pub(super) fn any_signed(
        &self,
        algorithm: Algorithm,
        message: &[Cow<'_, [u8]>],
        candidates: &[Vec<u8>],
    ) -> bool {
        self.keys.iter().any(|key| key.signed(algorithm, message, candidates))
    }
}

impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecrets({} live)", self.keys.len())
    }
}

/// A secret a line; the lines of a PEM block are one.
fn lines(text: &str) -> Vec<Zeroizing<String>> {
    let mut found = Vec::new();
    let mut block: Option<Zeroizing<String>> = None;
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if line.starts_with("-----BEGIN ") {
            block = Some(Zeroizing::new(String::new()));
        } else if line.starts_with("-----END ") {
            found.extend(block.take());
        } else if let Some(block) = &mut block {
            block.push_str(line);
        } else {
            found.push(Zeroizing::new(line.to_owned()));
        }
    }
    found
}

/// The rule whose prefix the secret has says how it is written; without one, the first does.
fn key(scheme: &SignatureScheme, line: &str) -> Result<Key, SecretFault> {
    let named = |prefix: &str| !prefix.is_empty() && line.starts_with(prefix);
    let rules = scheme.rules();
    let rule = rules.iter().find(|r| named(&r.secret_prefix)).or(rules.first());
    Key::read(rule.ok_or(SecretFault::BadScheme)?, line)
}
