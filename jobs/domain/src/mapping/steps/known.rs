//! Steps that know words: tables, yes and no, countries.

use crate::mapping::value::{Val, text_of};
use crate::mapping::words::{BooleanArgs, CountryArgs, Otherwise, Table};
use crate::normalise::{self, Unreadable};
use rust_decimal::Decimal;

/// Words that mean yes, folded: English and the languages of the markets.
const YES: [&str; 30] = [
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
    "ticked",
    "checked",
];
/// Words that mean no, folded.
const NO: [&str; 28] = [
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
    "not subscribed",
    "unticked",
    "not checked",
    "unchecked",
    "none",
];

pub(super) fn look_up(table: &Table, value: Val) -> Result<Val, Unreadable> {
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

pub(in crate::mapping) fn boolean(value: &Val, args: &BooleanArgs) -> Result<bool, Unreadable> {
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

pub(super) fn country(text: &str, args: &CountryArgs) -> Result<Val, Unreadable> {
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
