//! A rule in memory.

use super::path::Path;
use super::step::Step;
use super::value::{Val, text_of};
use crate::Headers;
use serde_json::Value;
use std::fmt;

/// How one field is filled.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// The first that gives a usable value wins.
    pub sources: Vec<Source>,
    /// The whole rule counts only under this condition.
    pub when: Option<Condition>,
    /// Done to the value of whichever source.
    pub then: Vec<Step>,
    /// Stands in where no source gave a usable value.
    pub default: Option<Value>,
    /// Without a value the event is refused.
    pub required: bool,
    /// What an unusable value leads to.
    pub on_error: OnError,
}

/// One place a value may come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub place: Place,
    pub when: Option<Condition>,
    /// Done to this source's value alone, before the rule's own steps.
    pub then: Vec<Step>,
}

/// Where a value stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In the body.
    Path(Path),
    /// In a header.
    Header(String),
    /// In the mapping itself.
    Const(Value),
}

/// When a rule or a source counts.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// The value at a place passes a test.
    Value(Place, Test),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// Values are compared as text, so that `1` equals `"1"`.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// It is one of these (`equals` has one).
    In(Vec<String>),
    /// It is there and not empty, or is not.
    Exists(bool),
}

/// What an unusable value leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OnError {
    /// The field stays empty, the lead carries a warning.
    #[default]
    Null,
    /// The event is refused.
    Reject,
}

impl Place {
    /// The value there, if there is one.
    pub fn find<'a>(&'a self, body: &'a Value, headers: &Headers) -> Option<Found<'a>> {
        match self {
            Self::Path(path) => path.find(body).map(Found::Json),
            Self::Header(name) => headers.get(name).map(|v| Found::Text(v.to_owned())),
            Self::Const(value) => Some(Found::Json(value)),
        }
    }
}

/// What was found at a place.
pub(super) enum Found<'a> {
    Json(&'a Value),
    Text(String),
}

impl Condition {
    /// Does it hold for this event?
    pub fn holds(&self, body: &Value, headers: &Headers) -> bool {
        match self {
            Self::All(all) => all.iter().all(|c| c.holds(body, headers)),
            Self::Any(any) => any.iter().any(|c| c.holds(body, headers)),
            Self::Not(inner) => !inner.holds(body, headers),
            Self::Value(place, test) => {
                let value = place.find(body, headers).map_or(Ok(Val::Null), |f| f.value());
                match test {
                    // What cannot be read is there all the same.
                    Test::Exists(wanted) => !matches!(value, Ok(Val::Null)) == *wanted,
                    Test::In(texts) => value
                        .ok()
                        .and_then(|v| text_of(&v).ok())
                        .is_some_and(|text| texts.contains(&text)),
                }
            }
        }
    }
}

/// For sentences: where people have to look.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "`{path}`"),
            Self::Header(name) => write!(f, "the header `{name}`"),
            Self::Const(_) => f.write_str("the mapping's constant"),
        }
    }
}
