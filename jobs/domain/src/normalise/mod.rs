//! One spelling for what people write in many ways: text, e-mail, phone, country, postal code,
//! number, currency. Used for leads and for what agencies enter, so that the two meet.

mod country;
mod currency;
mod number;
mod phone;
#[cfg(test)]
mod tests;

pub use country::country;
pub use currency::{currency, currency_sign};
pub use number::{NumberLocale, number};
pub use phone::{Phone, phone};

use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Why a text is not what it should be: a stable word and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreadable {
    /// Stable word for programs, such as `invalid_email`.
    pub code: &'static str,
    /// A sentence: what is wrong and what would do.
    pub message: String,
}

impl Unreadable {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Longest e-mail address (RFC 5321, 4.5.3.1.3, as read by erratum 1690).
const LONGEST_EMAIL: usize = 254;
/// Longest part before the `@` (RFC 5321, 4.5.3.1.1).
const LONGEST_LOCAL: usize = 64;
/// The longest postal codes in use have 10 characters.
const LONGEST_POSTAL_CODE: usize = 16;

/// NFC, without NUL and other control characters and without marks that turn the direction of
/// writing, trimmed. Line ends stay what they are, but a carriage return alone becomes one. `None`
/// if nothing is left.
#[must_use]
pub fn text(raw: &str) -> Option<String> {
    let ends: Cow<'_, str> = if raw.contains('\r') { line_ends(raw).into() } else { raw.into() };
    let clean: String = ends.chars().filter(|c| !is_unwanted(*c)).nfc().collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

fn line_ends(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(if c == '\r' && chars.peek() != Some(&'\n') { '\n' } else { c });
    }
    out
}

/// The same on one line: every run of white space becomes one blank.
#[must_use]
pub fn line(raw: &str) -> Option<String> {
    let words: Vec<_> = text(raw)?.split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Cuts after at most `most` characters and ends with `…` if anything was cut.
#[must_use]
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

fn is_unwanted(c: char) -> bool {
    match c {
        '\n' | '\r' | '\t' => false,
        // Directional overrides and isolates can make a text read as something else; the byte
        // order mark is an artefact of files; U+FFFE and U+FFFF are no characters.
        '\u{202A}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}'
        | '\u{FEFF}'
        | '\u{FFFE}'
        | '\u{FFFF}' => true,
        c => c.is_control(),
    }
}

/// For looking words up: lower case, no accents, no dots (`U.K.` is `uk`), words separated by one
/// blank, no other punctuation.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase) {
        match c {
            // Letters whose stroke or tie is no combining mark.
            'ł' => out.push('l'),
            'ø' => out.push('o'),
            'đ' => out.push('d'),
            'ı' => out.push('i'),
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            '.' => {}
            c if c.is_alphanumeric() => out.push(c),
            _ => out.push(' '),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An e-mail address in lower case, checked for its form only: whether it exists is for the
/// provider to say. The domain needs a dot and may be international; quoted local parts and
/// addresses by IP number are refused, no person has one.
///
/// # Errors
/// `invalid_email`
pub fn email(raw: &str) -> Result<String, Unreadable> {
    let wrong = |why: &str| Unreadable::new("invalid_email", format!("The e-mail address {why}."));
    let address = text(raw).ok_or_else(|| wrong("is empty"))?.to_lowercase();
    let address = address.strip_prefix("mailto:").unwrap_or(&address);
    if address.len() > LONGEST_EMAIL {
        return Err(wrong("has more than 254 characters"));
    }
    let (local, domain) =
        address.rsplit_once('@').ok_or_else(|| wrong("has no `@` between name and domain"))?;
    let local_ok = !local.is_empty()
        && local.len() <= LONGEST_LOCAL
        && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom));
    if !local_ok {
        return Err(wrong("is wrong before the `@`"));
    }
    let labels: Vec<_> = domain.split('.').collect();
    let top = labels.last().copied().unwrap_or_default();
    let domain_ok = labels.len() >= 2
        && labels.iter().all(|l| is_label(l))
        && top.chars().count() >= 2
        && !top.chars().all(|c| c.is_ascii_digit());
    if !domain_ok {
        return Err(wrong("is wrong after the `@`"));
    }
    Ok(address.to_owned())
}

/// RFC 5322, 3.2.3, and letters of any script (RFC 6531).
fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && (c.is_alphanumeric() || is_combining_mark(c)))
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c.is_alphanumeric() || c == '-' || is_combining_mark(c))
}

/// A postal code in upper case with single blanks, and for countries with one usual way of writing
/// it in that way (`00950` in Poland is `00-950`), so that a lead meets its territory.
///
/// # Errors
/// `invalid_postal_code` if it has over 16 characters, no letter or digit, or anything but letters,
/// digits, blanks and hyphens. Which codes exist is not checked.
pub fn postal_code(raw: &str, country: Option<&str>) -> Result<String, Unreadable> {
    let code = line(raw).map(|code| code.to_uppercase()).unwrap_or_default();
    let form_ok = code.chars().count() <= LONGEST_POSTAL_CODE
        && code.chars().any(char::is_alphanumeric)
        && code.chars().all(|c| c.is_alphanumeric() || c == ' ' || c == '-');
    if !form_ok {
        return Err(Unreadable::new(
            "invalid_postal_code",
            "The postal code must have 1 to 16 letters, digits, blanks or hyphens.",
        ));
    }
    // How the characters fall apart where a country writes them so: position and separator.
    let (length, at, separator) = match country {
        Some("PL") => (5, 2, '-'),
        Some("PT") => (7, 4, '-'),
        Some("BR") => (8, 5, '-'),
        Some("JP") => (7, 3, '-'),
        Some("NL") => (6, 4, ' '),
        Some("SE" | "CZ" | "SK" | "GR") => (5, 3, ' '),
        Some("CA") => (6, 3, ' '),
        Some("GB") => return Ok(british(&code)),
        _ => return Ok(code),
    };
    let bare: String = code.chars().filter(|c| c.is_alphanumeric()).collect();
    if bare.len() != length || !bare.is_ascii() {
        return Ok(code);
    }
    Ok(format!("{}{separator}{}", &bare[..at], &bare[at..]))
}

/// The inward part always has three characters.
fn british(code: &str) -> String {
    let bare: String = code.chars().filter(|c| c.is_alphanumeric()).collect();
    if !(5..=7).contains(&bare.len()) || !bare.is_ascii() {
        return code.to_owned();
    }
    let (outward, inward) = bare.split_at(bare.len() - 3);
    format!("{outward} {inward}")
}
