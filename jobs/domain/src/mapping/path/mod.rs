//! Where a value stands in a body: `data.lead."full name"[0]`, `answers[field.ref=="email"].(type)`.

mod find;
mod read;
#[cfg(test)]
mod tests;

pub(super) use find::{Env, Node};
pub(super) use read::is_name;

use super::fuel::Fuel;
use crate::body::PartStep;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// Deeper than any sender's body; the JSON reader stops at 128.
const DEEPEST: usize = 32;

/// A path into a JSON value.
///
/// Keys are separated by dots. A key is written bare if it has none of `. [ ] " ' * ? ( ) = < > |`
/// and no blank at its ends (`Lead ID` is bare), else in double or single quotes, doubled inside
/// (`"1.3"`, `'Budget (€)'`). After `~` capitals do not matter. `[2]` is the third element of an array, `[-1]` the last, `[*]` all of
/// them, `[key == "x"]` those that pass a test; `utm_*` are all members whose key begins so, and
/// `.(type)` is the member whose key stands under `type`. A value that is no array counts as an
/// array of one. A leading `$` stands for the whole body, `^` for the object around the item,
/// `$name` for a value that the mapping's `let` names, and `.` alone for the item itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: String,
    root: Root,
    steps: Vec<Step>,
}

/// Where a path begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Root {
    /// At the item: the body, or within `foreach`, `each` and filters the element.
    Item,
    /// At the whole body.
    Body,
    /// At a value that `let` names.
    Name(String),
    /// At the object that many levels around the item.
    Above(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    /// The first member whose key is this, in any case; in lower case.
    AnyCase(String),
    /// All members whose key begins so.
    Prefix(String),
    Index(i32),
    /// All elements.
    All,
    /// The elements that pass.
    Filter(Filter),
    /// The member whose key stands at this place.
    Dynamic(Vec<Step>),
}

/// Passes if all tests of any one group pass.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter(Vec<Vec<Test>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Test {
    negated: bool,
    /// From the element; any of the values found may pass.
    left: Vec<Step>,
    /// Without one the value must be there.
    right: Option<(Op, Right)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Right {
    Text(String),
    /// Begins with `$` or `^`; leads to one value.
    Path(Box<Path>),
}

impl Step {
    /// May it lead to several values?
    fn is_multiple(&self) -> bool {
        matches!(self, Self::Prefix(_) | Self::All | Self::Filter(_))
    }
}

impl Path {
    /// The first value there, if there is one. The item is the body.
    #[must_use]
    pub fn find<'a>(&'a self, body: &'a Value) -> Option<&'a Value> {
        let fuel = Fuel::full();
        let env = Env { body, item: body, above: &[], named: &|_| None, fuel: &fuel };
        let mut found = None;
        self.visit(&env, &mut |value, _| {
            found = Some(value);
            false
        });
        found
    }

    /// May it lead to several values?
    pub(super) fn is_multiple(&self) -> bool {
        self.steps.iter().any(Step::is_multiple)
    }

    /// The same as keys and indexes from the body on; `None` if there is more to it.
    pub(crate) fn plain_steps(&self) -> Option<Vec<PartStep>> {
        if !matches!(self.root, Root::Item | Root::Body) || self.steps.is_empty() {
            return None;
        }
        let plain = |step: &Step| match step {
            Step::Key(key) => Some(PartStep::Key(key.clone())),
            Step::Index(index) => usize::try_from(*index).ok().map(PartStep::Index),
            _ => None,
        };
        self.steps.iter().map(plain).collect()
    }

    /// The value that `let` names and that it begins with.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.root {
            Root::Name(name) => Some(name),
            _ => None,
        }
    }

    /// Every such name in it, also in the tests of its filters.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.name().into_iter().collect();
        for step in &self.steps {
            let Step::Filter(Filter(groups)) = step else { continue };
            for test in groups.iter().flatten() {
                if let Some((_, Right::Path(path))) = &test.right {
                    names.extend(path.names());
                }
            }
        }
        names
    }

    /// Is it the name alone?
    pub(super) fn is_name_alone(&self) -> bool {
        self.steps.is_empty()
    }

    /// The part before the first step that may lead to several values.
    pub(super) fn single_part(&self) -> Self {
        let end = self.steps.iter().position(Step::is_multiple).unwrap_or(self.steps.len());
        Self { text: self.text.clone(), root: self.root.clone(), steps: self.steps[..end].to_vec() }
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read::path(text).map_err(|why| format!("`{text}` is no path: {why}"))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
