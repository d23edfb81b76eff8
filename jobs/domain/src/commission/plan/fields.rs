//! Reads the members of a document one by one, so that every fault is found at once.

use crate::FieldFault;
use crate::portal::pointer;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The members of one object of the document.
pub(super) struct Fields<'a> {
    members: &'a Map<String, Value>,
    /// The object's JSON pointer.
    at: String,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The members, or the fault that it is no object.
    pub fn of(value: &'a Value, at: &str, faults: &mut Vec<FieldFault>) -> Option<Self> {
        let members = value.as_object();
        if members.is_none() {
            faults.push(FieldFault::new(at, "not_an_object", "This is a JSON object."));
        }
        members.map(|members| Self { members, at: at.to_owned(), known: Vec::new() })
    }

    /// A member's JSON pointer.
    pub fn pointer(&self, name: &str) -> String {
        format!("{}{}", self.at, pointer(name))
    }

    /// A member that is there and not null.
    pub fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.members.get(name).filter(|v| !v.is_null())
    }

    /// A member of a type; `None` also if it cannot be read, with the fault.
    pub fn read<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        faults: &mut Vec<FieldFault>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let unreadable = |e| {
            let message = format!("`{name}` cannot be read: {e}.");
            faults.push(FieldFault::new(self.pointer(name), "invalid", message));
        };
        T::deserialize(value).map_err(unreadable).ok()
    }

    /// The same, needed.
    pub fn need<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        faults: &mut Vec<FieldFault>,
    ) -> Option<T> {
        if self.members.get(name).is_none_or(Value::is_null) {
            let message = format!("`{name}` is needed.");
            faults.push(FieldFault::new(self.pointer(name), "required", message));
        }
        self.read(name, faults)
    }

    /// A list, each entry read with its JSON pointer.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        faults: &mut Vec<FieldFault>,
        mut read: impl FnMut(&'a Value, &str, &mut Vec<FieldFault>) -> Option<T>,
    ) -> Vec<T> {
        let at = self.pointer(name);
        match self.get(name) {
            None => Vec::new(),
            Some(Value::Array(entries)) => {
                let one = |(i, entry)| read(entry, &format!("{at}/{i}"), faults);
                entries.iter().enumerate().filter_map(one).collect()
            }
            Some(_) => {
                faults.push(FieldFault::new(at, "invalid", format!("`{name}` is a list.")));
                Vec::new()
            }
        }
    }

    /// Whatever nobody asked for is a fault.
    pub fn end(self, faults: &mut Vec<FieldFault>) {
        for name in self.members.keys().filter(|n| !self.known.contains(&n.as_str())) {
            let known = self.known.join(", ");
            let message = format!("`{name}` means nothing here; there are {known}.");
            faults.push(FieldFault::new(self.pointer(name), "unknown_member", message));
        }
    }
}
