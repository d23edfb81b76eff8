//! Reading steps.

use super::{MOST_STEPS, Reader};
use crate::mapping::args::Replaced;
use crate::mapping::path::Path;
use crate::mapping::rule::{Place, Source};
use crate::mapping::step::{Calculation, Step};
use serde::Deserialize;
use serde_json::{Value, json};

impl Reader {
    /// One step or a list of steps.
    pub fn steps(&mut self, value: Option<&Value>, at: &str, depth: usize) -> Vec<Step> {
        match value {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                if items.len() > MOST_STEPS {
                    self.fault(at, "too_many", format!("At most {MOST_STEPS} steps."));
                }
                let steps = items.iter().take(MOST_STEPS).enumerate();
                steps.filter_map(|(i, item)| self.step(item, &format!("{at}/{i}"), depth)).collect()
            }
            Some(one) => self.step(one, at, depth).into_iter().collect(),
        }
    }

    fn step(&mut self, value: &Value, at: &str, depth: usize) -> Option<Step> {
        if let Some(calculation) = self.calculation(value, at, depth) {
            return calculation;
        }
        let read = Step::deserialize(value).or_else(|e| match value {
            // A step whose arguments all have defaults may be written by its name alone.
            Value::String(name) => Step::deserialize(&json!({ name: {} })).map_err(|_| e),
            // And one without arguments as an object without members.
            Value::Object(members) if members.len() == 1 => match members.iter().next() {
                Some((name, Value::Object(none))) if none.is_empty() => {
                    Step::deserialize(&json!(name)).map_err(|_| e)
                }
                _ => Err(e),
            },
            _ => Err(e),
        });
        match read {
            Ok(step) => {
                for path in paths(&step) {
                    self.check_names(path, at);
                }
                let has_pattern = match &step {
                    Step::Regex(_) => true,
                    Step::Replace(args) => matches!(args.what, Replaced::Pattern(_)),
                    _ => false,
                };
                if has_pattern {
                    self.count_pattern(at);
                }
                Some(step)
            }
            Err(e) => {
                self.fault(at, "invalid_step", format!("This is no step: {e}."));
                None
            }
        }
    }

    /// A step with an operand: a number, a path, or an object that says where it stands. The outer
    /// `None`: it is no such step.
    fn calculation(&mut self, value: &Value, at: &str, depth: usize) -> Option<Option<Step>> {
        let (name, operand) = match value {
            Value::String(name) => (name.as_str(), None),
            Value::Object(members) if members.len() == 1 => {
                members.iter().next().map(|(name, operand)| (name.as_str(), Some(operand)))?
            }
            _ => return None,
        };
        let (_, calculation) = Calculation::ALL.iter().find(|(n, _)| *n == name)?;
        let at = format!("{at}/{name}");
        let source = match operand {
            // Cents of the portal's currency.
            None if *calculation == Calculation::MinorUnits => {
                Some(Source::at(Place::Const(Value::Null)))
            }
            None => {
                let message = format!("`{name}` needs a number, or where it stands.");
                self.fault(&at, "invalid_step", message);
                None
            }
            Some(number @ Value::Number(_)) => Some(Source::at(Place::Const(number.clone()))),
            Some(operand) => self.source(operand, &at, depth + 1),
        };
        Some(source.map(|source| Step::Calculate(*calculation, Box::new(source))))
    }
}

/// The paths in a step's arguments.
fn paths(step: &Step) -> Vec<&Path> {
    match step {
        Step::Get(path) => vec![path],
        Step::Pivot(args) => args.paths().collect(),
        Step::Phone(args) => args.country_from.iter().collect(),
        Step::Date(rule) => rule.zone_from.iter().collect(),
        _ => Vec::new(),
    }
}
