//! Telephone numbers as E.164.

use super::Unreadable;
use phonenumber::country;
use unicode_normalization::UnicodeNormalization;

/// Longer than any number with its extension.
const LONGEST: usize = 40;

/// A telephone number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    /// `+`, country code, national number; Italy's leading zero kept.
    pub e164: String,
    /// The numbering plan knows this number's range. Plans change faster than tables, so a number
    /// of plausible length outside any known range is kept and marked rather than lost.
    pub verified: bool,
}

/// Reads a number written nationally or internationally. `countries`: whose national numbers it
/// may be (ISO 3166-1 alpha-2), the likeliest first. An extension is left out.
///
/// # Errors
/// `invalid_phone`
pub fn phone(raw: &str, countries: &[&str]) -> Result<Phone, Unreadable> {
    let wrong = |why: &str| Unreadable::new("invalid_phone", format!("The phone number {why}."));
    // NFKC brings full-width digits and no-break blanks to their plain forms.
    let text: String = raw.trim().chars().take(LONGEST + 1).nfkc().collect();
    let text = text.trim();
    if text.chars().count() > LONGEST {
        return Err(wrong("has more than 40 characters"));
    }
    let text = without_remark(without_scheme(text));
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits < 4 {
        return Err(wrong("has fewer than 4 digits"));
    }
    // Without a country nobody's dialling rules apply; 00 is the usual international prefix.
    let international = match text.strip_prefix("00") {
        Some(rest) if countries.is_empty() => format!("+{rest}"),
        _ => text.to_owned(),
    };
    if international.starts_with('+') {
        // Read under another country's rules it would lose that country's trunk prefix, not its own.
        return read(&international, None)
            .filter(|p| is_number(&international, p))
            .ok_or_else(|| wrong("cannot be one; check its country code and its length"));
    }
    let mut plausible = None;
    let known: Vec<Option<country::Id>> =
        countries.iter().filter_map(|c| c.parse().ok()).map(Some).collect();
    for country in if known.is_empty() { vec![None] } else { known } {
        let Some(phone) = read(&international, country) else { continue };
        if !is_number(&international, &phone) {
            continue;
        }
        if phone.verified {
            return Ok(phone);
        }
        plausible = plausible.or(Some(phone));
    }
    plausible.ok_or_else(|| {
        if countries.is_empty() {
            wrong("has no country code, and the portal has no default country")
        } else {
            wrong("cannot be one; write it with its country code, such as +48 22 694 00 00")
        }
    })
}

/// The number behind `tel:`, `TEL: `, `p:` and the like.
fn without_scheme(text: &str) -> &str {
    match text.split_once(':') {
        Some((scheme, rest))
            if scheme.len() <= 10 && scheme.bytes().all(|b| b.is_ascii_alphabetic()) =>
        {
            rest.trim_start()
        }
        _ => text,
    }
}

/// The number before `(office)`, `(mobil)` and the like.
fn without_remark(text: &str) -> &str {
    let remark = |inside: &str| {
        inside.contains(char::is_alphabetic) && !inside.contains(|c: char| c.is_ascii_digit())
    };
    match text.strip_suffix(')').and_then(|rest| rest.rsplit_once('(')) {
        Some((number, inside)) if remark(inside) => number.trim_end(),
        _ => text,
    }
}

/// Letters may spell a number (1-800-FLOWERS), but unless it is a known one and ends with them they do not:
/// `030 901820 room 12` would be dialled to somebody else. An extension that was left out harms nothing.
fn is_number(text: &str, phone: &Phone) -> bool {
    let Some(at) = text.find(char::is_alphabetic) else { return true };
    let digits: String = text[..at].chars().filter(char::is_ascii_digit).collect();
    let last = &digits[digits.len().saturating_sub(4)..];
    let left_out = last.len() == 4 && phone.e164.ends_with(last);
    phone.verified && (left_out || !text[at..].contains(|c: char| c.is_ascii_digit()))
}

fn read(text: &str, country: Option<country::Id>) -> Option<Phone> {
    let number = phonenumber::parse(country, text).ok()?;
    let (code, national) = (number.code().value(), number.national().to_string());
    let mut e164 = format!("+{code}{national}");
    let mut verified = phonenumber::is_valid(&number);
    // A trunk zero where the plan has none, or no longer: `022 694 00 00` in Poland. Italy's zeros
    // belong to numbers that are valid with them and never get here.
    if let (false, Some(without)) = (verified, national.strip_prefix('0')) {
        let shorter = format!("+{code}{without}");
        if phonenumber::parse(None, &shorter).is_ok_and(|n| n.is_valid()) {
            (e164, verified) = (shorter, true);
        }
    }
    let plausible = code > 0 && (8..=16).contains(&e164.len()); // `+` and 7 to 15 digits
    plausible.then_some(Phone { e164, verified })
}
