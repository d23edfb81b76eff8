//! Reading a mapping as a whole.

use super::source::TransposeInner;
use super::{MOST_RULES, Reader, named};
use crate::FieldFault;
use crate::mapping::args::PivotArgs;
use crate::mapping::plan::{Events, Fields, Groups, Items, Lines, Plan};
use crate::mapping::rule::Condition;
use crate::mapping::target::{Target, is_entry};
use crate::portal::pointer;
use serde::Deserialize;
use serde_json::{Map, Value};

const MEMBERS: [&str; 8] =
    ["events", "foreach", "where", "group_by", "pivot", "having", "let", "fields"];
/// Entries of one list in `events`.
const MOST_ENTRIES: usize = 50;

/// A portal's mapping. `contact`: must it fill an e-mail address or a phone number?
pub(in crate::mapping) fn plan(source: &Value, contact: bool) -> Result<Plan, Vec<FieldFault>> {
    let mut reader = Reader::new(&named::names(source));
    let mut plan = Plan::default();
    if let Some(members) = reader.object(source, "", &MEMBERS) {
        // Names are those of a lead; which items are leads cannot depend on them.
        let known = std::mem::take(&mut reader.known);
        plan.events = reader.events(members.get("events"));
        plan.items = reader.items(members.get("foreach"));
        plan.only = reader.optional_condition(members, "where", "").flatten();
        plan.groups = reader.groups(members);
        reader.known = known;
        plan.named = reader.named(members.get("let"), "/let");
        plan.fields = reader.fields(members.get("fields"), contact);
    }
    if reader.faults.is_empty() { Ok(plan) } else { Err(reader.faults) }
}

/// What is fetched to complete a lead: fields and names only.
pub(in crate::mapping) fn fetched_plan(source: &Value) -> Result<Plan, Vec<FieldFault>> {
    let mut reader = Reader::new(&named::names(source));
    let mut plan = Plan::default();
    if let Some(members) = reader.object(source, "", &["let", "fields"]) {
        plan.named = reader.named(members.get("let"), "/let");
        plan.fields = reader.fields(members.get("fields"), true);
    }
    if reader.faults.is_empty() { Ok(plan) } else { Err(reader.faults) }
}

impl Reader {
    /// The outer `None`: it is there and cannot be read.
    fn optional_condition(
        &mut self,
        members: &Map<String, Value>,
        name: &str,
        at: &str,
    ) -> Option<Option<Condition>> {
        let read = members.get(name).map(|v| self.condition(v, &format!("{at}/{name}"), 0));
        read.transpose_inner()
    }

    fn events(&mut self, value: Option<&Value>) -> Events {
        let mut events = Events::default();
        let Some(value) = value else { return events };
        let Some(members) = self.object(value, "/events", &["accept", "ignore", "honeypot"]) else {
            return events;
        };
        events.accept = self.optional_condition(members, "accept", "/events").flatten();
        for (i, entry) in self.entries(members, "ignore").iter().enumerate() {
            let at = format!("/events/ignore/{i}");
            let Some(entry) = self.object(entry, &at, &["when", "reason"]) else { continue };
            let Some(when) = entry.get("when") else {
                self.fault(&at, "required", "Say in `when` which events are ignored.".to_owned());
                continue;
            };
            let reason = match entry.get("reason") {
                None => None,
                Some(Value::String(reason)) if reason.len() <= 500 => Some(reason.clone()),
                Some(_) => {
                    let message = "The reason is a text of at most 500 bytes.";
                    self.fault(&format!("{at}/reason"), "invalid_text", message.to_owned());
                    None
                }
            };
            if let Some(when) = self.condition(when, &format!("{at}/when"), 0) {
                events.ignore.push((when, reason));
            }
        }
        for (i, path) in self.entries(members, "honeypot").iter().enumerate() {
            let at = format!("/events/honeypot/{i}");
            match path.as_str() {
                Some(text) => events.honeypot.extend(self.path(text, &at)),
                None => self.fault(&at, "invalid_path", "Write a path, as text.".to_owned()),
            }
        }
        events
    }

    fn entries<'v>(&mut self, members: &'v Map<String, Value>, name: &str) -> &'v [Value] {
        match members.get(name) {
            None => &[],
            Some(Value::Array(entries)) if entries.len() <= MOST_ENTRIES => entries,
            Some(_) => {
                let message = format!("A list of at most {MOST_ENTRIES} entries stands here.");
                self.fault(&format!("/events/{name}"), "not_a_list", message);
                &[]
            }
        }
    }

    /// One path, or several that are followed one from another.
    fn items(&mut self, value: Option<&Value>) -> Option<Items> {
        let text = match value? {
            Value::String(text) => text.clone(),
            source @ Value::Object(_) => {
                return self.source(source, "/foreach", 0).map(|s| Items::Source(Box::new(s)));
            }
            Value::Array(parts) if !parts.is_empty() && parts.iter().all(Value::is_string) => {
                let parts: Vec<_> = parts.iter().filter_map(Value::as_str).collect();
                let joined = parts.iter().enumerate().map(|(i, part)| {
                    if i == 0 || part.starts_with('[') {
                        (*part).to_owned()
                    } else {
                        format!(".{part}")
                    }
                });
                joined.collect::<String>()
            }
            _ => {
                let message = "Write the path of the items, a list of paths that are followed one \
                               from another, or a source with steps.";
                self.fault("/foreach", "invalid_path", message.to_owned());
                return None;
            }
        };
        self.path(&text, "/foreach").map(Items::Path)
    }

    fn groups(&mut self, members: &Map<String, Value>) -> Option<Groups> {
        for (name, needs) in
            [("group_by", "foreach"), ("pivot", "group_by"), ("having", "group_by")]
        {
            if members.contains_key(name) && !members.contains_key(needs) {
                let message = format!("`{name}` has no meaning without `{needs}`.");
                self.fault(&format!("/{name}"), "unknown_member", message);
            }
        }
        let by = self.path_member(members, "group_by", "")?;
        let pivot = members.get("pivot").map(PivotArgs::deserialize).transpose();
        let pivot = pivot.unwrap_or_else(|e| {
            let message = format!("`pivot` has `key`, `value` and, if wanted, `order_by`: {e}.");
            self.fault("/pivot", "invalid_step", message);
            None
        });
        for path in pivot.iter().flat_map(PivotArgs::paths) {
            self.check_names(path, "/pivot");
        }
        let only = self.optional_condition(members, "having", "").flatten();
        Some(Groups { by, pivot, only })
    }

    fn fields(&mut self, value: Option<&Value>, contact: bool) -> Fields {
        let mut read = Fields::default();
        let Some(Value::Object(fields)) = value else {
            let message = "Say in `fields`, an object, where each field of a lead comes from.";
            self.fault("/fields", "required", message.to_owned());
            return read;
        };
        if fields.len() > MOST_RULES {
            self.fault("/fields", "too_many", format!("At most {MOST_RULES} fields."));
        }
        for (name, rule) in fields.iter().take(MOST_RULES) {
            let at = format!("/fields{}", pointer(name));
            match name.parse::<Target>() {
                Ok(Target::LineItems) => read.lines = self.lines(rule, &at),
                Ok(target) => {
                    if let Some(rule) = self.rule(rule, &at, Some(&target)) {
                        read.rules.insert(target, rule);
                    }
                }
                Err(why) => self.fault(&at, "unknown_field", format!("{why}.")),
            }
        }
        if contact && !["email", "phone"].iter().any(|name| fields.contains_key(*name)) {
            let message = "Map `email`, `phone` or both: a lead needs one of them.";
            self.fault("/fields", "contact_required", message.to_owned());
        }
        read
    }

    fn lines(&mut self, value: &Value, at: &str) -> Option<Lines> {
        let members = self.object(value, at, &["each", "where", "fields"])?;
        let path = self.path_member(members, "each", at);
        if !members.get("each").is_some_and(Value::is_string) {
            let message = "Say in `each` where the lines stand, and in `fields` what is in them.";
            self.fault(at, "required", message.to_owned());
        }
        let only = self.optional_condition(members, "where", at);
        let mut fields = Vec::new();
        match members.get("fields") {
            Some(Value::Object(rules)) if !rules.is_empty() && rules.len() <= MOST_RULES => {
                for (name, rule) in rules {
                    let at = format!("{at}/fields{}", pointer(name));
                    if !is_entry(name) {
                        let message = "Names have letters, digits, `_`, `-` and `.`, at most 64.";
                        self.fault(&at, "unknown_field", message.to_owned());
                    }
                    fields.extend(self.rule(rule, &at, None).map(|rule| (name.clone(), rule)));
                }
            }
            _ => {
                let message = format!("An object of 1 to {MOST_RULES} fields stands here.");
                self.fault(&format!("{at}/fields"), "required", message);
            }
        }
        Some(Lines { path: path?, only: only?, fields })
    }
}
