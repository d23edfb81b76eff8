//! The keys: who can read a backup (age, X25519), who has written it (Ed25519), and the passphrase.
//!
//! A writer needs the recipients and the signing key; it can read nothing of what it has written. A
//! reader needs an identity and the public half of the signing key.

mod passphrase;
mod vault;

pub use passphrase::{PASSPHRASE_KEY, open_passphrase, seal_passphrase};
pub use vault::Vault;

use crate::BackupFault;
use age::secrecy::{ExposeSecret, SecretString};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rand::Rng;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What a signing key's text begins with.
const SIGNING_PREFIX: &str = "SWITCHYARD-SIGNING-KEY:";

/// Who can read: `age1...`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Recipient(age::x25519::Recipient);

impl Recipient {
    pub(crate) fn as_age(&self) -> &age::x25519::Recipient {
        &self.0
    }
}

impl FromStr for Recipient {
    type Err = BackupFault;

    fn from_str(text: &str) -> Result<Self, BackupFault> {
        let text = text.trim();
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            // The text is not repeated: it is a secret.
            return Err(BackupFault::key(
                "a recipient is an identity, the secret half",
                "put its public half there (`age1...`) and keep the identity off this machine",
            ));
        }
        text.parse().map(Self).map_err(|why: &str| {
            // Whatever else was pasted there may be a secret, too.
            let told = if text.starts_with("age1") { text } else { "what was given" };
            BackupFault::key(
                format!("`{told}` is no age recipient ({why})"),
                "it begins with `age1` and `switchyard backup keygen` prints one",
            )
        })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What reads: `AGE-SECRET-KEY-1...`. Never printed; its memory is wiped.
#[derive(Clone)]
pub struct Identity(age::x25519::Identity);

impl Identity {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Its public half.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// Its text, for the one time at which it is handed over.
    #[must_use]
    pub fn reveal(&self) -> SecretString {
        self.0.to_string()
    }

    pub(crate) fn as_age(&self) -> &age::x25519::Identity {
        &self.0
    }

    /// Reads the identities of a file as `age-keygen` writes it: one a line, `#` begins a comment.
    ///
    /// # Errors
    /// A line that is none, by its number and without its text; no identity at all.
    pub fn parse_all(text: &SecretString) -> Result<Vec<Self>, BackupFault> {
        let lines = text.expose_secret().lines().map(str::trim).enumerate();
        let found: Vec<Self> = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(at, line)| {
                line.parse().map(Self).map_err(|why: &str| {
                    BackupFault::key(
                        format!("line {} of the identity is no age identity ({why})", at + 1),
                        "it must be one `AGE-SECRET-KEY-1...` a line, as `switchyard backup keygen` \
                         and `age-keygen` write it",
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        if found.is_empty() {
            return Err(BackupFault::key(
                "there is no identity in what was given",
                "give the file with the line `AGE-SECRET-KEY-1...`",
            ));
        }
        Ok(found)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

/// What signs manifests. Never printed; its memory is wiped.
#[derive(Clone)]
pub struct Signer(SigningKey);

impl Signer {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rand::rng().fill_bytes(seed.as_mut_slice()); // a CSPRNG, seeded by the operating system
        Self(SigningKey::from_bytes(&seed))
    }

    /// Reads `SWITCHYARD-SIGNING-KEY:<base64>`.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &SecretString) -> Result<Self, BackupFault> {
        let fault = |problem: &str| {
            BackupFault::key(
                format!("the signing key {problem}"),
                "`switchyard backup keygen` makes one; it begins with `SWITCHYARD-SIGNING-KEY:`",
            )
        };
        let coded = text
            .expose_secret()
            .trim()
            .strip_prefix(SIGNING_PREFIX)
            .ok_or_else(|| fault("does not begin as one"))?;
        let bytes = BASE64_STANDARD.decode(coded).map_err(|_| fault("is not base64"))?;
        let bytes = Zeroizing::new(bytes);
        let seed: Zeroizing<[u8; 32]> =
            Zeroizing::new(bytes.as_slice().try_into().map_err(|_| fault("has not 32 bytes"))?);
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> Verifier {
        Verifier(self.0.verifying_key())
    }

    /// Its text, for the one time at which it is handed over.
    #[must_use]
    pub fn reveal(&self) -> SecretString {
        let coded = Zeroizing::new(BASE64_STANDARD.encode(self.0.as_bytes()));
        format!("{SIGNING_PREFIX}{}", coded.as_str()).into()
    }

    /// A hash that nobody can reckon who has only the text: it tells whether two texts of ours are the same.
    pub(crate) fn fingerprint(&self, what: &[u8]) -> Sha256 {
        Sha256::new_with_prefix(what).chain_update(self.0.as_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public())
    }
}

/// The public half of a signing key, in base64: what a restorer must be told.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier(VerifyingKey);

impl Verifier {
    /// Whether `signature` over `message` is this key's. Strict: no weak keys (RFC 8032, 5.1.7).
    pub(crate) fn holds(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl FromStr for Verifier {
    type Err = BackupFault;

    fn from_str(text: &str) -> Result<Self, BackupFault> {
        let text = text.trim();
        let fault = |problem: &str| {
            BackupFault::key(
                format!("the public key {problem}"),
                "it is the 44 characters of base64 that `switchyard backup keygen` printed as public \
                 key of the signatures",
            )
        };
        if text.starts_with(SIGNING_PREFIX) {
            return Err(fault("is the signing key itself, which is secret"));
        }
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| fault("is not base64"))?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| fault("has not 32 bytes"))?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| fault("is no Ed25519 key"))
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({self})")
    }
}

/// The keys that a process has. None of them is ever printed.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    recipients: Vec<Recipient>,
    identities: Vec<Identity>,
    signer: Option<Signer>,
    trusted: Vec<Verifier>,
}

impl Keys {
    /// None at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With those who can read what is written: the operators, the drill.
    #[must_use]
    pub fn recipients(mut self, recipients: impl IntoIterator<Item = Recipient>) -> Self {
        for recipient in recipients {
            if !self.recipients.contains(&recipient) {
                self.recipients.push(recipient);
            }
        }
        self
    }

    /// With what reads.
    #[must_use]
    pub fn identities(mut self, identities: impl IntoIterator<Item = Identity>) -> Self {
        self.identities.extend(identities);
        self
    }

    /// With what signs. What it has signed is trusted.
    #[must_use]
    pub fn signing(mut self, signer: Signer) -> Self {
        self.trusted.push(signer.public());
        self.signer = Some(signer);
        self
    }

    /// With keys whose signatures are trusted: more than one after a key was changed.
    #[must_use]
    pub fn trusting(mut self, trusted: impl IntoIterator<Item = Verifier>) -> Self {
        self.trusted.extend(trusted);
        self
    }

    /// Those who can read what is written, as they stand in a manifest.
    #[must_use]
    pub fn recipient_texts(&self) -> Vec<String> {
        self.recipients.iter().map(ToString::to_string).collect()
    }

    /// Whether there is an identity, so that something can be read.
    #[must_use]
    pub fn can_read(&self) -> bool {
        !self.identities.is_empty()
    }

    /// Whether there are recipients and a signing key, so that something can be written.
    #[must_use]
    pub fn can_write(&self) -> bool {
        !self.recipients.is_empty() && self.signer.is_some()
    }

    pub(crate) fn readers(&self) -> Result<&[Recipient], BackupFault> {
        if self.recipients.is_empty() {
            return Err(BackupFault::key(
                "no recipient is set, so nobody could read the backup",
                "run `switchyard backup keygen` and set the recipients that it prints",
            ));
        }
        Ok(&self.recipients)
    }

    pub(crate) fn openers(&self) -> Result<&[Identity], BackupFault> {
        if self.identities.is_empty() {
            return Err(BackupFault::key(
                "no identity is set, so the backup cannot be decrypted",
                "give the file with the line `AGE-SECRET-KEY-1...` of one of its recipients",
            ));
        }
        Ok(&self.identities)
    }

    pub(crate) fn signer(&self) -> Result<&Signer, BackupFault> {
        self.signer.as_ref().ok_or_else(|| {
            BackupFault::key(
                "no signing key is set, so the backup could not be trusted",
                "run `switchyard backup keygen` and set the signing key that it prints",
            )
        })
    }

    pub(crate) fn trusted(&self) -> Result<&[Verifier], BackupFault> {
        if self.trusted.is_empty() {
            return Err(BackupFault::key(
                "no key is set by which a backup's signature could be checked",
                "set the public key of the signatures that `switchyard backup keygen` printed (--trust, or \
                 backup.trusted), or name the identity's file that it wrote",
            ));
        }
        Ok(&self.trusted)
    }
}
