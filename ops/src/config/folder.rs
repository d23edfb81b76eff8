//! What a data folder knows: the private server's address, the master key, and its backups.

use super::sources::Texts;
use super::{ConfigFault, Needs};
use crate::backups::{KEYS, LocalKeys};
use crate::local;
use secrecy::ExposeSecret;
use std::path::Path;

/// The archive and the keys that `up` made in this folder, so that the command line finds its backups.
pub(super) fn own_backups(folder: &Path) -> Texts {
    let mut texts = Texts::new();
    let Some(keys) = LocalKeys::of(folder) else { return texts };
    let archive = std::path::absolute(LocalKeys::archive(folder)).unwrap_or_default();
    let place = format!("file {}", folder.join(KEYS).display());
    texts.add("backup.archive", archive.display().to_string(), place.as_str());
    add_keys(&mut texts, keys, &place);
    texts
}

fn add_keys(texts: &mut Texts, keys: LocalKeys, place: &str) {
    texts.add("backup.recipients", keys.recipients.join(","), place);
    texts.add("backup.signing_key", keys.signing_key, place);
    texts.add("backup.drill_identity", keys.drill_identity, place);
}

/// The keys of a file that `up` or `keygen --keep` has written.
pub(super) fn keys_file(path: &Path) -> Result<Texts, ConfigFault> {
    let place = format!("file {}", path.display());
    let keys = LocalKeys::of_file(path).map_err(|e| ConfigFault {
        key: "backup.keys_file".to_owned(),
        from: place.clone(),
        problem: format!("cannot be read: {e}"),
        remedy: format!(
            "make it with `switchyard backup keygen --keep FOLDER`: it is {KEYS} there"
        ),
    })?;
    let mut texts = Texts::new();
    add_keys(&mut texts, keys, &place);
    Ok(texts)
}

/// What the data folder knows, and what is wrong with its private server's address.
pub(super) fn read(folder: &Path, needs: Needs) -> (Texts, Option<ConfigFault>) {
    let mut texts = Texts::new();
    let mut fault = None;
    let place = format!("the private server of {}", folder.display());
    let stored = if needs.database { local::postgres::stored_urls(folder) } else { Ok(None) };
    match stored {
        Ok(None) => {}
        Ok(Some((owner, login))) => {
            texts.add("database.url", login.expose_secret(), place.as_str());
            texts.add("database.owner_url", owner.expose_secret(), place);
            // Whoever works beside a running `up` has to wake it the way it listens.
            if let Some(redis) = local::redis::stored_url(folder) {
                let place = format!("the private Redis of {}", folder.display());
                texts.add("redis.url", redis.expose_secret(), place);
            }
        }
        Err(e) => {
            let (key, problem) = ("database.url".to_owned(), e.chain());
            let remedy = "run this as the user that runs `switchyard up`, or set DATABASE_URL";
            fault = Some(ConfigFault { key, from: place, problem, remedy: remedy.to_owned() });
        }
    }
    let key = folder.join("secret.key");
    if (needs.secret_key || needs.database)
        && let Ok(text) = std::fs::read_to_string(&key)
    {
        texts.add("secret_key", text.trim(), format!("file {}", key.display()));
    }
    (texts, fault)
}
