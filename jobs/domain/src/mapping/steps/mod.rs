//! What each step does to a value.

mod amounts;
mod formats;
mod known;
mod lists;
mod text;

pub(super) use amounts::number;
pub(super) use known::boolean;
pub(super) use lists::{Rank, pivot, rank};
pub(super) use text::{path_segment, query, without_extension};

use super::eval::{self, Cx};
use super::step::Step;
use super::value::{Val, joined, text_of};
use super::words::{BooleanArgs, PhoneArgs, PhonePart};
use crate::normalise::{self, Unreadable};

/// Runs steps in their order. An absent value stays absent.
pub(super) fn run_all(steps: &[Step], mut value: Val, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    for step in steps {
        value = run(step, value, cx)?;
    }
    Ok(value)
}

/// Runs one step. Elements of a list take it one by one unless it is about lists.
pub(super) fn run(step: &Step, value: Val, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    if value == Val::Null {
        return Ok(Val::Null);
    }
    let paid = match &value {
        Val::Text(text) => cx.run.fuel.spend_text(text),
        Val::Json(json) => cx.run.fuel.spend_value(json),
        Val::List(values) => cx.run.fuel.spend(values.len() as u64),
        _ => cx.run.fuel.spend(1),
    };
    if !paid {
        return Ok(Val::Null);
    }
    if value.is_list() && !step.takes_lists() {
        let mut done = Vec::new();
        for element in value.into_elements()? {
            done.push(run(step, element, cx)?);
        }
        return Ok(Val::list(done));
    }
    match step {
        Step::Join(separator) => Ok(Val::text(&joined(value, separator)?)),
        Step::First => lists::nth(value, 0),
        Step::Last => lists::nth(value, -1),
        Step::Nth(at) => lists::nth(value, *at),
        Step::Count => Ok(Val::Num(value.into_elements()?.len().into(), None)),
        Step::Distinct => lists::distinct(value),
        Step::Sum => lists::sum(value, cx),
        Step::Min => lists::extreme(value, false),
        Step::Max => lists::extreme(value, true),
        Step::Entries => formats::entries(value),
        Step::Pivot(args) => pivot(&value.to_json(), args, cx),
        Step::Get(path) => eval::get(path, &value.to_json(), cx),
        Step::Present => Ok(Val::Bool(present(&value))),
        Step::Text => text_of(&value).map(|t| Val::text(&t)),
        _ => one(step, value.into_scalar()?, cx),
    }
}

/// A consent that says "no" must never count as given because something stands there.
fn present(value: &Val) -> bool {
    boolean(value, &BooleanArgs::default()).unwrap_or(true)
}

/// Steps that take one value.
fn one(step: &Step, value: Val, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    if value == Val::Null {
        return Ok(Val::Null);
    }
    match step {
        Step::Table(table) => known::look_up(table, value),
        Step::Boolean(args) => boolean(&value, args).map(Val::Bool),
        Step::Email => email(&text_of(&value)?).map(Val::Text),
        Step::Country(args) => known::country(&text_of(&value)?, args),
        Step::Phone(args) => phone(&text_of(&value)?, args, cx),
        Step::Date(rule) => match value {
            Val::Time(_) => Ok(value),
            Val::Num(n, _) => rule.count(n).map(Val::Time),
            other => rule.read(&text_of(&other)?, zone(rule, cx)).map(Val::Time),
        },
        Step::FormatDate(args) => {
            let instant = match value {
                Val::Time(t) => t,
                Val::Num(n, _) => super::date::DateRule::default().count(n)?,
                other => super::date::DateRule::default().read(&text_of(&other)?, cx.zone())?,
            };
            let zone = args.zone.or(cx.zone()).unwrap_or(chrono_tz::Tz::UTC);
            Ok(Val::text(&args.format.write(instant, zone)))
        }
        Step::Number(_)
        | Step::Range(_)
        | Step::Round(_)
        | Step::Scale(_)
        | Step::Currency
        | Step::Calculate(..) => amounts::run(step, value, cx),
        _ => {
            let text = text_of(&value)?;
            formats::run(step, &text).unwrap_or_else(|| text::run(step, &text))
        }
    }
}

/// An address, also within `Ann Lee <ann@example.com>`.
pub(super) fn email(text: &str) -> Result<String, Unreadable> {
    let inner = text.trim_end().strip_suffix('>').and_then(|t| t.rsplit_once('<'));
    normalise::email(inner.map_or(text, |(_, address)| address))
}

/// The zone that the sender names, else the portal's.
fn zone(rule: &super::date::DateRule, cx: &Cx<'_>) -> Option<chrono_tz::Tz> {
    let named = rule.zone_from.as_ref().and_then(|at| eval::path(at, cx).ok());
    let named = named.and_then(|value| text_of(&value).ok());
    // A zone that cannot be read is no reason to drop the date.
    named.and_then(|name| name.parse().ok()).or(rule.zone).or(cx.zone())
}

fn phone(text: &str, args: &PhoneArgs, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    if args.part == PhonePart::Extension {
        return Ok(text::extension(text).map_or(Val::Null, Val::Text));
    }
    let named = match &args.country_from {
        // A country that cannot be read is no reason to drop the number.
        Some(path) => eval::path(path, cx).and_then(|v| text_of(&v)).ok(),
        None => None,
    };
    let named = named.as_deref().and_then(normalise::country);
    let text = text::without_extension(text);
    let found = match (named, &args.country) {
        (Some(country), _) => normalise::phone(text, &[country]),
        (None, Some(country)) => normalise::phone(text, &[country]),
        (None, None) => normalise::phone(text, &cx.countries()),
    };
    found.map(|phone| Val::Text(phone.e164))
}
