//! Following a path.

use super::{Filter, Op, Path, Right, Root, Step, Test};
use crate::mapping::fuel::Fuel;
use crate::mapping::value;
use rust_decimal::Decimal;
use serde_json::Value;
use std::cmp::Ordering;
use std::str::FromStr;

/// What a path is followed in.
pub(in crate::mapping) struct Env<'a, 'e> {
    pub body: &'a Value,
    pub item: &'a Value,
    /// The objects around the item, the nearest last.
    pub above: &'a [&'a Value],
    /// What `let` names.
    pub named: &'e dyn Fn(&str) -> Option<&'a Value>,
    pub fuel: &'e Fuel,
}

/// A value that was found, with the objects around it.
pub(in crate::mapping) struct Node<'a> {
    pub value: &'a Value,
    pub above: Vec<&'a Value>,
}

/// Is told of each value found and the objects around it; `false` ends the search.
type Visitor<'a, 'v> = dyn FnMut(&'a Value, &[&'a Value]) -> bool + 'v;

impl Path {
    /// Follows the path to every value there, in their order.
    pub(in crate::mapping) fn visit<'a>(
        &'a self,
        env: &Env<'a, '_>,
        visitor: &mut Visitor<'a, '_>,
    ) {
        let (start, mut above) = match &self.root {
            Root::Item => (env.item, env.above.to_vec()),
            Root::Body => (env.body, Vec::new()),
            Root::Above(levels) => match env.above.len().checked_sub(*levels) {
                Some(at) => (env.above[at], env.above[..at].to_vec()),
                None => (env.body, Vec::new()),
            },
            Root::Name(name) => match (env.named)(name) {
                Some(value) => (value, Vec::new()),
                None => return,
            },
        };
        walk(&self.steps, start, &mut above, env, visitor);
    }

    /// Every value there, with the objects around it.
    pub(in crate::mapping) fn nodes<'a>(&'a self, env: &Env<'a, '_>) -> Vec<Node<'a>> {
        let mut nodes = Vec::new();
        self.visit(env, &mut |value, above| {
            nodes.push(Node { value, above: above.to_vec() });
            true
        });
        nodes
    }
}

/// `false`: the search is over.
fn walk<'a>(
    steps: &'a [Step],
    value: &'a Value,
    above: &mut Vec<&'a Value>,
    env: &Env<'a, '_>,
    visitor: &mut Visitor<'a, '_>,
) -> bool {
    if !env.fuel.spend(1) {
        return false;
    }
    let Some((step, rest)) = steps.split_first() else { return visitor(value, above) };
    match step {
        Step::Key(key) => match value.get(key) {
            Some(member) => inside(rest, value, member, above, env, visitor),
            None => true,
        },
        Step::AnyCase(wanted) => match in_any_case(wanted, value, env) {
            Some(member) => inside(rest, value, member, above, env, visitor),
            None => true,
        },
        Step::Dynamic(place) => match dynamic_key(place, value).and_then(|k| value.get(k)) {
            Some(member) => inside(rest, value, member, above, env, visitor),
            None => true,
        },
        Step::Prefix(prefix) => match value {
            Value::Object(members) => members.iter().all(|(key, member)| {
                if key.starts_with(prefix.as_str()) {
                    inside(rest, value, member, above, env, visitor)
                } else {
                    env.fuel.spend(1)
                }
            }),
            _ => true,
        },
        Step::Index(index) => match element(value, *index) {
            Some(item) => walk(rest, item, above, env, visitor),
            None => true,
        },
        Step::All => elements(value).iter().all(|item| walk(rest, item, above, env, visitor)),
        Step::Filter(filter) => elements(value).iter().all(|item| {
            env.fuel.spend(1)
                && (!filter.passes(item, env) || walk(rest, item, above, env, visitor))
        }),
    }
}

/// A key written just so goes before others.
fn in_any_case<'a>(wanted: &str, value: &'a Value, env: &Env<'a, '_>) -> Option<&'a Value> {
    let members = value.as_object()?;
    members.get(wanted).or_else(|| {
        let is = |key: &str| env.fuel.spend_text(key) && key.to_lowercase() == wanted;
        members.iter().find(|(key, _)| is(key)).map(|(_, member)| member)
    })
}

fn inside<'a>(
    rest: &'a [Step],
    object: &'a Value,
    member: &'a Value,
    above: &mut Vec<&'a Value>,
    env: &Env<'a, '_>,
    visitor: &mut Visitor<'a, '_>,
) -> bool {
    above.push(object);
    let go_on = walk(rest, member, above, env, visitor);
    above.pop();
    go_on
}

/// A value that is no array counts as an array of one; null as an empty one.
fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

fn element(value: &Value, index: i32) -> Option<&Value> {
    let items = elements(value);
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    let at = if index < 0 { items.len().checked_sub(from_end)? } else { from_end };
    items.get(at)
}

/// Follows keys and indexes alone.
fn simple<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::AnyCase(wanted) => {
            let mut members = value.as_object()?.iter();
            members.find(|(key, _)| key.to_lowercase() == *wanted).map(|(_, member)| member)
        }
        Step::Index(index) => element(value, *index),
        _ => None,
    })
}

fn dynamic_key<'a>(place: &[Step], value: &'a Value) -> Option<&'a str> {
    simple(place, value)?.as_str()
}

impl Filter {
    fn passes<'a>(&'a self, item: &'a Value, env: &Env<'a, '_>) -> bool {
        self.0.iter().any(|group| group.iter().all(|test| test.passes(item, env)))
    }
}

impl Test {
    fn passes<'a>(&'a self, item: &'a Value, env: &Env<'a, '_>) -> bool {
        let mut passed = false;
        let right = match &self.right {
            None => None,
            Some((op, Right::Text(text))) => Some((*op, Some(text.clone()))),
            Some((op, Right::Path(path))) => {
                let mut found = None;
                path.visit(env, &mut |value, _| {
                    found = value::plain_text(value);
                    false
                });
                Some((*op, found))
            }
        };
        walk(&self.left, item, &mut Vec::new(), env, &mut |found, _| {
            passed = match &right {
                None => is_there(found),
                Some((_, None)) => false,
                Some((Op::NotEqual, _)) => false,
                Some((op, Some(right))) => {
                    value::plain_text(found).is_some_and(|left| holds(*op, &left, right))
                }
            };
            !passed
        });
        // What is absent is unequal to everything.
        if let Some((Op::NotEqual, Some(right))) = &right {
            let mut equal = false;
            walk(&self.left, item, &mut Vec::new(), env, &mut |found, _| {
                equal = value::plain_text(found).is_some_and(|left| left == *right);
                !equal
            });
            passed = !equal;
        }
        passed != self.negated
    }
}

fn is_there(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn holds(op: Op, left: &str, right: &str) -> bool {
    match op {
        Op::Equal => left == right,
        Op::NotEqual => left != right,
        _ => {
            let (Ok(left), Ok(right)) = (Decimal::from_str(left), Decimal::from_str(right)) else {
                return false;
            };
            match left.cmp(&right) {
                Ordering::Less => matches!(op, Op::Less | Op::LessOrEqual),
                Ordering::Equal => matches!(op, Op::LessOrEqual | Op::GreaterOrEqual),
                Ordering::Greater => matches!(op, Op::Greater | Op::GreaterOrEqual),
            }
        }
    }
}
