//! Writing a value into the lead: read as what the field is.

use super::date::DateRule;
use super::eval::Cx;
use super::step::Step;
use super::steps;
use super::target::{ProofField, Target, TextField, UTM};
use super::value::{Val, clean_json, text_of};
use super::words::{BooleanArgs, CountryArgs};
use crate::normalise::{self, Unreadable};
use crate::{Consent, ConsentProof, StandardLead};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Ids are indexed; an index row of PostgreSQL holds at most 2,704 bytes.
const LONGEST_ID: usize = 255;
const LONGEST_TEXT: usize = 500;
const LONGEST_MESSAGE: usize = 10_000;
const LONGEST_CUSTOM: usize = 2_000;
/// Of a network address with its zone.
const LONGEST_ADDRESS: usize = 64;

/// Values of a list that are tried for a field of one value.
const MOST_TRIED: usize = 20;

/// Fills one field. `false`: the value came to nothing.
pub(super) fn fill(
    lead: &mut StandardLead,
    target: &Target,
    value: Val,
    cx: &Cx<'_>,
) -> Result<bool, Unreadable> {
    // Text fields join a list; all others take the first usable value of it.
    let lists = matches!(
        target,
        Target::Text(_)
            | Target::Utm
            | Target::UtmEntry(_)
            | Target::Campaign(_)
            | Target::Custom(_)
    );
    if !lists && value.is_list() {
        return fill_from_list(lead, target, value, cx);
    }
    let value = if lists { value } else { value.into_scalar()? };
    if value == Val::Null {
        return Ok(false);
    }
    match target {
        Target::Country => {
            let step = Step::Country(CountryArgs::default());
            lead.country = Some(text_of(&steps::run(&step, value, cx)?)?);
        }
        Target::Text(field) => return fill_text(lead, *field, &value),
        Target::Email => lead.email = Some(steps::email(&text_of(&value)?)?),
        Target::Phone => fill_phone(lead, value, cx)?,
        Target::PostalCode => {
            let code = normalise::postal_code(&text_of(&value)?, cx.postal_country())?;
            lead.postal_code = Some(code);
        }
        Target::Budget => fill_budget(lead, value, cx)?,
        Target::Currency => lead.currency = Some(currency(&value, cx)?),
        Target::SubmittedAt => lead.submitted_at = instant(value, cx)?,
        Target::IsTest => lead.is_test = yes_or_no(&value)?,
        Target::Consent(name) => {
            let answer = yes_or_no(&value)?;
            *lead.consent.get_or_insert_with(Consent::default).entry(name) = Some(answer);
        }
        Target::ConsentProof(name, field) => return fill_proof(lead, name, *field, value, cx),
        Target::Utm => return fill_utm(lead, &value),
        Target::UtmEntry(name) => {
            let text = text_of(&value)?;
            return Ok(put_utm(lead, name, &text));
        }
        Target::Campaign(name) => {
            let Some(kept) = keep(value)? else { return Ok(false) };
            lead.campaign.get_or_insert_with(Map::new).insert(name.clone(), kept);
        }
        Target::Custom(name) => {
            let Some(kept) = keep(value)? else { return Ok(false) };
            lead.custom.get_or_insert_with(Map::new).insert(name.clone(), kept);
        }
        // Filled by a rule of its own kind.
        Target::LineItems => return Ok(false),
    }
    Ok(true)
}

fn fill_from_list(
    lead: &mut StandardLead,
    target: &Target,
    list: Val,
    cx: &Cx<'_>,
) -> Result<bool, Unreadable> {
    let mut fault = None;
    for element in list.into_elements()?.into_iter().take(MOST_TRIED) {
        match fill(lead, target, element, cx) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(why) => fault = fault.or(Some(why)),
        }
    }
    fault.map_or(Ok(false), Err)
}

fn fill_phone(lead: &mut StandardLead, value: Val, cx: &Cx<'_>) -> Result<(), Unreadable> {
    let text = text_of(&value)?;
    let phone = normalise::phone(steps::without_extension(&text), &cx.countries())?;
    if !phone.verified {
        lead.warnings.push("phone: unverified_phone".to_owned());
    }
    lead.phone = Some(phone.e164);
    Ok(())
}

fn currency(value: &Val, cx: &Cx<'_>) -> Result<String, Unreadable> {
    if let Val::Num(_, Some(code)) = value {
        return Ok((*code).to_owned());
    }
    let token = text_of(value)?;
    let code = normalise::currency_sign(&token, cx.input().defaults.currency.as_deref());
    code.flatten().map(str::to_owned).ok_or_else(|| {
        Unreadable::new("invalid_currency", "The currency is not known; use ISO 4217.")
    })
}

fn instant(value: Val, cx: &Cx<'_>) -> Result<Option<DateTime<Utc>>, Unreadable> {
    match steps::run(&Step::Date(DateRule::default()), value, cx)? {
        Val::Time(t) => Ok(Some(t)),
        _ => Ok(None),
    }
}

fn fill_proof(
    lead: &mut StandardLead,
    name: &str,
    field: ProofField,
    value: Val,
    cx: &Cx<'_>,
) -> Result<bool, Unreadable> {
    let mut proof = ConsentProof::default();
    let cut = |most| -> Result<Option<String>, Unreadable> {
        Ok(normalise::text(&text_of(&value)?).map(|text| normalise::shorten(&text, most)))
    };
    let text = match field {
        ProofField::Text => cut(LONGEST_MESSAGE)?,
        ProofField::Address => cut(LONGEST_ADDRESS)?,
        ProofField::Url => cut(LONGEST_CUSTOM)?,
        ProofField::At => {
            proof.at = instant(value.clone(), cx)?;
            None
        }
    };
    if text.is_none() && proof.at.is_none() {
        return Ok(false);
    }
    let kept = lead.consent_proof.get_or_insert_with(BTreeMap::new).entry(name.to_owned());
    let kept = kept.or_default();
    match field {
        ProofField::Text => kept.text = text,
        ProofField::Address => kept.address = text,
        ProofField::Url => kept.url = text,
        ProofField::At => kept.at = proof.at,
    }
    Ok(true)
}

fn fill_text(lead: &mut StandardLead, field: TextField, value: &Val) -> Result<bool, Unreadable> {
    let Some(text) = normalise::text(&text_of(value)?) else { return Ok(false) };
    let (name, place, most) = match field {
        TextField::ExternalId => {
            if text.len() > LONGEST_ID {
                return Err(Unreadable::new("too_long", "The id has more than 255 bytes."));
            }
            lead.external_id = Some(text);
            return Ok(true);
        }
        TextField::FirstName => ("first_name", &mut lead.first_name, LONGEST_TEXT),
        TextField::LastName => ("last_name", &mut lead.last_name, LONGEST_TEXT),
        TextField::Company => ("company", &mut lead.company, LONGEST_TEXT),
        TextField::City => ("city", &mut lead.city, LONGEST_TEXT),
        TextField::Interest => ("interest", &mut lead.interest, LONGEST_TEXT),
        TextField::Message => ("message", &mut lead.message, LONGEST_MESSAGE),
        TextField::Source => ("source", &mut lead.source, LONGEST_TEXT),
    };
    let short = normalise::shorten(&text, most);
    if short.len() != text.len() {
        lead.warnings.push(format!("{name}: truncated"));
    }
    *place = Some(short);
    Ok(true)
}

/// The amount, and the currency that stood with it unless a rule of its own says another.
fn fill_budget(lead: &mut StandardLead, value: Val, cx: &Cx<'_>) -> Result<(), Unreadable> {
    let number = match value {
        Val::Num(..) => value,
        other => steps::number(&text_of(&other)?, cx.locale(), cx)?,
    };
    if let Val::Num(amount, currency) = number {
        // The column is numeric(18, 4).
        if amount.abs() >= Decimal::from(100_000_000_000_000_i64) {
            return Err(Unreadable::new("invalid_number", "The number has over 14 digits."));
        }
        lead.budget = Some(amount);
        if let Some(code) = currency {
            lead.currency = Some(code.to_owned());
        }
    }
    Ok(())
}

fn yes_or_no(value: &Val) -> Result<bool, Unreadable> {
    steps::boolean(value, &BooleanArgs::default())
}

/// From a URL: the `utm_` parameters of its query. From an object: its members of these names,
/// with or without `utm_`.
fn fill_utm(lead: &mut StandardLead, value: &Val) -> Result<bool, Unreadable> {
    let mut filled = false;
    if let Val::Json(Value::Object(members)) = value {
        for name in UTM {
            let member = members.get(name).or_else(|| members.get(&format!("utm_{name}")));
            if let Some(member) = member {
                filled |= put_utm(lead, name, &text_of(&super::value::from_json(member)?)?);
            }
        }
        return Ok(filled);
    }
    let url = text_of(value)?;
    let pairs = url::form_urlencoded::parse(steps::query(&url).unwrap_or_default().as_bytes());
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    for (key, text) in pairs {
        if let Some(name) = key.strip_prefix("utm_") {
            first.entry(name.to_owned()).or_insert_with(|| text.into_owned());
        }
    }
    for name in UTM {
        if let Some(text) = first.get(name) {
            filled |= put_utm(lead, name, text);
        }
    }
    Ok(filled)
}

fn put_utm(lead: &mut StandardLead, name: &str, text: &str) -> bool {
    let Some(text) = normalise::text(text) else { return false };
    let text = normalise::shorten(&text, LONGEST_TEXT);
    lead.utm.get_or_insert_with(BTreeMap::new).insert(name.to_owned(), text);
    true
}

/// Free entries: scalars and lists of scalars as text with their exact digits, the rest as it is,
/// cleaned.
pub(super) fn keep(value: Val) -> Result<Option<Value>, Unreadable> {
    let json = match &value {
        Val::Json(json @ Value::Object(_)) if text_of(&value).is_err() => json.clone(),
        Val::List(_) | Val::Json(Value::Array(_)) if text_of(&value).is_err() => value.to_json(),
        _ => {
            let text = normalise::text(&text_of(&value)?);
            return Ok(text.map(|t| Value::String(normalise::shorten(&t, LONGEST_CUSTOM))));
        }
    };
    let clean = clean_json(&json)?;
    if clean.to_string().len() > LONGEST_MESSAGE {
        return Err(Unreadable::new("too_long", "The value has more than 10,000 bytes."));
    }
    Ok(Some(clean))
}
