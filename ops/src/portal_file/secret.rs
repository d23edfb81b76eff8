//! Keys, secrets and tokens: they come into the file or from elsewhere, and never into the settings.

use super::FileFault;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::path::Path;

/// Senders choose some of these themselves, and some choose badly; shorter ones are guessed.
const LEAST_BYTES: usize = 5;
const MOST_BYTES: usize = 4096;
const KNOWN: [&str; 4] = ["api_key", "signing", "verify_token", "enrich_token"];

/// A portal's secrets; of those that can be changed over the newest first. Empty: not in the file.
#[derive(Debug, Default)]
pub struct Secrets {
    /// What senders show; at most two.
    pub api_key: Vec<SecretString>,
    /// What senders sign with; at most two.
    pub signing: Vec<SecretString>,
    /// What the sender shows when it makes itself known.
    pub verify_token: Option<SecretString>,
    /// What we show where the rest of a lead is fetched.
    pub enrich_token: Option<SecretString>,
}

impl Secrets {
    /// The signing secrets as they are sealed: a line each.
    #[must_use]
    pub fn signing_text(&self) -> Option<SecretString> {
        let lines: Vec<&str> = self.signing.iter().map(|s| s.expose_secret()).collect();
        (!lines.is_empty()).then(|| SecretString::from(lines.join("\n")))
    }

    pub(super) fn read(
        value: Option<&Value>,
        folder: &Path,
        fetch: bool,
        faults: &mut Vec<FileFault>,
    ) -> Self {
        let members = match value {
            None | Some(Value::Null) => return Self::default(),
            Some(Value::Object(members)) => members,
            Some(_) => {
                let message = "`secrets` is a mapping of names to secrets.";
                faults.push(FileFault::at("/secrets", "invalid", message));
                return Self::default();
            }
        };
        for name in members.keys().filter(|n| !KNOWN.contains(&n.as_str())) {
            let message = format!("`{name}` is no secret; there are {}.", KNOWN.join(", "));
            faults.push(FileFault::at(format!("/secrets/{name}"), "unknown_secret", message));
        }
        let mut all = |name: &str, most: usize| {
            let Some(value) = members.get(name).filter(|v| !v.is_null()) else { return Vec::new() };
            match several(value, &format!("/secrets/{name}"), most, folder, fetch) {
                Ok(secrets) => secrets,
                Err(fault) => {
                    faults.push(fault);
                    Vec::new()
                }
            }
        };
        Self {
            api_key: all("api_key", 2),
            signing: all("signing", 2),
            verify_token: all("verify_token", 1).pop(),
            enrich_token: all("enrich_token", 1).pop(),
        }
    }
}

fn several(
    value: &Value,
    at: &str,
    most: usize,
    folder: &Path,
    fetch: bool,
) -> Result<Vec<SecretString>, FileFault> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    if items.is_empty() || items.len() > most {
        let message = match most {
            1 => "Write one secret.".to_owned(),
            _ => format!(
                "Write one secret, or {most} while the sender changes over, the new one first."
            ),
        };
        return Err(FileFault::at(at, "too_many", message));
    }
    let one = |(n, item): (usize, &Value)| {
        let at = if value.is_array() { format!("{at}/{n}") } else { at.to_owned() };
        one(item, &at, folder, fetch)
    };
    let secrets: Vec<_> = items.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    Ok(secrets.into_iter().flatten().collect())
}

/// One secret; `None` if it stands elsewhere and is not to be fetched.
fn one(
    value: &Value,
    at: &str,
    folder: &Path,
    fetch: bool,
) -> Result<Option<SecretString>, FileFault> {
    let fault = |code: &str, message: String| FileFault::at(at, code, message);
    let shape = || {
        let message =
            "Write the secret in quotes, or where it stands: {env: NAME} or {file: PATH}.";
        fault("invalid", message.to_owned())
    };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(members) if members.len() == 1 => {
            let (kind, place) = members.iter().next().ok_or_else(shape)?;
            let place = place.as_str().ok_or_else(shape)?;
            if !["env", "file"].contains(&kind.as_str()) {
                return Err(shape());
            }
            if !fetch {
                return Ok(None);
            }
            if kind == "env" {
                std::env::var(place).map_err(|_| {
                    fault("not_set", format!("The environment variable {place} is not set."))
                })?
            } else {
                std::fs::read_to_string(folder.join(place)).map_err(|e| {
                    fault("unreadable", format!("The file {place} cannot be read: {e}."))
                })?
            }
        }
        _ => return Err(shape()),
    };
    let secret = SecretString::from(text.trim().to_owned());
    match secret.expose_secret().len() {
        n if n < LEAST_BYTES => {
            let message = format!("The secret has {n} bytes; at least {LEAST_BYTES} are needed.");
            Err(fault("too_short", message))
        }
        n if n > MOST_BYTES => {
            let message = format!("The secret has {n} bytes, at most {MOST_BYTES}: is it a file?");
            Err(fault("too_long", message))
        }
        // A public key may be a block of several lines.
        _ if secret.expose_secret().contains('\n') && !is_pem(secret.expose_secret()) => {
            Err(fault("several_lines", "The secret has several lines; write one.".to_owned()))
        }
        _ => Ok(Some(secret)),
    }
}

fn is_pem(text: &str) -> bool {
    text.starts_with("-----BEGIN PUBLIC KEY-----") && text.ends_with("-----END PUBLIC KEY-----")
}
