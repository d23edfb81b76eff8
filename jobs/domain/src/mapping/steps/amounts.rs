//! Steps on numbers and amounts.

use crate::mapping::args::{RangeArgs, RangeEnd};
use crate::mapping::eval::{self, Cx};
use crate::mapping::step::{Calculation, Step};
use crate::mapping::value::{Val, text_of};
use crate::normalise::{self, NumberLocale, Unreadable};
use regex::Regex;
use rust_decimal::{Decimal, RoundingStrategy};
use std::sync::LazyLock;

/// Numbers within text: groups of three behind blanks, or anything behind a sign.
static NUMBERS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\d+(?:[ \u{a0}\u{202f}]\d{3}\b|[.,'’]\d+)*").ok());
/// Currencies with another number of decimals than two (ISO 4217, list one).
const NO_DECIMALS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
const THREE_DECIMALS: &str = "BHD IQD JOD KWD LYD OMR TND";
/// What a decimal can hold.
const MOST_DECIMALS: u32 = 28;

fn wrong(why: &str) -> Unreadable {
    Unreadable::new("invalid_number", format!("The number {why}."))
}

pub(super) fn run(step: &Step, value: Val, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    match step {
        Step::Number(args) => read(value, args.locale.as_ref(), cx),
        Step::Range(args) => match value {
            Val::Num(..) => Ok(value),
            other => range(&text_of(&other)?, args, cx),
        },
        Step::Currency => currency(&value, cx),
        _ => {
            let Val::Num(number, currency) = read(value, None, cx)? else { return Ok(Val::Null) };
            let result = match step {
                Step::Round(decimals) => number.round_dp_with_strategy(
                    (*decimals).min(MOST_DECIMALS),
                    RoundingStrategy::MidpointAwayFromZero,
                ),
                Step::Scale(power) => scale(number, *power)?,
                Step::Calculate(Calculation::MinorUnits, operand) => {
                    let code = text_of(&eval::source(operand, cx)?.into_scalar()?)?;
                    let code = normalise::currency(&code).or(currency);
                    let code = code.or(cx.input().defaults.currency.as_deref());
                    implied(number, decimals_of(code.unwrap_or_default()))?
                }
                Step::Calculate(operation, operand) => {
                    let operand = eval::source(operand, cx)?.into_scalar()?;
                    match (operation, read(operand, None, cx)?) {
                        (operation, Val::Num(operand, _)) => {
                            calculate(*operation, number, operand)?
                        }
                        // Adding nothing changes nothing; anything else has no result.
                        (Calculation::Add | Calculation::Subtract, _) => number,
                        _ => return Ok(Val::Null),
                    }
                }
                _ => number,
            };
            Ok(Val::Num(result, currency))
        }
    }
}

/// A value as a number. Absent values stay absent.
fn read(value: Val, locale: Option<&NumberLocale>, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    match value {
        Val::Null | Val::Num(..) => Ok(value),
        other => number(&text_of(&other)?, locale.or(cx.locale()), cx),
    }
}

pub(in crate::mapping) fn number(
    text: &str,
    locale: Option<&NumberLocale>,
    cx: &Cx<'_>,
) -> Result<Val, Unreadable> {
    written(text, locale, cx).or_else(|why| magnified(text, locale, cx).unwrap_or(Err(why)))
}

/// Words and letters behind a number that make it larger, and by how many powers of ten.
const MAGNITUDES: [(&str, i32); 34] = [
    ("k", 3),
    ("tsd", 3),
    ("thsd", 3),
    ("tys", 3),
    ("tis", 3),
    ("tausend", 3),
    ("thousand", 3),
    ("mille", 3),
    ("mila", 3),
    ("mil", 3),
    ("тыс", 3),
    ("mio", 6),
    ("mln", 6),
    ("mill", 6),
    ("million", 6),
    ("millions", 6),
    ("millionen", 6),
    ("milion", 6),
    ("miliony", 6),
    ("milione", 6),
    ("milioni", 6),
    ("millon", 6),
    ("millones", 6),
    ("milhao", 6),
    ("milhoes", 6),
    ("miljoen", 6),
    ("млн", 6),
    ("mrd", 9),
    ("mld", 9),
    ("bn", 9),
    ("billion", 9),
    ("milliarde", 9),
    ("milliarden", 9),
    ("milliard", 9),
];

/// The power of ten that the word at the beginning stands for, and what follows it. `M` is a million
/// in capitals; a small one only beside a currency, since it may be metres.
fn magnitude(behind: &str, money: bool) -> Option<(i32, &str)> {
    let behind = behind.trim_start();
    let end = behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len());
    let (word, rest) = behind.split_at(end);
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    if word == "M" || (word == "m" && money) {
        return Some((6, rest));
    }
    let folded = normalise::fold(word);
    MAGNITUDES.iter().find(|(name, _)| *name == folded).map(|(_, power)| (*power, rest))
}

/// `1,5 Mio. €`, `250k`; `None`: there is no such word.
fn magnified(
    text: &str,
    locale: Option<&NumberLocale>,
    cx: &Cx<'_>,
) -> Option<Result<Val, Unreadable>> {
    let end = text.rfind(|c: char| c.is_ascii_digit())? + 1;
    let money = currency_in(text, cx.input().defaults.currency.as_deref()).is_some();
    let (power, rest) = magnitude(&text[end..], money)?;
    let plain = written(&format!("{} {rest}", &text[..end]), locale, cx);
    Some(plain.and_then(|value| match value {
        Val::Num(n, currency) => Ok(Val::Num(scale(n, power)?, currency)),
        other => Ok(other),
    }))
}

fn written(text: &str, locale: Option<&NumberLocale>, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    let default = cx.input().defaults.currency.as_deref();
    // What computers write, `11.2`, is no number of a locale with a decimal comma but can be
    // nothing else if its decimals are not three.
    normalise::number(text, locale, default)
        .or_else(|why| match text.parse::<Decimal>() {
            Ok(n) if plain(text) => Ok((n, None)),
            _ => Err(why),
        })
        .map(|(n, currency)| Val::Num(n, currency))
}

/// Digits with one point before one, two or four to ten decimals.
fn plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.split_once('.').is_some_and(|(whole, decimals)| {
        let all_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        all_digits(whole) && all_digits(decimals) && decimals.len() != 3 && decimals.len() <= 10
    })
}

fn calculate(operation: Calculation, a: Decimal, b: Decimal) -> Result<Decimal, Unreadable> {
    match operation {
        Calculation::Add => a.checked_add(b),
        Calculation::Subtract => a.checked_sub(b),
        Calculation::Multiply => a.checked_mul(b),
        Calculation::Divide if b.is_zero() => return Err(wrong("would be divided by zero")),
        Calculation::Divide => a.checked_div(b).map(|n| n.normalize()),
        Calculation::ImpliedDecimals | Calculation::MinorUnits => {
            let places = b.is_integer().then(|| u32::try_from(b).ok()).flatten();
            let places = places.filter(|p| *p <= MOST_DECIMALS);
            return implied(a, places.ok_or_else(|| wrong("of implied decimals is not 0 to 28"))?);
        }
    }
    .ok_or_else(|| wrong("is out of range"))
}

/// The last digits become decimals.
fn implied(number: Decimal, decimals: u32) -> Result<Decimal, Unreadable> {
    number
        .checked_mul(Decimal::new(1, decimals.min(MOST_DECIMALS)))
        .ok_or_else(|| wrong("is out of range"))
}

fn scale(number: Decimal, power: i32) -> Result<Decimal, Unreadable> {
    if power <= 0 {
        return implied(number, power.unsigned_abs());
    }
    let mut result = number;
    for _ in 0..power.min(29) {
        result = result.checked_mul(Decimal::TEN).ok_or_else(|| wrong("is out of range"))?;
    }
    Ok(result.normalize())
}

fn decimals_of(code: &str) -> u32 {
    let listed = |list: &str| list.split(' ').any(|c| c == code);
    match code {
        "" => 2,
        _ if listed(NO_DECIMALS) => 0,
        _ if listed(THREE_DECIMALS) => 3,
        _ => 2,
    }
}

/// One end of `5.000 - 10.000 €`, `up to 500`, `from 100`, `5000+`, `10k`.
fn range(text: &str, args: &RangeArgs, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    let locale = args.locale.as_ref().or(cx.locale());
    let default = cx.input().defaults.currency.as_deref();
    let Some(pattern) = NUMBERS.as_ref().filter(|_| text.len() <= 200) else {
        return Err(wrong("is longer than 200 bytes"));
    };
    let currency = currency_in(text, default);
    let mut written = Vec::new();
    for found in pattern.find_iter(text).take(3) {
        let Val::Num(n, _) = number(found.as_str(), locale, cx)? else { continue };
        let power = magnitude(&text[found.end()..], currency.is_some()).map(|(power, _)| power);
        written.push((n, power));
    }
    // `1,5 - 2 Mio` are both millions, `500.000 - 1 Mio` are not.
    if let [(a, power @ None), (b, Some(shared))] = written.as_mut_slice()
        && a <= b
    {
        *power = Some(*shared);
    }
    let mut numbers = Vec::new();
    for (n, power) in written {
        numbers.push(if let Some(power) = power { scale(n, power)? } else { n });
    }
    let lone = |lower: bool| {
        let folded = text.to_lowercase();
        let upper_only = [
            "up to", "under", "below", "less", "max", "<", "≤", "bis", "fino", "hasta", "jusqu",
            "moins", "do ", "até", "a max",
        ];
        let lower_only = [
            "from", "over", "above", "more", "min", ">", "≥", "+", "ab ", "über", "da ", "oltre",
            "desde", "más", "plus", "od ", "powyżej", "a partir",
        ];
        let has = |words: &[&str]| words.iter().any(|w| folded.contains(w));
        if lower { !has(&upper_only) } else { !has(&lower_only) }
    };
    let end = match (numbers.as_slice(), args.end) {
        ([only], RangeEnd::Min) => lone(true).then_some(*only),
        ([only], RangeEnd::Max) => lone(false).then_some(*only),
        ([a, b], RangeEnd::Min) => Some(*a.min(b)),
        ([a, b], RangeEnd::Max) => Some(*a.max(b)),
        _ => return Err(wrong("is no range of one or two numbers")),
    };
    Ok(end.map_or(Val::Null, |n| Val::Num(n, currency)))
}

/// The first sign, code or word in a text that is a currency's.
fn currency_in(text: &str, default: Option<&str>) -> Option<&'static str> {
    let spaced: String =
        text.chars()
            .map(|c| {
                if c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '–' | '+') {
                    ' '
                } else {
                    c
                }
            })
            .collect();
    spaced.split_whitespace().find_map(|word| normalise::currency_sign(word, default).flatten())
}

fn currency(value: &Val, cx: &Cx<'_>) -> Result<Val, Unreadable> {
    if let Val::Num(_, currency) = value {
        return Ok(currency.map_or(Val::Null, |c| Val::Text(c.to_owned())));
    }
    let text = text_of(value)?;
    if text.len() > 200 {
        return Err(wrong("is longer than 200 bytes"));
    }
    let found = currency_in(&text, cx.input().defaults.currency.as_deref());
    Ok(found.map_or(Val::Null, |code| Val::Text(code.to_owned())))
}
