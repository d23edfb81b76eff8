//! A rule in memory.

use super::path::Path;
use super::step::Step;
use super::template::Template;
use regex::Regex;
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

/// A value that is read: where it stands, when it counts, what is done to it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub place: Place,
    pub when: Option<Condition>,
    /// Done to this source's value alone, before a rule's own steps.
    pub then: Vec<Step>,
    pub default: Option<Value>,
}

/// Where a value stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In the body.
    Path(Path),
    /// In a header.
    Header(String),
    /// In the query of the request's URL.
    Query(String),
    /// In the path of the request's URL, from 0, or from the end with -1.
    Segment(i32),
    /// In the mapping itself.
    Const(Value),
    /// When the delivery came.
    ReceivedAt,
    /// At the first of several places that gives a usable value.
    First(Vec<Source>),
    /// At several places: a list of what stands there.
    List(Vec<Source>),
    /// A value of each element.
    Each(Box<Each>),
    /// Text with values in it.
    Template(Template),
}

/// See [`Place::Each`].
#[derive(Clone, Debug)]
pub(super) struct Each {
    pub path: Path,
    pub only: Option<Condition>,
    pub get: Source,
}

/// When a rule or a source counts.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// The value of a source passes a test; of a list one element must.
    Value(Box<Source>, Test),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// Values are compared as text, so that `1` equals `"1"`.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// It is one of these (`equals` has one).
    In(Vec<Operand>),
    /// It is none of these (`not_equals` has one), or absent.
    NotIn(Vec<Operand>),
    /// It is there and not empty, or is not.
    Exists(bool),
    /// The text has a place that matches.
    Matches(Regex),
    /// Numbers and instants, else text.
    Compare(Comparison, Operand),
}

/// What a test compares with.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Literal(String),
    Source(Box<Source>),
}

/// See [`Test::Compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
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

impl Source {
    /// What stands at a place, as it is.
    pub fn at(place: Place) -> Self {
        Self { place, when: None, then: Vec::new(), default: None }
    }
}

/// For sentences: where people have to look.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "`{path}`"),
            Self::Header(name) => write!(f, "the header `{name}`"),
            Self::Query(name) => write!(f, "the URL's parameter `{name}`"),
            Self::Segment(index) => write!(f, "the URL's path segment `{index}`"),
            Self::Const(_) => f.write_str("the mapping's constant"),
            Self::ReceivedAt => f.write_str("the time of receipt"),
            Self::Each(each) => write!(f, "each of `{}`", each.path),
            Self::Template(template) => write!(f, "the template `{template}`"),
            Self::First(sources) | Self::List(sources) => {
                for (at, source) in sources.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", source.place)?;
                }
                Ok(())
            }
        }
    }
}
