//! Signing secrets: at most two live ones, so that a sender can change over.

use super::SignatureScheme;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use zeroize::Zeroizing;

/// The secrets a portal may sign with, newest first. Neither prints; wiped when dropped.
#[derive(Clone)]
pub struct SigningSecrets {
    text: Zeroizing<String>,
    keys: Vec<Zeroizing<Vec<u8>>>,
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
    /// Standard Webhooks writes keys in base64.
    #[error("the signing secret must be base64, with or without `whsec_` before it")]
    NotBase64,
}

impl SigningSecrets {
    /// Reads one secret, or two on a line each, the newest first. What [`Self::text`] gives back
    /// is what is sealed and stored.
    ///
    /// Standard Webhooks asks for keys of 24 to 64 bytes; a plain HMAC secret must have 16 to 1024.
    ///
    /// # Errors
    /// If a secret is empty, too short, too long or not written as the scheme says.
    pub fn parse(scheme: &SignatureScheme, text: &str) -> Result<Self, SecretFault> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        if lines.is_empty() {
            return Err(SecretFault::Empty);
        }
        if lines.len() > 2 {
            return Err(SecretFault::TooMany);
        }
        let keys = lines.iter().map(|line| key(scheme, line)).collect::<Result<_, _>>()?;
        Ok(Self { text: Zeroizing::new(lines.join("\n")), keys })
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

    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|k| k.as_slice())
    }
}

impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecrets({} live)", self.keys.len())
    }
}

fn key(scheme: &SignatureScheme, line: &str) -> Result<Zeroizing<Vec<u8>>, SecretFault> {
    let (bytes, least, most) = match scheme {
        SignatureScheme::StandardWebhooks { .. } => {
            let base64 = line.strip_prefix("whsec_").unwrap_or(line);
            (STANDARD.decode(base64).map_err(|_| SecretFault::NotBase64)?, 24, 64)
        }
        SignatureScheme::HmacSha256 { .. } => (line.as_bytes().to_vec(), 16, 1024),
    };
    let bytes = Zeroizing::new(bytes);
    match bytes.len() {
        0 => Err(SecretFault::Empty),
        got if got < least => Err(SecretFault::TooShort { got, least }),
        got if got > most => Err(SecretFault::TooLong { got, most }),
        _ => Ok(bytes),
    }
}
