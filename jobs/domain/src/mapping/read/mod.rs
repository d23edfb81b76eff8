//! Reading a mapping: from JSON to rules, with every fault at its JSON pointer.

mod condition;
mod named;
mod plan;
mod rule;
mod source;
mod steps;

pub(super) use plan::{fetched_plan, plan};

use super::path::Path;
use crate::FieldFault;
use crate::portal::pointer;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// More than any sender has fields; bounds the work one event can cause.
const MOST_RULES: usize = 200;
/// Of one source or rule.
const MOST_STEPS: usize = 20;
/// Places of one list.
const MOST_SOURCES: usize = 50;
/// Conditions and sources within each other.
const DEEPEST: usize = 8;
/// Compiled ones take memory.
const MOST_PATTERNS: usize = 64;

/// Collects faults and knows what may be named.
pub(super) struct Reader {
    faults: Vec<FieldFault>,
    /// What `let` names.
    known: Vec<String>,
    /// Which of these were named since this was last emptied.
    used: BTreeSet<String>,
    patterns: usize,
}

impl Reader {
    pub fn new(known: &[&str]) -> Self {
        let known = known.iter().map(|&name| name.to_owned()).collect();
        Self { faults: Vec::new(), known, used: BTreeSet::new(), patterns: 0 }
    }

    pub fn into_faults(self) -> Vec<FieldFault> {
        self.faults
    }

    pub fn fault(&mut self, at: &str, code: &str, message: String) {
        self.faults.push(FieldFault::new(at, code, message));
    }

    /// An object that has no members but these.
    pub fn object<'v>(
        &mut self,
        value: &'v Value,
        at: &str,
        known: &[&str],
    ) -> Option<&'v Map<String, Value>> {
        let Value::Object(members) = value else {
            self.fault(at, "not_an_object", "An object must stand here.".to_owned());
            return None;
        };
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            let message = format!("`{name}` has no meaning here; known are {}.", known.join(", "));
            self.fault(&format!("{at}{}", pointer(name)), "unknown_member", message);
        }
        Some(members)
    }

    pub fn path(&mut self, text: &str, at: &str) -> Option<Path> {
        match text.parse::<Path>() {
            Ok(path) => {
                self.check_names(&path, at);
                Some(path)
            }
            Err(why) => {
                self.fault(at, "invalid_path", format!("{why}."));
                None
            }
        }
    }

    /// A member that is a path.
    fn path_member(&mut self, members: &Map<String, Value>, name: &str, at: &str) -> Option<Path> {
        let at = format!("{at}/{name}");
        match members.get(name).filter(|v| !v.is_null())? {
            Value::String(text) => self.path(text, &at),
            _ => {
                self.fault(&at, "invalid_path", "Write a path, as text.".to_owned());
                None
            }
        }
    }

    /// Whatever a path names must be there to be named.
    pub fn check_names(&mut self, path: &Path, at: &str) {
        for name in path.names() {
            if self.known.iter().any(|known| known == name) {
                self.used.insert(name.to_owned());
            } else {
                let message = format!(
                    "`${name}` names nothing here; write `$.{name}` for the body's member. `let` \
                     names values for `fields` and `enrich`."
                );
                self.faults.push(FieldFault::new(at, "unknown_name", message));
            }
        }
    }
}
