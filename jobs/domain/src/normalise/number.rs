//! Numbers as people write them.

use super::{Unreadable, currency_sign};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Longer than any amount with its currency.
const LONGEST: usize = 64;

/// Languages that write the decimal comma (Unicode CLDR).
const COMMA: [&str; 35] = [
    "bg", "bs", "ca", "cs", "da", "de", "el", "es", "et", "eu", "fi", "fr", "gl", "hr", "hu", "id",
    "is", "it", "lt", "lv", "mk", "nb", "nl", "nn", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sq",
    "sr", "sv", "tr",
];
/// The same, not written in Latin or Greek or Cyrillic alphabets of the list above.
const COMMA_MORE: [&str; 3] = ["uk", "be", "vi"];
/// Languages that write the decimal point.
const POINT: [&str; 13] =
    ["en", "ja", "ko", "zh", "th", "he", "hi", "ga", "cy", "mt", "ms", "tl", "sw"];
/// Regions that differ from their language: Switzerland's German and Italian, Latin America's north.
const POINT_REGIONS: [&str; 13] = [
    "de-CH", "de-LI", "it-CH", "es-MX", "es-US", "es-419", "es-GT", "es-HN", "es-NI", "es-PA",
    "es-PE", "es-SV", "es-DO",
];

/// How numbers are written in a language and country, such as `pl-PL`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NumberLocale {
    name: String,
    decimal: char,
    /// Groups of two above the thousand (India).
    lakh: bool,
}

impl FromStr for NumberLocale {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let name = name.replace('_', "-");
        let language = name.split('-').next().unwrap_or_default();
        let point = POINT.contains(&language) || POINT_REGIONS.contains(&name.as_str());
        if !point && !COMMA.contains(&language) && !COMMA_MORE.contains(&language) {
            return Err(format!(
                "`{name}` is no number locale; write a language and country such as pl-PL or en-GB"
            ));
        }
        let lakh = name.ends_with("-IN");
        Ok(Self { decimal: if point { '.' } else { ',' }, lakh, name })
    }
}

impl TryFrom<String> for NumberLocale {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<NumberLocale> for String {
    fn from(locale: NumberLocale) -> Self {
        locale.name
    }
}

/// A number with an optional currency before or behind it, and the currency.
///
/// Digits may be grouped by blanks of any width and apostrophes, and by `.` or `,` where the locale
/// does not use it as the decimal sign; groups must be complete, so that `12.50` is an error under
/// `it-IT` and never 1250. Without a locale the decimal sign is `.` and `,` is refused.
///
/// # Errors
/// `invalid_number`
pub fn number(
    raw: &str,
    locale: Option<&NumberLocale>,
    default_currency: Option<&str>,
) -> Result<(Decimal, Option<&'static str>), Unreadable> {
    let wrong = |why: &str| Unreadable::new("invalid_number", format!("The number {why}."));
    let text = raw.trim();
    if text.len() > LONGEST {
        return Err(wrong("is longer than 64 bytes"));
    }
    let first = text.find(|c: char| c.is_ascii_digit()).ok_or_else(|| wrong("has no digit"))?;
    let end = text.rfind(|c: char| c.is_ascii_digit()).map_or(text.len(), |i| i + 1);
    let (before, digits, behind) = (&text[..first], &text[first..end], &text[end..]);

    let minus = ['-', '\u{2212}'];
    let negative = before.contains(minus);
    let before = before.replace(minus, " ").replace('+', " ");
    // `500,-` and `500.–` are whole amounts.
    let behind = [",-", ".-", ",–", ".–", ",—", ".—"]
        .iter()
        .find_map(|whole| behind.strip_prefix(whole))
        .unwrap_or(behind);
    let mut found = None;
    for token in [before.as_str(), behind] {
        let token = token.trim();
        if !token.is_empty() {
            found = currency_sign(token, default_currency).ok_or_else(|| {
                wrong("has something around it that is neither a sign nor a currency")
            })?;
        }
    }
    let mut value = plain(digits, locale).ok_or_else(|| match locale {
        Some(l) => wrong(&format!("is not written as usual in {}", l.name)),
        None => wrong("is not written with digits and a decimal point; set the number locale"),
    })?;
    value.set_sign_negative(negative && !value.is_zero());
    Ok((value, found))
}

/// Digits, groups and decimal sign only; starts and ends with a digit.
fn plain(digits: &str, locale: Option<&NumberLocale>) -> Option<Decimal> {
    let decimal = locale.map_or('.', |l| l.decimal);
    let (whole, fraction) = match digits.split_once(decimal) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    if fraction.is_some_and(|f| f.is_empty() || !f.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let group = |c: char| {
        c.is_whitespace() || c == '\'' || c == '’' || (locale.is_some() && (c == '.' || c == ','))
    };
    let separators: Vec<char> = whole.chars().filter(|c| group(*c)).collect();
    if separators.windows(2).any(|pair| pair[0] != pair[1]) {
        return None;
    }
    let parts: Vec<&str> = whole.split(group).collect();
    if parts.iter().any(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    if let [head, middle @ .., tail] = parts.as_slice() {
        let inner = if locale.is_some_and(|l| l.lakh) { 2 } else { 3 };
        if head.len() > inner || tail.len() != 3 || middle.iter().any(|m| m.len() != inner) {
            return None;
        }
    }
    let mut text = parts.concat();
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    Decimal::from_str(&text).ok()
}
