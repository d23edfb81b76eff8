//! The passphrase: it opens an identity of its own, which is kept in the archive.
//!
//! age wants a passphrase to be the only recipient of a file, so the files themselves cannot be sealed
//! with one. An identity is, and its recipient is among those of the files:
//! `age -d keys/passphrase.age > key` asks for the passphrase, and `key` opens the files.

use super::Identity;
use crate::{BackupFault, Vault};
use age::secrecy::{ExposeSecret, SecretString};
use bytes::Bytes;
use std::io::{Read, Write};

/// Where the identity is kept in an archive.
pub const PASSPHRASE_KEY: &str = "keys/passphrase.age";

/// The most that is read of it; it is a few hundred bytes long.
const MOST: usize = 64 * 1024;

/// Makes an identity, seals it with a passphrase and keeps it in the archive, if none is there. Its
/// recipient belongs into the settings. Takes about a second of work: that is what protects it.
///
/// # Errors
/// The passphrase is shorter than 12 characters; one is in the archive already; the archive.
pub async fn seal_passphrase(
    vault: &Vault,
    passphrase: SecretString,
) -> Result<super::Recipient, BackupFault> {
    if passphrase.expose_secret().chars().count() < 12 {
        return Err(BackupFault::key(
            "the passphrase is shorter than 12 characters",
            "take four or more words that nobody would guess",
        ));
    }
    let identity = Identity::generate();
    let recipient = identity.recipient();
    let sealed = on_thread(move || seal(&identity, passphrase)).await?;
    vault.archive.put_new(PASSPHRASE_KEY, sealed).await?;
    Ok(recipient)
}

/// Opens the identity that is kept in the archive.
///
/// # Errors
/// There is none, or the passphrase is another; the archive.
pub async fn open_passphrase(
    vault: &Vault,
    passphrase: SecretString,
) -> Result<Identity, BackupFault> {
    let sealed = crate::format::read_small(vault.archive.as_ref(), PASSPHRASE_KEY, MOST).await?;
    on_thread(move || open(&sealed, passphrase)).await
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupFault> + Send + 'static,
) -> Result<T, BackupFault> {
    tokio::task::spawn_blocking(work).await.map_err(|_| BackupFault::Stopped)?
}

fn seal(identity: &Identity, passphrase: SecretString) -> Result<Bytes, BackupFault> {
    let mut sealed = Vec::new();
    let doing = "sealing the passphrase's identity";
    let mut writer = age::Encryptor::with_user_passphrase(passphrase)
        .wrap_output(&mut sealed)
        .map_err(BackupFault::machine(doing))?;
    writeln!(writer, "# public key: {}", identity.recipient())
        .and_then(|()| writeln!(writer, "{}", identity.reveal().expose_secret()))
        .and_then(|()| writer.finish())
        .map_err(BackupFault::machine(doing))?;
    Ok(sealed.into())
}

fn open(sealed: &[u8], passphrase: SecretString) -> Result<Identity, BackupFault> {
    let fault = |problem: String| {
        BackupFault::key(problem, "try another, or use the identity of an operator instead")
    };
    let unlock = age::scrypt::Identity::new(passphrase);
    let mut text = zeroize::Zeroizing::new(String::new());
    let reader = age::Decryptor::new_buffered(sealed)
        .map_err(|e| fault(format!("{PASSPHRASE_KEY} cannot be read ({e})")))?
        .decrypt(std::iter::once(&unlock as &dyn age::Identity))
        .map_err(|_| fault(format!("the passphrase does not open {PASSPHRASE_KEY}")))?;
    reader
        .take(MOST as u64)
        .read_to_string(&mut text)
        .map_err(|e| fault(format!("{PASSPHRASE_KEY} cannot be read ({e})")))?;
    let mut found = Identity::parse_all(&text.as_str().into())?;
    Ok(found.swap_remove(0))
}
