//! Reading `let`: values with a name, in the order in which they need each other.

use super::Reader;
use crate::mapping::path::is_name;
use crate::mapping::rule::Source;
use crate::portal::pointer;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// More than anybody keeps apart.
const MOST_NAMES: usize = 50;

/// The names that a mapping's `let` gives.
pub(super) fn names(source: &Value) -> Vec<&str> {
    let members = source.get("let").and_then(Value::as_object);
    members.map_or_else(Vec::new, |m| m.keys().map(String::as_str).collect())
}

impl Reader {
    pub fn named(&mut self, value: Option<&Value>, at: &str) -> Vec<(String, Source)> {
        let Some(value) = value else { return Vec::new() };
        let Value::Object(members) = value else {
            self.fault(
                at,
                "not_an_object",
                "An object of names and sources stands here.".to_owned(),
            );
            return Vec::new();
        };
        if members.len() > MOST_NAMES {
            self.fault(at, "too_many", format!("At most {MOST_NAMES} names."));
            return Vec::new();
        }
        let mut read = BTreeMap::new();
        for (name, source) in members {
            let at = format!("{at}{}", pointer(name));
            if !is_name(name) {
                let message = format!("`{name}` is no name; use letters, digits and `_`.");
                self.fault(&at, "invalid_name", message);
            }
            self.used.clear();
            if let Some(source) = self.source(source, &at, 0) {
                read.insert(name.clone(), (source, std::mem::take(&mut self.used)));
            }
        }
        self.ordered(members, read, at)
    }

    fn ordered(
        &mut self,
        members: &Map<String, Value>,
        mut read: BTreeMap<String, (Source, BTreeSet<String>)>,
        at: &str,
    ) -> Vec<(String, Source)> {
        let mut ordered: Vec<(String, Source)> = Vec::new();
        while !read.is_empty() {
            let ready = read.iter().find(|(_, (_, needs))| {
                // What could not be read has its own fault and is not waited for.
                needs.iter().all(|need| !read.contains_key(need))
            });
            let Some(name) = ready.map(|(name, _)| name.clone()) else { break };
            if let Some((source, _)) = read.remove(&name) {
                ordered.push((name, source));
            }
        }
        for name in members.keys().filter(|name| read.contains_key(*name)) {
            let message = format!("`{name}` needs itself, directly or by way of another name.");
            self.fault(&format!("{at}{}", pointer(name)), "circular", message);
        }
        ordered
    }
}
