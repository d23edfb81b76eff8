//! The lines of a lead: what is asked for, item by item.

use super::eval::{self, Cx};
use super::fill;
use super::plan::Lines;
use super::rule::{OnError, Rule};
use super::run::Unusable;
use super::steps;
use super::value::{Val, from_json, text_of};
use crate::normalise::Unreadable;
use serde_json::{Map, Value};

/// Lines of one lead that are kept.
const MOST_LINES: usize = 500;
/// Names whose values are numbers.
const NUMBERS: [&str; 2] = ["quantity", "target_price"];

/// What became of the lines.
pub(super) struct Filled {
    pub lines: Vec<Map<String, Value>>,
    pub dropped: Vec<Unusable>,
    /// Unusable values whose rule says that the event is refused.
    pub refused: Vec<Unusable>,
    pub truncated: bool,
}

/// Every line that has something in it.
pub(super) fn fill(of: &Lines, cx: &Cx<'_>) -> Filled {
    let mut filled =
        Filled { lines: Vec::new(), dropped: Vec::new(), refused: Vec::new(), truncated: false };
    for node in eval::nodes(&of.path, cx) {
        let within = cx.within(&node);
        if !cx.run.fuel.spend(1) || !eval::counts(of.only.as_ref(), &within) {
            continue;
        }
        if filled.lines.len() == MOST_LINES {
            filled.truncated = true;
            break;
        }
        if let Some(line) = line(&of.fields, &within, &mut filled) {
            filled.lines.push(line);
        }
    }
    filled
}

/// `None` if the line is empty or lacks what it must have.
fn line(fields: &[(String, Rule)], cx: &Cx<'_>, filled: &mut Filled) -> Option<Map<String, Value>> {
    let mut line = Map::new();
    let mut complete = true;
    for (name, rule) in fields {
        let mut unusable = Vec::new();
        match value(name, rule, cx, &mut unusable) {
            Some(value) => {
                line.insert(name.clone(), value);
            }
            None => complete &= !rule.required,
        }
        if rule.on_error == OnError::Reject && !line.contains_key(name) {
            filled.refused.append(&mut unusable);
        } else {
            filled.dropped.append(&mut unusable);
        }
    }
    (complete && !line.is_empty()).then_some(line)
}

fn value(name: &str, rule: &Rule, cx: &Cx<'_>, unusable: &mut Vec<Unusable>) -> Option<Value> {
    if !eval::counts(rule.when.as_ref(), cx) {
        return None;
    }
    for source in &rule.sources {
        let found = eval::source(source, cx)
            .and_then(|v| steps::run_all(&rule.then, v, cx))
            .and_then(|v| kept(name, v, cx));
        match found {
            Ok(Some(value)) => return Some(value),
            Ok(None) => {}
            Err(why) => unusable.push(Unusable {
                field: format!("line_items.{name}"),
                at: source.place.to_string(),
                why,
            }),
        }
    }
    let default = rule.default.as_ref()?;
    from_json(default).and_then(|v| kept(name, v, cx)).ok().flatten()
}

/// Whole numbers as numbers, others as text with their exact digits.
fn kept(name: &str, value: Val, cx: &Cx<'_>) -> Result<Option<Value>, Unreadable> {
    if !NUMBERS.contains(&name) {
        return fill::keep(value);
    }
    match value.into_scalar()? {
        Val::Null => Ok(None),
        Val::Num(n, _) => Ok(Some(digits(n))),
        other => match steps::number(&text_of(&other)?, cx.locale(), cx)? {
            Val::Num(n, _) => Ok(Some(digits(n))),
            _ => Ok(None),
        },
    }
}

fn digits(n: rust_decimal::Decimal) -> Value {
    let text = n.to_string();
    text.parse::<i64>().map_or(Value::String(text), Value::from)
}
