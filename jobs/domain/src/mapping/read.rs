//! Reading a mapping: from JSON to rules, with every fault at its JSON pointer.

use super::path::Path;
use super::rule::{Condition, OnError, Place, Rule, Source, Test};
use super::run::Cx;
use super::step::Step;
use super::target::Target;
use super::value::{Val, from_json, text_of};
use super::{MappingInput, fill};
use crate::headers::is_field_name;
use crate::portal::{Defaults, pointer};
use crate::{FieldFault, Headers, StandardLead};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// More than any sender has fields; bounds the work one event can cause.
const MOST_RULES: usize = 200;
/// Of one source or rule.
const MOST_STEPS: usize = 20;
/// Conditions within conditions.
const DEEPEST_CONDITION: usize = 8;

/// Every rule by its field.
pub(super) fn rules(source: &Value) -> Result<BTreeMap<Target, Rule>, Vec<FieldFault>> {
    let mut reader = Reader { faults: Vec::new() };
    let mut rules = BTreeMap::new();
    if let Some(members) = reader.object(source, "", &["fields"]) {
        match members.get("fields") {
            Some(Value::Object(fields)) => {
                if fields.len() > MOST_RULES {
                    reader.fault("/fields", "too_many", format!("At most {MOST_RULES} fields."));
                }
                for (name, rule) in fields.iter().take(MOST_RULES) {
                    let at = format!("/fields{}", pointer(name));
                    match name.parse::<Target>() {
                        Ok(target) => {
                            if let Some(rule) = reader.rule(rule, &at, &target) {
                                rules.insert(target, rule);
                            }
                        }
                        Err(why) => reader.fault(&at, "unknown_field", format!("{why}.")),
                    }
                }
                let contact = [Target::Email, Target::Phone];
                if !contact.iter().any(|t| fields.contains_key(&t.to_string())) {
                    let message = "Map `email`, `phone` or both: a lead needs one of them.";
                    reader.fault("/fields", "contact_required", message.to_owned());
                }
            }
            _ => reader.fault(
                "/fields",
                "required",
                "Say in `fields`, an object, where each field of a lead comes from.".to_owned(),
            ),
        }
    }
    if reader.faults.is_empty() { Ok(rules) } else { Err(reader.faults) }
}

struct Reader {
    faults: Vec<FieldFault>,
}

impl Reader {
    fn fault(&mut self, at: &str, code: &str, message: String) {
        self.faults.push(FieldFault::new(at, code, message));
    }

    /// An object that has no members but these.
    fn object<'v>(
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

    fn rule(&mut self, value: &Value, at: &str, target: &Target) -> Option<Rule> {
        const KNOWN: [&str; 7] =
            ["from", "const", "when", "then", "default", "required", "on_error"];
        if value.is_string() {
            let source = self.source(value, at)?;
            return Some(Rule {
                sources: vec![source],
                when: None,
                then: Vec::new(),
                default: None,
                required: false,
                on_error: OnError::Null,
            });
        }
        let members = self.object(value, at, &KNOWN)?;
        let sources = self.sources(members, at);
        let when = members.get("when").and_then(|v| self.condition(v, &format!("{at}/when"), 0));
        let then = self.steps(members.get("then"), &format!("{at}/then"));
        let default = members.get("default").filter(|v| !v.is_null()).cloned();
        if let Some(default) = &default {
            self.check_constant(default, &format!("{at}/default"), target);
        }
        if let (Some(constant), true) = (members.get("const"), then.is_empty()) {
            self.check_constant(constant, &format!("{at}/const"), target);
        }
        let required = match members.get("required") {
            None => false,
            Some(Value::Bool(required)) => *required,
            Some(_) => {
                let at = format!("{at}/required");
                self.fault(&at, "not_a_boolean", "Write true or false.".to_owned());
                false
            }
        };
        let on_error = match members.get("on_error").map(|v| v.as_str()) {
            None | Some(Some("null")) => OnError::Null,
            Some(Some("reject")) => OnError::Reject,
            Some(_) => {
                let at = format!("{at}/on_error");
                self.fault(&at, "unknown_policy", "Write \"null\" or \"reject\".".to_owned());
                OnError::Null
            }
        };
        Some(Rule { sources: sources?, when, then, default, required, on_error })
    }

    fn sources(&mut self, members: &Map<String, Value>, at: &str) -> Option<Vec<Source>> {
        match (members.get("from"), members.get("const")) {
            (Some(Value::Array(items)), None) if !items.is_empty() => {
                let read: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| self.source(item, &format!("{at}/from/{i}")))
                    .collect();
                read.into_iter().collect()
            }
            (Some(item), None) if !item.is_array() => {
                Some(vec![self.source(item, &format!("{at}/from"))?])
            }
            (None, Some(constant)) => Some(vec![Source {
                place: Place::Const(constant.clone()),
                when: None,
                then: Vec::new(),
            }]),
            (None, None) if members.contains_key("default") => Some(Vec::new()),
            _ => {
                let message = "Say where the value stands: `from` with one path or several, or \
                               `const` with the value itself, not both.";
                self.fault(at, "no_source", message.to_owned());
                None
            }
        }
    }

    fn source(&mut self, value: &Value, at: &str) -> Option<Source> {
        if let Some(path) = value.as_str() {
            let place = self.path(path, at)?;
            return Some(Source { place, when: None, then: Vec::new() });
        }
        let members = self.object(value, at, &["path", "header", "const", "when", "then"])?;
        let place = self.place(members, at);
        let when = members.get("when").and_then(|v| self.condition(v, &format!("{at}/when"), 0));
        let then = self.steps(members.get("then"), &format!("{at}/then"));
        Some(Source { place: place?, when, then })
    }

    /// Exactly one of `path`, `header` and, where allowed, `const`.
    fn place(&mut self, members: &Map<String, Value>, at: &str) -> Option<Place> {
        match (members.get("path"), members.get("header"), members.get("const")) {
            (Some(Value::String(path)), None, None) => self.path(path, &format!("{at}/path")),
            (None, Some(Value::String(name)), None) if is_field_name(name) => {
                Some(Place::Header(name.clone()))
            }
            (None, None, Some(constant)) => Some(Place::Const(constant.clone())),
            _ => {
                let message = "Name one place: `path` with a path or `header` with a header name.";
                self.fault(at, "no_source", message.to_owned());
                None
            }
        }
    }

    fn path(&mut self, text: &str, at: &str) -> Option<Place> {
        text.parse::<Path>()
            .map(Place::Path)
            .map_err(|why| self.fault(at, "invalid_path", format!("{why}.")))
            .ok()
    }

    fn condition(&mut self, value: &Value, at: &str, depth: usize) -> Option<Condition> {
        const KNOWN: [&str; 8] = ["path", "header", "equals", "in", "exists", "all", "any", "not"];
        if depth > DEEPEST_CONDITION {
            self.fault(at, "too_deep", "Conditions are nested too deep.".to_owned());
            return None;
        }
        let members = self.object(value, at, &KNOWN)?;
        if let (1, Some((name, inner))) = (members.len(), members.iter().next()) {
            let at = format!("{at}/{name}");
            match (name.as_str(), inner) {
                ("not", inner) => {
                    return Some(Condition::Not(Box::new(self.condition(
                        inner,
                        &at,
                        depth + 1,
                    )?)));
                }
                ("all" | "any", Value::Array(items)) if !items.is_empty() => {
                    let read: Vec<_> = items
                        .iter()
                        .enumerate()
                        .map(|(i, item)| self.condition(item, &format!("{at}/{i}"), depth + 1))
                        .collect();
                    let read = read.into_iter().collect::<Option<_>>()?;
                    return Some(if name == "all" {
                        Condition::All(read)
                    } else {
                        Condition::Any(read)
                    });
                }
                _ => {}
            }
        }
        let place = self.place(members, at);
        let test = self.test(members, at);
        Some(Condition::Value(place?, test?))
    }

    fn test(&mut self, members: &Map<String, Value>, at: &str) -> Option<Test> {
        let text = |v: &Value| {
            from_json(v).ok().filter(|v| *v != Val::Null).and_then(|v| text_of(&v).ok())
        };
        let test = match (members.get("equals"), members.get("in"), members.get("exists")) {
            (Some(value), None, None) => text(value).map(|t| Test::In(vec![t])),
            (None, Some(Value::Array(values)), None) if !values.is_empty() => {
                values.iter().map(text).collect::<Option<_>>().map(Test::In)
            }
            (None, None, Some(Value::Bool(exists))) => Some(Test::Exists(*exists)),
            _ => None,
        };
        if test.is_none() {
            let message = "A condition is a place and one of `equals` with a value, `in` with a \
                           list of values, `exists` with true or false; or `all`, `any`, `not`.";
            self.fault(at, "invalid_condition", message.to_owned());
        }
        test
    }

    /// One step or a list of steps.
    fn steps(&mut self, value: Option<&Value>, at: &str) -> Vec<Step> {
        match value {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                if items.len() > MOST_STEPS {
                    self.fault(at, "too_many", format!("At most {MOST_STEPS} steps."));
                }
                let steps = items.iter().take(MOST_STEPS).enumerate();
                steps.filter_map(|(i, item)| self.step(item, &format!("{at}/{i}"))).collect()
            }
            Some(one) => self.step(one, at).into_iter().collect(),
        }
    }

    fn step(&mut self, value: &Value, at: &str) -> Option<Step> {
        let read = Step::deserialize(value).or_else(|e| match value {
            // A step whose arguments all have defaults may be written by its name alone.
            Value::String(name) => Step::deserialize(&json!({ name: {} })).map_err(|_| e),
            _ => Err(e),
        });
        read.map_err(|e| self.fault(at, "invalid_step", format!("This is no step: {e}."))).ok()
    }

    /// A constant must be fit for its field; better said now than for every event.
    fn check_constant(&mut self, value: &Value, at: &str, target: &Target) {
        let (body, headers, defaults) = (Value::Null, Headers::default(), Defaults::default());
        let input = MappingInput { body: &body, headers: &headers, url: None, defaults: &defaults };
        let cx = Cx { input: &input, country: None, country_unread: false };
        let fits =
            from_json(value).and_then(|v| fill::fill(&mut StandardLead::default(), target, v, &cx));
        match fits {
            Ok(true) => {}
            Ok(false) => self.fault(at, "empty", "The value is empty.".to_owned()),
            Err(why) => self.fault(at, why.code, why.message),
        }
    }
}
