//! Portals as files: one YAML or JSON document that says everything about a portal, with samples that
//! prove it. `docs/portal-files.md` is its reference.

mod document;
mod request;
mod sample;
mod secret;

pub use document::Document;
pub use request::deliveries;
pub use secret::Secrets;
pub use switchyard_catalog::samples::{Delivery, Outcome, Sample, judge};

use serde::Serialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use switchyard_api::is_portal_code;
use switchyard_catalog::samples;
use switchyard_domain::FieldFault;
use switchyard_domain::portal::PortalSettings;

/// Members of a file that are not settings.
const OF_THE_FILE: [&str; 6] = ["$schema", "code", "name", "active", "secrets", "samples"];

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFault {
    /// Where: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The line in the file, where it is known.
    pub line: Option<usize>,
    /// Stable word for programs.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl FileFault {
    /// A fault at a place; [`Document::located`] adds the line.
    pub(crate) fn at(
        pointer: impl Into<String>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { pointer: pointer.into(), line: None, code: code.into(), message: message.into() }
    }

    /// As one line for people: `line 7, /mapping/fields/email: ...`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let line = self.line.map(|n| format!("line {n}, ")).unwrap_or_default();
        let place = if self.pointer.is_empty() { "the file" } else { &self.pointer };
        format!("{line}{place}: {}", self.message)
    }
}

impl From<FieldFault> for FileFault {
    fn from(f: FieldFault) -> Self {
        Self::at(f.field, f.code, f.message)
    }
}

/// A file that was read and checked. Its samples were not run yet.
#[derive(Debug)]
pub struct PortalFile {
    /// The word in the webhook's URL.
    pub code: String,
    /// For people.
    pub name: String,
    /// Whether deliveries are taken; `None`: as it stands, or yes.
    pub active: Option<bool>,
    /// The settings as they are stored.
    pub raw: Value,
    /// The same, read.
    pub settings: PortalSettings,
    /// Keys, secrets and tokens.
    pub secrets: Secrets,
    /// What proves the mapping.
    pub samples: Vec<Sample>,
    /// Where everything stands.
    pub document: Document,
}

impl PortalFile {
    /// Reads a file. Secrets that stand elsewhere are fetched only if `with_secrets` is set, so that
    /// a mapping can be tried where they are not known.
    ///
    /// # Errors
    /// Everything that is wrong, at once, each with its line.
    pub fn read(path: &Path, with_secrets: bool) -> Result<Self, Vec<FileFault>> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            vec![FileFault::at(
                "",
                "unreadable",
                format!("{} cannot be read: {e}.", path.display()),
            )]
        })?;
        let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::parse(&text, json, &folder, with_secrets)
    }

    /// The same from a text; other files that it names lie in `folder`.
    ///
    /// # Errors
    /// As [`PortalFile::read`].
    pub fn parse(
        text: &str,
        json: bool,
        folder: &Path,
        with_secrets: bool,
    ) -> Result<Self, Vec<FileFault>> {
        let document = Document::parse(text, json)?;
        let Value::Object(members) = document.value() else {
            let message = "A portal's file is a mapping of names to values: `code:`, `name:`, `mapping:`, ...";
            return Err(vec![FileFault::at("", "not_an_object", message)]);
        };
        let mut faults = Vec::new();
        let code = text_member(members, "code", &mut faults);
        if let Some(code) = code.as_deref().filter(|c| !is_portal_code(c)) {
            let message = format!(
                "`{code}` is no code; write 1 to 64 lower-case letters, digits, `_` and `-`."
            );
            faults.push(FileFault::at("/code", "invalid_code", message));
        }
        let name = members.contains_key("name").then(|| text_member(members, "name", &mut faults));
        let active = match members.get("active") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(active)) => Some(*active),
            Some(_) => {
                let message = "`active` is true or false.";
                faults.push(FileFault::at("/active", "invalid", message));
                None
            }
        };
        let raw = settings_of(members);
        let settings = match PortalSettings::parse(&raw) {
            Ok(settings) => Some(settings),
            Err(found) => {
                faults.extend(found.into_iter().map(FileFault::from));
                None
            }
        };
        let from = PathBuf::from(folder);
        let secrets = Secrets::read(members.get("secrets"), &from, with_secrets, &mut faults);
        let samples = sample::read(members.get("samples"), &from, &mut faults);
        if let (Some(code), Some(settings), true) = (code, settings, faults.is_empty()) {
            let name = name.flatten().unwrap_or_else(|| code.clone());
            return Ok(Self { code, name, active, raw, settings, secrets, samples, document });
        }
        Err(document.located(faults))
    }

    /// Runs every sample through the mapping.
    ///
    /// # Errors
    /// Every difference from what is expected.
    pub fn check_samples(&self) -> Result<usize, Vec<FileFault>> {
        samples::check(&self.samples, &self.settings)
            .map(|()| self.samples.len())
            .map_err(|f| self.document.located(f.into_iter().map(FileFault::from).collect()))
    }
}

fn settings_of(members: &Map<String, Value>) -> Value {
    let of_the_portal = members.iter().filter(|(name, _)| !OF_THE_FILE.contains(&name.as_str()));
    Value::Object(of_the_portal.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn text_member(
    members: &Map<String, Value>,
    name: &str,
    faults: &mut Vec<FileFault>,
) -> Option<String> {
    let pointer = format!("/{name}");
    match members.get(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Some(Value::String(_)) | Some(Value::Null) | None => {
            let message = format!("`{name}` is missing; a portal needs one.");
            faults.push(FileFault::at(pointer, "required", message));
            None
        }
        Some(other) => {
            let message = format!("`{name}` is a text; put {other} in quotes.");
            faults.push(FileFault::at(pointer, "invalid", message));
            None
        }
    }
}
