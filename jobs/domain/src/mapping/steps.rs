//! What each step does to a value.

use super::run::Cx;
use super::step::{BooleanArgs, CountryArgs, NamePart, Otherwise, Step, Table};
use super::value::{Val, joined, text_of};
use crate::normalise::{self, Unreadable};
use rust_decimal::Decimal;
use serde_json::Value;

/// Words that mean yes, folded: English and the languages of the markets.
const YES: [&str; 29] = [
    "true",
    "yes",
    "y",
    "t",
    "on",
    "1",
    "ok",
    "x",
    "si",
    "s",
    "oui",
    "ja",
    "j",
    "tak",
    "ano",
    "sim",
    "da",
    "igen",
    "evet",
    "agree",
    "agreed",
    "accept",
    "accepted",
    "granted",
    "opt in",
    "opted in",
    "optin",
    "subscribed",
    "checked",
];
/// Words that mean no, folded.
const NO: [&str; 25] = [
    "false",
    "no",
    "n",
    "f",
    "off",
    "0",
    "non",
    "nein",
    "nie",
    "ne",
    "nee",
    "nao",
    "nu",
    "nem",
    "hayir",
    "disagree",
    "declined",
    "denied",
    "refused",
    "opt out",
    "opted out",
    "optout",
    "unsubscribed",
    "unchecked",
    "none",
];

/// Runs one step. An absent value stays absent.
pub(super) fn run(step: &Step, value: Val, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    if value == Val::Null {
        return Ok(Val::Null);
    }
    match step {
        Step::Trim => on_text(&value, |t| t.trim().to_owned()),
        Step::Collapse => on_text(&value, |t| normalise::line(t).unwrap_or_default()),
        Step::Lower => on_text(&value, str::to_lowercase),
        Step::Upper => on_text(&value, str::to_uppercase),
        Step::SplitName(part) => on_text(&value, |t| name_part(t, *part)),
        Step::Join(separator) => match &value {
            Val::Json(Value::Array(items)) => joined(items, separator).map(|t| Val::text(&t)),
            _ => on_text(&value, str::to_owned),
        },
        Step::Table(table) => look_up(table, value),
        Step::Number(args) => match value {
            Val::Num(..) => Ok(value),
            other => number(&text_of(&other)?, args.locale.as_ref().or(cx.locale()), cx),
        },
        Step::Boolean(args) => boolean(&value, args).map(Val::Bool),
        // A consent that says "no" must never count as given because something stands there.
        Step::Present => Ok(Val::Bool(boolean(&value, &BooleanArgs::default()).unwrap_or(true))),
        Step::Date(rule) => match value {
            Val::Time(_) => Ok(value),
            Val::Num(n, _) => rule.count(n).map(Val::Time),
            other => rule.read(&text_of(&other)?, cx.zone()).map(Val::Time),
        },
        Step::Phone(args) => {
            let text = text_of(&value)?;
            let found = match &args.country {
                Some(country) => normalise::phone(&text, &[country]),
                None => normalise::phone(&text, &cx.countries()),
            };
            found.map(|phone| Val::Text(phone.e164))
        }
        Step::Email => normalise::email(&text_of(&value)?).map(Val::Text),
        Step::Country(args) => country(&text_of(&value)?, args),
        Step::QueryParam(name) => Ok(query_param(&text_of(&value)?, name)),
    }
}

fn on_text(value: &Val, change: impl Fn(&str) -> String) -> Result<Val, Unreadable> {
    Ok(Val::text(&change(&text_of(value)?)))
}

fn name_part(name: &str, part: NamePart) -> String {
    let mut words = name.split_whitespace();
    let first = words.next().unwrap_or_default().to_owned();
    match part {
        NamePart::First => first,
        NamePart::Rest => words.collect::<Vec<_>>().join(" "),
    }
}

fn look_up(table: &Table, value: Val) -> Result<Val, Unreadable> {
    let text = text_of(&value)?.to_lowercase();
    match (table.values.get(&text), &table.otherwise) {
        (Some(found), _) | (None, Otherwise::Value(found)) => Ok(found.clone()),
        (None, Otherwise::Keep) => Ok(value),
        (None, Otherwise::Error) => Err(Unreadable::new(
            "not_in_table",
            "The value is not in the mapping's table; add it there, or an `else`.",
        )),
    }
}

pub(super) fn number(
    text: &str,
    locale: Option<&normalise::NumberLocale>,
    cx: &Cx<'_>,
) -> Result<Val, Unreadable> {
    normalise::number(text, locale, cx.input.defaults.currency.as_deref())
        .map(|(n, currency)| Val::Num(n, currency))
}

pub(super) fn boolean(value: &Val, args: &BooleanArgs) -> Result<bool, Unreadable> {
    match value {
        Val::Bool(b) => return Ok(*b),
        Val::Num(n, _) if *n == Decimal::ONE => return Ok(true),
        Val::Num(n, _) if *n == Decimal::ZERO => return Ok(false),
        _ => {}
    }
    let text = text_of(value)?;
    if text.len() <= 100 {
        let word = normalise::fold(&text);
        let is =
            |own: &[String], usual: &[&str]| own.contains(&word) || usual.contains(&word.as_str());
        // The mapping's own words come first: a portal may well use "x" for no.
        if args.yes.contains(&word) || (!args.no.contains(&word) && is(&[], &YES)) {
            return Ok(true);
        }
        if is(&args.no, &NO) {
            return Ok(false);
        }
    }
    Err(Unreadable::new(
        "invalid_boolean",
        "The value is neither a yes nor a no; add its words to the `boolean` step.",
    ))
}

fn country(text: &str, args: &CountryArgs) -> Result<Val, Unreadable> {
    let own = (text.len() <= 200).then(|| args.names.get(&normalise::fold(text))).flatten();
    own.map(String::as_str)
        .or_else(|| normalise::country(text))
        .map(|code| Val::Text(code.to_owned()))
        .ok_or_else(|| {
            Unreadable::new(
                "invalid_country",
                "The country is not known by this name; add it to the `country` step's `names`.",
            )
        })
}

/// The query of a URL that may be relative: what stands between `?` and `#`.
pub(super) fn query(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    Some(query.split('#').next().unwrap_or_default())
}

fn query_param(url: &str, name: &str) -> Val {
    query(url)
        .and_then(|q| {
            url::form_urlencoded::parse(q.as_bytes()).find(|(k, v)| k == name && !v.is_empty())
        })
        .map_or(Val::Null, |(_, v)| Val::text(&v))
}
