//! Reading values and judging conditions.

use super::MappingInput;
use super::fuel::Fuel;
use super::path::{Env, Node, Path};
use super::rule::{Comparison, Condition, Each, Operand, Place, Source, Test};
use super::steps;
use super::value::{Val, from_json, text_of};
use crate::normalise::{NumberLocale, Unreadable};
use chrono_tz::Tz;
use serde_json::Value;
use std::cmp::Ordering;

/// What holds for the whole of an event.
pub(super) struct Run<'a> {
    pub input: &'a MappingInput<'a>,
    pub fuel: Fuel,
}

impl<'a> Run<'a> {
    pub fn of(input: &'a MappingInput<'a>) -> Self {
        Self { input, fuel: Fuel::full() }
    }
}

/// A value that `let` names.
pub(super) struct Named {
    pub name: String,
    pub value: Result<Val, Unreadable>,
    /// What paths lead into.
    pub json: Value,
}

/// Where rules, steps and conditions look.
#[derive(Clone, Copy)]
pub(super) struct Cx<'a> {
    pub run: &'a Run<'a>,
    /// What paths without a root begin at.
    pub item: &'a Value,
    /// The objects around it, the nearest last.
    pub above: &'a [&'a Value],
    pub named: &'a [Named],
    /// The lead's country, once it is known.
    pub country: Option<&'a str>,
    /// A country was sent but could not be read: it is another one than the portal's, more likely
    /// than not.
    pub country_unread: bool,
}

impl<'a> Cx<'a> {
    /// At the body.
    pub fn top(run: &'a Run<'a>) -> Self {
        let item = run.input.body;
        Self { run, item, above: &[], named: &[], country: None, country_unread: false }
    }

    /// At an item within.
    pub fn within<'b>(&self, node: &'b Node<'a>) -> Cx<'b>
    where
        'a: 'b,
    {
        Cx { item: node.value, above: &node.above, ..*self }
    }

    pub fn input(&self) -> &'a MappingInput<'a> {
        self.run.input
    }

    /// Whose national phone numbers the lead's may be: its own country's, else the portal's.
    pub fn countries(&self) -> Vec<&'a str> {
        let default = self.input().defaults.country.as_deref();
        let own = self.country;
        own.into_iter().chain(default.filter(|d| Some(*d) != own)).collect()
    }

    /// The country whose postal codes the lead's is one of, if that is known.
    pub fn postal_country(&self) -> Option<&'a str> {
        self.countries().first().copied().filter(|_| !self.country_unread)
    }

    pub fn zone(&self) -> Option<Tz> {
        self.input().defaults.time_zone
    }

    pub fn locale(&self) -> Option<&'a NumberLocale> {
        self.input().defaults.number_locale.as_ref()
    }

    fn named(&self, name: &str) -> Option<&'a Named> {
        self.named.iter().find(|n| n.name == name)
    }

    fn with_env<T>(&self, look: impl FnOnce(&Env<'a, '_>) -> T) -> T {
        let named = |name: &str| self.named(name).map(|n| &n.json);
        let (body, fuel) = (self.input().body, &self.run.fuel);
        look(&Env { body, item: self.item, above: self.above, named: &named, fuel })
    }
}

/// The values at a path, with the objects around them; nulls left out.
pub(super) fn nodes<'a>(path: &'a Path, cx: &Cx<'a>) -> Vec<Node<'a>> {
    let mut nodes = cx.with_env(|env| path.nodes(env));
    nodes.retain(|node| !node.value.is_null());
    nodes
}

/// The first value at a path.
pub(super) fn first<'a>(path: &'a Path, cx: &Cx<'a>) -> Option<&'a Value> {
    let mut found = None;
    cx.with_env(|env| {
        path.visit(env, &mut |value, _| {
            found = Some(value);
            value.is_null()
        });
    });
    found.filter(|value| !value.is_null())
}

/// What stands at a path: nothing, one value or a list of those that are there.
pub(super) fn path(path: &Path, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    if let (Some(name), true) = (path.name(), path.is_name_alone()) {
        return cx.named(name).map_or(Ok(Val::Null), |named| named.value.clone());
    }
    if !path.is_multiple() {
        return first(path, cx).map_or(Ok(Val::Null), |value| load(value, cx));
    }
    let found: Result<Vec<_>, _> =
        nodes(path, cx).iter().map(|node| load(node.value, cx)).collect();
    Ok(Val::list(found?))
}

fn load(value: &Value, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    if cx.run.fuel.spend_value(value) { from_json(value) } else { Ok(Val::Null) }
}

/// What stands at a path in a value.
pub(super) fn get(path_in: &Path, value: &Value, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    path(path_in, &Cx { item: value, above: &[], ..*cx })
}

/// The value of a source; `Val::Null` if nothing stands there or its condition does not hold.
pub(super) fn source(source: &Source, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    if !counts(source.when.as_ref(), cx) {
        return Ok(Val::Null);
    }
    let value = place(&source.place, cx).and_then(|v| steps::run_all(&source.then, v, cx));
    match (value, &source.default) {
        (Ok(Val::Null) | Err(_), Some(default)) => from_json(default),
        (value, _) => value,
    }
}

/// Does a condition, if there is one, hold?
pub(super) fn counts(condition: Option<&Condition>, cx: &Cx<'_>) -> bool {
    condition.is_none_or(|c| holds(c, cx))
}

fn place(place: &Place, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    let input = cx.input();
    let text = |text: Option<&str>| text.map_or(Val::Null, Val::text);
    match place {
        Place::Path(at) => path(at, cx),
        Place::Header(name) => Ok(text(input.headers.get(name))),
        Place::Query(name) => {
            let query = input.url.and_then(steps::query).unwrap_or_default();
            let found = url::form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == name);
            Ok(text(found.as_ref().map(|(_, v)| v.as_ref())))
        }
        Place::Segment(at) => {
            Ok(text(input.url.and_then(|url| steps::path_segment(url, *at)).as_deref()))
        }
        Place::Const(value) => from_json(value),
        Place::ReceivedAt => Ok(input.received_at.map_or(Val::Null, Val::Time)),
        Place::First(sources) => first_of(sources, cx),
        Place::List(sources) => {
            let values: Result<Vec<_>, _> = sources.iter().map(|s| source(s, cx)).collect();
            Ok(Val::list(values?))
        }
        Place::Each(each) => each_of(each, cx),
        Place::Template(template) => {
            let mut value = |path_in: &Path| {
                let text = text_of(&path(path_in, cx)?)?;
                cx.run.fuel.spend_text(&text);
                Ok((!text.is_empty()).then_some(text))
            };
            Ok(template.fill(&mut value)?.map_or(Val::Null, |t| Val::text(&t)))
        }
    }
}

/// The first that is there and usable; if none is, why the first unusable one is not.
fn first_of(sources: &[Source], cx: &Cx<'_>) -> Result<Val, Unreadable> {
    let mut fault = None;
    for one in sources {
        match source(one, cx) {
            Ok(Val::Null) => {}
            Ok(value) => return Ok(value),
            Err(why) => fault = fault.or(Some(why)),
        }
    }
    fault.map_or(Ok(Val::Null), Err)
}

fn each_of(each: &Each, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    let mut values = Vec::new();
    for node in nodes(&each.path, cx) {
        let within = cx.within(&node);
        if cx.run.fuel.spend(1) && counts(each.only.as_ref(), &within) {
            values.push(source(&each.get, &within)?);
        }
    }
    Ok(Val::list(values))
}

/// Does it hold here?
pub(super) fn holds(condition: &Condition, cx: &Cx<'_>) -> bool {
    match condition {
        Condition::All(all) => all.iter().all(|c| holds(c, cx)),
        Condition::Any(any) => any.iter().any(|c| holds(c, cx)),
        Condition::Not(inner) => !holds(inner, cx),
        Condition::Value(of, test) => passes(source(of, cx), test, cx),
    }
}

fn passes(value: Result<Val, Unreadable>, test: &Test, cx: &Cx<'_>) -> bool {
    // What cannot be read is there all the same.
    if let Test::Exists(wanted) = test {
        return !matches!(value, Ok(Val::Null)) == *wanted;
    }
    let elements = value.and_then(Val::into_elements).unwrap_or_default();
    let texts = |elements: &[Val]| -> Vec<String> {
        elements.iter().filter_map(|v| text_of(v).ok()).collect()
    };
    match test {
        Test::Exists(_) => false,
        Test::In(operands) => {
            let wanted = literals(operands, cx);
            texts(&elements).iter().any(|text| wanted.contains(text))
        }
        Test::NotIn(operands) => {
            let wanted = literals(operands, cx);
            !texts(&elements).iter().any(|text| wanted.contains(text))
        }
        Test::Matches(pattern) => texts(&elements).iter().any(|text| pattern.is_match(text)),
        Test::Compare(comparison, operand) => {
            let Some(limit) = ranked(operand, cx) else { return false };
            elements.iter().any(|v| {
                steps::rank(v).is_ok_and(|rank| compares(*comparison, rank.compare(&limit)))
            })
        }
    }
}

fn literals(operands: &[Operand], cx: &Cx<'_>) -> Vec<String> {
    let mut texts = Vec::new();
    for operand in operands {
        match operand {
            Operand::Literal(text) => texts.push(text.clone()),
            Operand::Source(of) => {
                let elements = source(of, cx).and_then(Val::into_elements).unwrap_or_default();
                texts.extend(elements.iter().filter_map(|v| text_of(v).ok()));
            }
        }
    }
    texts
}

fn ranked(operand: &Operand, cx: &Cx<'_>) -> Option<steps::Rank> {
    let value = match operand {
        Operand::Literal(text) => Val::text(text),
        Operand::Source(of) => source(of, cx).and_then(Val::into_scalar).ok()?,
    };
    (value != Val::Null).then(|| steps::rank(&value).ok()).flatten()
}

fn compares(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    }
}
