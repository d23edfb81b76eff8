//! The file of a manifest: line 1 is the manifest as compact JSON, line 2 its signature.
//!
//! ```text
//! {"format":2,"id":"20261123T051500Z-9f3a61c2",...}
//! {"key":"<Ed25519 public key, base64>","signature":"<base64>"}
//! ```
//!
//! What is signed (Ed25519, RFC 8032) is [`CONTEXT`] followed by the bytes of line 1 without its line feed.

use super::layout;
use crate::model::{FORMAT, Manifest};
use crate::{BackupFault, Keys, Vault};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use switchyard_providers::archive::Entry;

/// Stands in front of what is signed, so that no signature of anything else fits a manifest.
pub const CONTEXT: &[u8] = b"switchyard backup manifest v1\n";

/// The largest manifest that is read, in bytes: some 100,000 files.
pub(crate) const MOST: usize = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct SignatureLine {
    key: String,
    signature: String,
}

#[derive(Deserialize)]
struct Probe {
    format: u32,
}

/// Writes and signs a manifest: the bytes of its file.
///
/// # Errors
/// There is no signing key.
pub fn seal_manifest(manifest: &Manifest, keys: &Keys) -> Result<Bytes, BackupFault> {
    let signer = keys.signer()?;
    let json = |e: serde_json::Error| BackupFault::Machine {
        doing: "writing a manifest".to_owned(),
        source: e.into(),
    };
    let mut file = serde_json::to_vec(manifest).map_err(json)?;
    let signature = signer.sign(&message(&file));
    let line = SignatureLine {
        key: signer.public().to_string(),
        signature: BASE64_STANDARD.encode(signature.to_bytes()),
    };
    file.push(b'\n');
    serde_json::to_writer(&mut file, &line).map_err(json)?;
    file.push(b'\n');
    Ok(file.into())
}

/// Reads a manifest's file and checks that it is signed by a trusted key, stands where it belongs and names
/// only files of its own.
///
/// # Errors
/// It is not to be trusted, or of a newer format; no trusted key is set.
pub fn open_manifest(key: &str, file: &[u8], keys: &Keys) -> Result<Manifest, BackupFault> {
    let trusted = keys.trusted()?;
    let fault = |problem: &str, remedy: &str| BackupFault::Manifest {
        key: key.to_owned(),
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    };
    let another = "take another backup, or the second archive's copy of this one";
    let mut lines = file.split(|b| *b == b'\n');
    let body = lines.next().unwrap_or_default();
    let probe: Probe = serde_json::from_slice(body).map_err(|_| fault("is none", another))?;
    if probe.format > FORMAT {
        return Err(fault(
            &format!("has format {}, and this version knows {FORMAT}", probe.format),
            "use a version of Switchyard at least as new as the one that wrote it",
        ));
    }
    let signed: SignatureLine = lines
        .next()
        .and_then(|line| serde_json::from_slice(line).ok())
        .ok_or_else(|| fault("is not signed", another))?;
    let signature: [u8; 64] = BASE64_STANDARD
        .decode(&signed.signature)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| fault("has a signature that is none", another))?;
    let signer = trusted.iter().find(|t| t.to_string() == signed.key).ok_or_else(|| {
        fault(
            "is signed by a key that is not trusted",
            "if it was one of yours, set its public key among those that are trusted",
        )
    })?;
    if !signer.holds(&message(body), &signature) {
        return Err(fault("was changed after it was signed", another));
    }
    let manifest: Manifest = serde_json::from_slice(body)
        .map_err(|e| fault(&format!("cannot be read ({e})"), another))?;
    if layout::manifest(&manifest) != key {
        return Err(fault("is that of another backup, put in this place", another));
    }
    let folder = layout::folder(&manifest);
    if !manifest.objects().all(|o| o.key.starts_with(&folder)) {
        return Err(fault("names files that are not its own", another));
    }
    Ok(manifest)
}

/// Signs a manifest and puts it into the archive: from then on the backup exists. Every file that it names
/// must be durable by then.
///
/// # Errors
/// One of its key is there: another run went on from the same position. The archive; no signing key.
pub async fn put_manifest(vault: &Vault, manifest: &Manifest) -> Result<(), BackupFault> {
    let file = seal_manifest(manifest, &vault.keys)?;
    Ok(vault.archive.put_new(&layout::manifest(manifest), file).await?)
}

fn message(body: &[u8]) -> Vec<u8> {
    [CONTEXT, body].concat()
}

/// Manifests that were read and found good, by key. They never change, so a process that lives long reads
/// each once; a listing that shows another size or time makes it read again.
#[derive(Debug, Default)]
pub(crate) struct ManifestCache(Mutex<HashMap<String, (Entry, Arc<Manifest>)>>);

impl ManifestCache {
    pub(crate) fn get(&self, entry: &Entry) -> Option<Arc<Manifest>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&entry.key).filter(|(e, _)| e == entry).map(|(_, m)| Arc::clone(m))
    }

    pub(crate) fn put(&self, entry: &Entry, manifest: Arc<Manifest>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(entry.key.clone(), (entry.clone(), manifest));
    }

    /// Forgets what is no longer in the archive.
    pub(crate) fn keep(&self, there: impl Fn(&str) -> bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|key, _| there(key));
    }
}
