//! The names of form fields: `a` twice and `a[]` make lists, `a[b]` makes objects.

use super::BodyFault;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// More brackets than this are no structure.
const DEEPEST: usize = 16;

/// The fields of a form as they come together.
pub(super) struct Fields {
    root: BTreeMap<String, Node>,
    left: u32,
    most: u32,
}

enum Node {
    Leaf(Value),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// A bracket after a name.
enum Step<'a> {
    Name(&'a str),
    Next,
}

impl Fields {
    pub(super) fn new(most: u32) -> Self {
        Self { root: BTreeMap::new(), left: most, most }
    }

    /// Puts a field where its name says. A name that contradicts another one (`a` and `a[b]`) is
    /// taken literally, brackets and all: nothing is lost.
    pub(super) fn put(&mut self, name: &str, value: Value) -> Result<(), BodyFault> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            let message = format!("the form has more than {} fields", self.most);
            BodyFault::too_large("too_many_fields", message)
        })?;
        let value = match steps(name) {
            None => value,
            Some((base, steps)) => match self.root.get_mut(base) {
                Some(node) => match insert(node, &steps, value) {
                    Ok(()) => return Ok(()),
                    Err(value) => value,
                },
                None => {
                    self.root.insert(base.to_owned(), fresh(&steps, value));
                    return Ok(());
                }
            },
        };
        match self.root.get_mut(name) {
            Some(node) => repeat(node, value),
            None => {
                self.root.insert(name.to_owned(), Node::Leaf(value));
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Value {
        let members = self.root.into_iter().map(|(name, node)| (name, node.into_value()));
        Value::Object(members.collect::<Map<_, _>>())
    }
}

/// The name before the brackets and what they hold; `None` if there are none, or broken ones.
fn steps(name: &str) -> Option<(&str, Vec<Step<'_>>)> {
    let open = name.find('[').filter(|at| *at > 0)?;
    let (base, mut rest) = name.split_at(open);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (inner, after) = rest.strip_prefix('[')?.split_once(']')?;
        steps.push(if inner.is_empty() { Step::Next } else { Step::Name(inner) });
        rest = after;
    }
    (steps.len() <= DEEPEST).then_some((base, steps))
}

fn fresh(steps: &[Step<'_>], value: Value) -> Node {
    match steps.split_first() {
        None => Node::Leaf(value),
        Some((Step::Next, rest)) => Node::List(vec![fresh(rest, value)]),
        Some((Step::Name(name), rest)) => {
            Node::Map(BTreeMap::from([((*name).to_owned(), fresh(rest, value))]))
        }
    }
}

/// Gives the value back if the names contradict each other.
fn insert(node: &mut Node, steps: &[Step<'_>], value: Value) -> Result<(), Value> {
    match (steps.split_first(), node) {
        (None, Node::Map(_)) => Err(value),
        (None, node) => {
            repeat(node, value);
            Ok(())
        }
        // `a[][b]`: the last one as long as it has no `b` yet, then the next.
        (Some((Step::Next, rest)), Node::List(items)) => {
            let open = match (rest.first(), items.last_mut()) {
                (Some(Step::Name(name)), Some(Node::Map(last))) if !last.contains_key(*name) => {
                    items.last_mut()
                }
                _ => None,
            };
            match open {
                Some(last) => insert(last, rest, value),
                None => {
                    items.push(fresh(rest, value));
                    Ok(())
                }
            }
        }
        (Some((Step::Name(name), rest)), Node::Map(members)) => match members.get_mut(*name) {
            Some(member) => insert(member, rest, value),
            None => {
                members.insert((*name).to_owned(), fresh(rest, value));
                Ok(())
            }
        },
        (Some(_), _) => Err(value),
    }
}

/// The same name again.
fn repeat(node: &mut Node, value: Value) {
    match node {
        Node::List(items) => items.push(Node::Leaf(value)),
        other => {
            let first = std::mem::replace(other, Node::List(Vec::new()));
            *other = Node::List(vec![first, Node::Leaf(value)]);
        }
    }
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Self::Leaf(value) => value,
            Self::List(items) => Value::Array(items.into_iter().map(Self::into_value).collect()),
            Self::Map(mut members) => {
                // `a[0]`, `a[1]`, ... without a gap are a list.
                let numbered: Option<Vec<String>> = (0..members.len())
                    .map(|n| Some(n.to_string()).filter(|name| members.contains_key(name)))
                    .collect();
                match numbered {
                    Some(names) => Value::Array(
                        names
                            .iter()
                            .filter_map(|name| members.remove(name))
                            .map(Self::into_value)
                            .collect(),
                    ),
                    None => Value::Object(
                        members.into_iter().map(|(k, v)| (k, v.into_value())).collect(),
                    ),
                }
            }
        }
    }
}
