//! Reading conditions.

use super::{DEEPEST, Reader};
use crate::mapping::args::pattern;
use crate::mapping::rule::{Comparison, Condition, Operand, Test};
use crate::mapping::value::{Val, from_json, text_of};
use serde_json::{Map, Value};

const COMPARISONS: [(&str, Comparison); 4] = [
    ("lt", Comparison::Less),
    ("lte", Comparison::LessOrEqual),
    ("gt", Comparison::Greater),
    ("gte", Comparison::GreaterOrEqual),
];
const TESTS: [&str; 10] =
    ["equals", "not_equals", "in", "not_in", "exists", "matches", "lt", "lte", "gt", "gte"];

impl Reader {
    pub fn condition(&mut self, value: &Value, at: &str, depth: usize) -> Option<Condition> {
        if depth > DEEPEST {
            self.fault(at, "too_deep", "Conditions are nested too deep.".to_owned());
            return None;
        }
        if let Some(found) = self.combined(value, at, depth) {
            return found;
        }
        let known: Vec<&str> =
            super::source::MEMBERS.into_iter().chain(TESTS).chain(["all", "any", "not"]).collect();
        let members = self.object(value, at, &known)?;
        let source = self.source_of(members, at, depth + 1);
        let test = self.test(members, at, depth);
        Some(Condition::Value(Box::new(source?), test?))
    }

    /// `all`, `any` and `not`, which stand alone. The outer `None`: it is none of these.
    fn combined(&mut self, value: &Value, at: &str, depth: usize) -> Option<Option<Condition>> {
        let Value::Object(members) = value else { return None };
        let (1, Some((name, inner))) = (members.len(), members.iter().next()) else { return None };
        let at = format!("{at}/{name}");
        match (name.as_str(), inner) {
            ("not", inner) => {
                let inner = self.condition(inner, &at, depth + 1);
                Some(inner.map(|c| Condition::Not(Box::new(c))))
            }
            ("all" | "any", Value::Array(items)) if !items.is_empty() => {
                let read: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| self.condition(item, &format!("{at}/{i}"), depth + 1))
                    .collect();
                let read = read.into_iter().collect::<Option<Vec<_>>>();
                let all = name == "all";
                Some(read.map(|c| if all { Condition::All(c) } else { Condition::Any(c) }))
            }
            _ => None,
        }
    }

    fn test(&mut self, members: &Map<String, Value>, at: &str, depth: usize) -> Option<Test> {
        let given: Vec<_> = members.iter().filter(|(k, _)| TESTS.contains(&k.as_str())).collect();
        let test = match given.as_slice() {
            [(name, value)] => self.one_test(name, value, &format!("{at}/{name}"), depth),
            _ => Err(None),
        };
        match test {
            Ok(test) => Some(test),
            Err(Some(())) => None,
            Err(None) => {
                let message = "A condition is a place and one of `equals`, `not_equals`, `lt`, \
                               `lte`, `gt`, `gte` with a value, `in`, `not_in` with a list of \
                               values, `matches` with a regular expression, `exists` with true or \
                               false; or `all`, `any`, `not`.";
                self.fault(at, "invalid_condition", message.to_owned());
                None
            }
        }
    }

    /// `Err(Some(()))`: the fault is told already.
    fn one_test(
        &mut self,
        name: &str,
        value: &Value,
        at: &str,
        depth: usize,
    ) -> Result<Test, Option<()>> {
        match (name, value) {
            ("exists", Value::Bool(exists)) => Ok(Test::Exists(*exists)),
            ("equals", value) => Ok(Test::In(vec![self.operand(value, at, depth)?])),
            ("not_equals", value) => Ok(Test::NotIn(vec![self.operand(value, at, depth)?])),
            ("in" | "not_in", Value::Array(values)) if !values.is_empty() => {
                let mut operands = Vec::new();
                for (i, value) in values.iter().enumerate() {
                    operands.push(self.operand(value, &format!("{at}/{i}"), depth)?);
                }
                Ok(if name == "in" { Test::In(operands) } else { Test::NotIn(operands) })
            }
            ("in" | "not_in", Value::Object(_)) => {
                let operand = vec![self.operand(value, at, depth)?];
                Ok(if name == "in" { Test::In(operand) } else { Test::NotIn(operand) })
            }
            ("matches", Value::String(text)) => {
                self.count_pattern(at);
                pattern(text).map(Test::Matches).map_err(|why| {
                    self.fault(at, "invalid_pattern", format!("{why}."));
                    Some(())
                })
            }
            (name, value) => {
                let found = COMPARISONS.iter().find(|(n, _)| *n == name);
                let (_, comparison) = found.ok_or(None)?;
                Ok(Test::Compare(*comparison, self.operand(value, at, depth)?))
            }
        }
    }

    /// A value itself, or an object that says where it stands.
    fn operand(&mut self, value: &Value, at: &str, depth: usize) -> Result<Operand, Option<()>> {
        if value.is_object() {
            let source = self.source(value, at, depth + 1).ok_or(Some(()))?;
            return Ok(Operand::Source(Box::new(source)));
        }
        let literal = from_json(value).ok().filter(|v| *v != Val::Null && !v.is_list());
        literal.and_then(|v| text_of(&v).ok()).map(Operand::Literal).ok_or(None)
    }

    pub fn count_pattern(&mut self, at: &str) {
        self.patterns += 1;
        if self.patterns == super::MOST_PATTERNS + 1 {
            let message = format!("At most {} regular expressions.", super::MOST_PATTERNS);
            self.fault(at, "too_many", message);
        }
    }
}
