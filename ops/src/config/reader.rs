//! Reads settings one by one, so that every fault is found and every key is known.

use super::ConfigFault;
use super::sources::Texts;
use super::value::{Given, Setting};
use figment::Figment;
use figment::value::{Dict, Value};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How alike a key must be (of 1) to be taken for what was meant.
const ALIKE: f64 = 0.75;

/// One setting as it is in effect.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The key: `worker.concurrency`.
    pub key: &'static str,
    /// The value; of a secret only whether it is set. `null`: not set.
    pub value: Option<String>,
    /// Where it came from.
    pub from: String,
    /// What it is for.
    pub about: &'static str,
}

pub(super) struct Reader {
    figment: Figment,
    pub(super) entries: Vec<Entry>,
    pub(super) faults: Vec<ConfigFault>,
}

impl Reader {
    pub(super) fn new(figment: Figment, faults: Vec<ConfigFault>) -> Self {
        Self { figment, entries: Vec::new(), faults }
    }

    /// A setting with a default.
    pub(super) fn get<T: Setting>(
        &mut self,
        key: &'static str,
        default: T,
        about: &'static str,
    ) -> T {
        let value = self.read(key, |_| None).unwrap_or(default);
        self.note(key, Some(value.written()), about);
        value
    }

    /// A setting that may be missing.
    pub(super) fn optional<T: Setting>(
        &mut self,
        key: &'static str,
        about: &'static str,
    ) -> Option<T> {
        let value: Option<T> = self.read(key, |_| None);
        self.note(key, value.as_ref().map(Setting::written), about);
        value
    }

    /// A whole number between bounds.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        default: u64,
        bounds: RangeInclusive<u64>,
        about: &'static str,
    ) -> T {
        let check = |n: &u64| {
            let (low, high) = (bounds.start(), bounds.end());
            (!bounds.contains(n)).then(|| format!("must be from {low} to {high}"))
        };
        let value = self.read(key, check).unwrap_or(default);
        self.note(key, Some(value.written()), about);
        T::try_from(value).ok().expect("the bounds lie within the type")
    }

    /// A duration between bounds.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        bounds: RangeInclusive<Duration>,
        about: &'static str,
    ) -> Duration {
        let check = |d: &Duration| {
            let (low, high) = (bounds.start().written(), bounds.end().written());
            (!bounds.contains(d)).then(|| format!("must be from {low} to {high}"))
        };
        let value = self.read(key, check).unwrap_or(default);
        self.note(key, Some(value.written()), about);
        value
    }

    /// One of some words; the first is the default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        about: &'static str,
    ) -> T {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let check = |s: &String| {
            (!names.contains(&s.as_str())).then(|| format!("must be one of {}", names.join(", ")))
        };
        let word = self.read(key, check);
        let at = word.and_then(|w| names.iter().position(|n| *n == w)).unwrap_or(0);
        self.note(key, Some(names[at].to_owned()), about);
        words[at].1
    }

    /// A secret. `check` gives what is wrong with it, without naming it.
    pub(super) fn secret(
        &mut self,
        key: &'static str,
        about: &'static str,
        check: impl FnOnce(&str) -> Option<String>,
    ) -> Option<SecretString> {
        let secret = self.hidden(key, check);
        self.note(key, secret.as_ref().map(|_| "(set)".to_owned()), about);
        secret
    }

    /// An address with a password in it, which is not shown.
    pub(super) fn secret_url(
        &mut self,
        key: &'static str,
        about: &'static str,
        schemes: &'static [&'static str],
    ) -> Option<SecretString> {
        let check = |text: &str| {
            let right = url::Url::parse(text).is_ok_and(|u| schemes.contains(&u.scheme()));
            (!right)
                .then(|| format!("is no address that starts with {}://", schemes.join(":// or ")))
        };
        let secret = self.hidden(key, check);
        let shown = secret.as_ref().map(|s| without_password(s.expose_secret()));
        self.note(key, shown, about);
        secret
    }

    /// Says that something is wrong with a key that was read.
    pub(super) fn fault(
        &mut self,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let from = self.from(key);
        let (problem, remedy) = (problem.into(), remedy.into());
        self.faults.push(ConfigFault { key: key.to_owned(), from, problem, remedy });
    }

    /// Whether a fault of this key is known already.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        self.faults.iter().any(|f| f.key == key)
    }

    /// Adds settings that hold where nobody set anything else.
    pub(super) fn add_below(&mut self, texts: Texts) {
        self.figment = texts.under(std::mem::take(&mut self.figment));
    }

    /// Whether somebody set this key.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.figment.find_value(key).is_ok()
    }

    /// Every key that was set and that nobody read is a fault.
    pub(super) fn refuse_unknown(&mut self) {
        let mut set = Vec::new();
        let all: Dict = self.figment.extract().unwrap_or_default();
        leaves("", &all, &mut set);
        for key in set {
            let known = self.entries.iter().map(|e| e.key);
            if known.clone().any(|k| k == key) {
                continue;
            }
            // A section given where a value is wanted was reported when the value was read.
            if known.clone().any(|k| key.starts_with(&format!("{k}."))) {
                continue;
            }
            let likeness = |known: &str| strsim::jaro_winkler(known, &key);
            let near = known.filter(|k| likeness(k) > ALIKE);
            let near = near.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let remedy = near.map_or_else(
                || "take it out; `switchyard config` lists all keys".to_owned(),
                |near| format!("did you mean `{near}`? `switchyard config` lists all keys"),
            );
            self.fault(&key, "is no setting that Switchyard knows", remedy);
        }
    }

    fn hidden(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&str) -> Option<String>,
    ) -> Option<SecretString> {
        let value = self.figment.find_value(key).ok()?;
        let problem = match Given::of(&value) {
            Given::Text("") => return None, // set to nothing: not set
            Given::Text(text) => match check(text) {
                None => return Some(SecretString::from(text.to_owned())),
                Some(problem) => problem,
            },
            _ => "must be text".to_owned(),
        };
        self.fault(key, problem, "set it anew; its value is secret and is not shown here");
        None
    }

    fn read<T: Setting>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&T) -> Option<String>,
    ) -> Option<T> {
        let value = self.figment.find_value(key).ok()?;
        let given = Given::of(&value);
        if matches!(given, Given::Text("")) {
            return None; // `SWITCHYARD_X=` is how a shell says "not set"
        }
        let problem = match T::read(&given) {
            Some(read) => match check(&read) {
                None => return Some(read),
                Some(problem) => problem,
            },
            None => format!("must be {}", T::WANTED),
        };
        let problem = format!("is {}; it {problem}", given.shown());
        self.fault(key, problem, "mend it, or leave it out for the default");
        None
    }

    fn note(&mut self, key: &'static str, value: Option<String>, about: &'static str) {
        let from = self.from(key);
        self.entries.push(Entry { key, value, from, about });
    }

    fn from(&self, key: &str) -> String {
        let metadata = self.figment.find_metadata(key);
        metadata.map_or_else(|| "default".to_owned(), |m| m.name.to_string())
    }
}

fn leaves(prefix: &str, dict: &Dict, into: &mut Vec<String>) {
    for (name, value) in dict {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => leaves(&key, inner, into),
            _ => into.push(key),
        }
    }
}

/// `postgres://user:***@host/db`
pub(crate) fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) => {
            if url.password().is_some() {
                let _ = url.set_password(Some("***"));
            }
            // Query parameters may hold one too.
            let query: Vec<String> = url
                .query_pairs()
                .map(|(k, v)| {
                    let hide = k.contains("password");
                    format!("{k}={}", if hide { "***".into() } else { v })
                })
                .collect();
            if !query.is_empty() {
                url.set_query(Some(&query.join("&")));
            }
            url.to_string()
        }
        Err(_) => "(set)".to_owned(),
    }
}
