//! A mapping in memory.

use super::args::PivotArgs;
use super::path::Path;
use super::rule::{Condition, Rule, Source};
use super::target::Target;
use std::collections::BTreeMap;

/// Everything a mapping says.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub events: Events,
    /// Where the items stand of which each is a lead; without it the body is one.
    pub items: Option<Items>,
    /// Items that count.
    pub only: Option<Condition>,
    pub groups: Option<Groups>,
    /// In the order in which they need each other.
    pub named: Vec<(String, Source)>,
    pub fields: Fields,
}

/// Where items stand.
#[derive(Clone, Debug)]
pub(super) enum Items {
    /// In the body.
    Path(Path),
    /// In what is made of the body, such as the JSON that a text of it holds.
    Source(Box<Source>),
}

/// What an event must be to be looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    /// Without it every event is.
    pub accept: Option<Condition>,
    pub ignore: Vec<(Condition, Option<String>)>,
    /// Where people see no field and only programs write.
    pub honeypot: Vec<Path>,
}

/// Items that are one lead together.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    pub by: Path,
    pub pivot: Option<PivotArgs>,
    /// Groups that count.
    pub only: Option<Condition>,
}

/// How the fields of a lead are filled.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub rules: BTreeMap<Target, Rule>,
    pub lines: Option<Lines>,
}

/// How `line_items` is filled.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub path: Path,
    pub only: Option<Condition>,
    pub fields: Vec<(String, Rule)>,
}
