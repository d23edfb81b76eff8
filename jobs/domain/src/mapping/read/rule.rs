//! Reading the rules of fields.

use super::Reader;
use super::source::{MEMBERS, TransposeInner};
use crate::mapping::eval::{Cx, Run};
use crate::mapping::rule::{OnError, Rule, Source};
use crate::mapping::target::Target;
use crate::mapping::value::from_json;
use crate::mapping::{MappingInput, fill};
use crate::portal::Defaults;
use crate::{Headers, StandardLead};
use serde_json::{Map, Value};

impl Reader {
    /// `target`: what constants must be fit for.
    pub fn rule(&mut self, value: &Value, at: &str, target: Option<&Target>) -> Option<Rule> {
        match value {
            Value::String(_) => return Some(rule_of(vec![self.source(value, at, 0)?])),
            Value::Array(items) if !items.is_empty() => {
                return self.sources(items, at, 0).map(rule_of);
            }
            _ => {}
        }
        let known: Vec<&str> = MEMBERS.into_iter().chain(["required", "on_error"]).collect();
        let members = self.object(value, at, &known)?;
        self.check_each(members, at);
        let sources = self.rule_sources(members, at);
        let when = members.get("when").map(|c| self.condition(c, &format!("{at}/when"), 0));
        let then = self.steps(members.get("then"), &format!("{at}/then"), 0);
        let default = members.get("default").filter(|v| !v.is_null()).cloned();
        if let (Some(default), Some(target)) = (&default, target) {
            self.check_constant(default, &format!("{at}/default"), target);
        }
        if let (Some(constant), true, Some(target)) =
            (members.get("const"), then.is_empty(), target)
        {
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
        let when = when.transpose_inner()?;
        Some(Rule { sources: sources?, when, then, default, required, on_error })
    }

    fn rule_sources(&mut self, members: &Map<String, Value>, at: &str) -> Option<Vec<Source>> {
        let alone = |name: &str| {
            let places = [
                "path",
                "header",
                "query",
                "segment",
                "const",
                "received_at",
                "list",
                "each",
                "template",
            ];
            !places.iter().any(|p| *p != name && members.contains_key(*p))
        };
        match members.get("from") {
            // Each of them is tried up to the field itself, so they are the rule's own.
            Some(Value::Array(items)) if !items.is_empty() && alone("from") => {
                self.sources(items, &format!("{at}/from"), 0)
            }
            Some(item @ (Value::String(_) | Value::Object(_))) if alone("from") => {
                Some(vec![self.source(item, &format!("{at}/from"), 0)?])
            }
            None if members.contains_key("default") && alone("") => Some(Vec::new()),
            _ => Some(vec![Source::at(self.place(members, at, 0)?)]),
        }
    }

    /// A constant must be fit for its field; better said now than for every event.
    fn check_constant(&mut self, value: &Value, at: &str, target: &Target) {
        let (body, headers, defaults) = (Value::Null, Headers::default(), Defaults::default());
        let input = MappingInput {
            body: &body,
            headers: &headers,
            url: None,
            defaults: &defaults,
            received_at: None,
        };
        let run = Run::of(&input);
        let fits = from_json(value)
            .and_then(|v| fill::fill(&mut StandardLead::default(), target, v, &Cx::top(&run)));
        match fits {
            Ok(true) => {}
            Ok(false) => self.fault(at, "empty", "The value is empty.".to_owned()),
            Err(why) => self.fault(at, why.code, why.message),
        }
    }
}

fn rule_of(sources: Vec<Source>) -> Rule {
    Rule {
        sources,
        when: None,
        then: Vec::new(),
        default: None,
        required: false,
        on_error: OnError::Null,
    }
}
