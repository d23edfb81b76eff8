//! Where settings come from, the later before the earlier: defaults, what a data folder holds, a
//! file, `DATABASE_URL` and `REDIS_URL`, `SWITCHYARD_*`, the command line.

use super::ConfigFault;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};
use std::path::{Path, PathBuf};

/// The file that is read when none is named and it is there.
pub(super) const DEFAULT_FILE: &str = "switchyard.toml";
/// Variables that begin like settings and are none.
const NO_SETTINGS: [&str; 2] = ["SWITCHYARD_CONFIG", "SWITCHYARD_TEST_"];

/// Settings as text, each with the place it came from.
pub(super) struct Texts {
    /// `(key, value, place)`, keys with dots.
    settings: Vec<(String, String, String)>,
}

impl Texts {
    pub(super) fn new() -> Self {
        Self { settings: Vec::new() }
    }

    pub(super) fn add(&mut self, key: &str, value: impl Into<String>, place: impl Into<String>) {
        self.settings.push((key.to_owned(), value.into(), place.into()));
    }

    fn layer(self, into: Figment, lay: fn(Figment, One) -> Figment) -> Figment {
        self.settings
            .into_iter()
            .fold(into, |figment, (key, value, place)| lay(figment, One { key, value, place }))
    }

    /// Over what is there.
    pub(super) fn over(self, figment: Figment) -> Figment {
        self.layer(figment, |f, one| f.merge(one))
    }

    /// Under what is there.
    pub(super) fn under(self, figment: Figment) -> Figment {
        self.layer(figment, |f, one| f.join(one))
    }
}

/// One setting: a provider of its own, so that its place is known exactly.
struct One {
    key: String,
    value: String,
    place: String,
}

impl Provider for One {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let dict = match figment::util::nest(&self.key, Value::from(self.value.clone())) {
            Value::Dict(_, dict) => dict,
            _ => Dict::new(),
        };
        Ok(Profile::Default.collect(dict))
    }
}

/// The file, if there is one; what is wrong with it goes to `faults`.
pub(super) fn file(named: Option<&Path>, faults: &mut Vec<ConfigFault>) -> Figment {
    let path = match named {
        Some(path) => path.to_owned(),
        None if Path::new(DEFAULT_FILE).exists() => PathBuf::from(DEFAULT_FILE),
        None => return Figment::new(),
    };
    let from = format!("file {}", path.display());
    let mut fault = |problem: String, remedy: &str| {
        let key = "(the file)".to_owned();
        faults.push(ConfigFault { key, from: from.clone(), problem, remedy: remedy.to_owned() });
        Figment::new()
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) => {
            return fault(
                format!("cannot be read: {e}"),
                "name a file that is there with --config",
            );
        }
    };
    if let Err(e) = Toml::string(&text).data() {
        return fault(format!("is no TOML: {e}"), "mend the line that is named");
    }
    Figment::from(Named { inner: Toml::string(&text), name: from })
}

/// A provider under another name.
struct Named<P> {
    inner: P,
    name: String,
}

impl<P: Provider> Provider for Named<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        self.inner.data()
    }
}

/// What the environment says.
pub(super) fn environment(variables: impl Iterator<Item = (String, String)>) -> Texts {
    let mut texts = Texts::new();
    let mut ours = Vec::new();
    for (name, value) in variables {
        let place = format!("environment variable {name}");
        match name.as_str() {
            "DATABASE_URL" => texts.add("database.url", value, place),
            "REDIS_URL" => texts.add("redis.url", value, place),
            _ if NO_SETTINGS.iter().any(|n| name.starts_with(n)) => {}
            _ => {
                if let Some(key) = name.strip_prefix("SWITCHYARD_") {
                    ours.push((key.to_lowercase().replace("__", "."), value, place));
                }
            }
        }
    }
    texts.settings.extend(ours);
    texts
}
