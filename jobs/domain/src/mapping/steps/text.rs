//! Steps on text.

use crate::mapping::args::{RegexArgs, ReplaceArgs, Replaced, SplitArgs};
use crate::mapping::step::Step;
use crate::mapping::value::Val;
use crate::mapping::words::NamePart;
use crate::normalise::{self, Unreadable};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::Regex;
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization;

/// Pieces of one text.
const MOST_PIECES: usize = 1_000;
/// A replacement may make a text longer; not without end.
const LONGEST: usize = 1 << 20;

/// How an extension is written behind a number.
static EXTENSION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let words = "extension|ext|wew|klapka|int|interno|anexo|poste|durchwahl|dw|app|apparat|nebenst|nebenstelle";
    Regex::new(&format!(r"(?i)(?:;ext=|[#x]|\b(?:{words})\b[.:]?)\s*(\d{{1,7}})\s*$")).ok()
});

pub(super) fn run(step: &Step, text: &str) -> Result<Val, Unreadable> {
    let changed = match step {
        Step::Collapse => normalise::line(text).unwrap_or_default(),
        Step::Lower => text.to_lowercase(),
        Step::Upper => text.to_uppercase(),
        Step::Title => title(text),
        Step::Nfkc => text.nfkc().collect(),
        Step::Prefix(prefix) => format!("{prefix}{text}"),
        Step::Suffix(suffix) => format!("{text}{suffix}"),
        Step::Truncate(most) => text.chars().take(*most).collect(),
        Step::Split(args) => return Ok(split(text, args)),
        Step::Regex(args) => return Ok(find(text, args)),
        Step::Replace(args) => replace(text, args)?,
        Step::NullIf(words) => {
            let word = text.to_lowercase();
            return Ok(if words.0.contains(&word) { Val::Null } else { Val::text(text) });
        }
        Step::SplitName(part) => name_part(&in_order(text), *part),
        Step::StripTitles => without_titles(text).to_owned(),
        Step::Section(heading) => section(text, heading),
        Step::UrlDecode => url_decode(text)?,
        Step::Base64Decode => base64_decode(text)?,
        Step::HtmlText => super::formats::html_text(text),
        Step::HtmlUnescape => html_escape::decode_html_entities(text).into_owned(),
        Step::XmlUnescape => xml_unescape(text),
        Step::QueryParam(name) => return Ok(query_param(text, name)),
        Step::PathSegment(at) => {
            return Ok(path_segment(text, *at).map_or(Val::Null, |s| Val::text(&s)));
        }
        // Trim, NFC and stripping happen to every text.
        _ => text.to_owned(),
    };
    Ok(Val::text(&changed))
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric() || (inside && matches!(c, '\'' | '’'));
    }
    out
}

fn split(text: &str, args: &SplitArgs) -> Val {
    let limit = args.limit.unwrap_or(MOST_PIECES).min(MOST_PIECES);
    let pieces: Vec<_> = text.splitn(limit, args.on.as_str()).map(Val::text).collect();
    match args.index {
        None => Val::list(pieces),
        // An empty piece keeps its place.
        Some(index) => at(&pieces, index).cloned().unwrap_or(Val::Null),
    }
}

/// From 0, or from the end with -1.
pub(super) fn at<T>(items: &[T], index: i32) -> Option<&T> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    let at = if index < 0 { items.len().checked_sub(from_end)? } else { from_end };
    items.get(at)
}

fn find(text: &str, args: &RegexArgs) -> Val {
    let group = |captures: &regex::Captures<'_>| {
        captures.get(args.group).map_or(Val::Null, |m| Val::text(m.as_str()))
    };
    if args.all {
        let found = args.pattern.captures_iter(text).take(MOST_PIECES);
        return Val::list(found.map(|c| group(&c)).collect());
    }
    args.pattern.captures(text).map_or(Val::Null, |c| group(&c))
}

fn replace(text: &str, args: &ReplaceArgs) -> Result<String, Unreadable> {
    let (hits, replaced) = match &args.what {
        Replaced::Text(old) => {
            let hits = text.matches(old.as_str()).count();
            (hits, (hits * args.with.len() <= LONGEST).then(|| text.replace(old, &args.with)))
        }
        Replaced::Pattern(pattern) => {
            let hits = pattern.find_iter(text).count();
            // A `$1` stands for no more than the text itself, once a match.
            let fits =
                hits * args.with.len() + args.with.matches('$').count() * text.len() <= LONGEST;
            (hits, fits.then(|| pattern.replace_all(text, args.with.as_str()).into_owned()))
        }
    };
    replaced.ok_or_else(|| {
        let why = format!("Replacing {hits} places makes the text longer than a megabyte.");
        Unreadable::new("too_long", why)
    })
}

/// What stands behind a name and a comma without being a first name, folded.
const SUFFIXES: [&str; 14] =
    ["jr", "sr", "ii", "iii", "iv", "phd", "md", "mba", "esq", "dds", "cpa", "ba", "msc", "mgr"];
/// Salutations and titles before a name, folded.
const TITLES: [&str; 49] = [
    "mr",
    "mrs",
    "ms",
    "miss",
    "mx",
    "sir",
    "madam",
    "dr",
    "prof",
    "professor",
    "doctor",
    "herr",
    "herrn",
    "frau",
    "hr",
    "fr",
    "dipl ing",
    "ing",
    "mag",
    "med",
    "pan",
    "pani",
    "inz",
    "mgr",
    "hab",
    "lek",
    "sig",
    "sigra",
    "signor",
    "signora",
    "signore",
    "dott",
    "dottssa",
    "dottor",
    "avv",
    "arch",
    "geom",
    "monsieur",
    "madame",
    "mme",
    "mlle",
    "mademoiselle",
    "sra",
    "srta",
    "senor",
    "senora",
    "dhr",
    "mevr",
    "mevrouw",
];

/// `Nowak, Anna Maria` as `Anna Maria Nowak`; `John Smith, Jr.` stays in order.
fn in_order(name: &str) -> String {
    let mut pieces = name.split(',').map(str::trim).filter(|piece| !piece.is_empty());
    match (pieces.next(), pieces.next(), pieces.next()) {
        (Some(last), Some(first), None) if !SUFFIXES.contains(&&*normalise::fold(first)) => {
            format!("{first} {last}")
        }
        (Some(name), Some(suffix), None) => format!("{name} {suffix}"),
        _ => name.to_owned(),
    }
}

/// The name behind its salutations and titles; the whole of it if there is nothing else.
fn without_titles(name: &str) -> &str {
    let mut rest = name.trim();
    while let Some((word, behind)) = rest.split_once(char::is_whitespace) {
        let folded = normalise::fold(word);
        if behind.trim().is_empty() || !TITLES.contains(&folded.as_str()) {
            break;
        }
        rest = behind.trim_start();
    }
    rest
}

fn name_part(name: &str, part: NamePart) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    match (part, words.as_slice()) {
        (_, []) => String::new(),
        (NamePart::First, [first, ..]) => (*first).to_owned(),
        (NamePart::Rest, [_, rest @ ..]) => rest.join(" "),
        (NamePart::Last, [leading @ .., last]) => {
            if leading.is_empty() {
                String::new()
            } else {
                (*last).to_owned()
            }
        }
        (NamePart::Leading, [only]) => (*only).to_owned(),
        (NamePart::Leading, [leading @ .., _]) => leading.join(" "),
    }
}

/// From below the heading to the next one of its level or a higher one. Headings in fenced code are
/// none. Capitals, accents and punctuation of the heading do not matter.
fn section(text: &str, heading: &str) -> String {
    let wanted = normalise::fold(heading);
    let mut level = None;
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            fenced = !fenced;
        }
        let found = (!fenced).then(|| heading_of(line)).flatten();
        match (level, found) {
            (None, Some((depth, title))) if normalise::fold(title) == wanted => level = Some(depth),
            (Some(own), Some((depth, _))) if depth <= own => break,
            (Some(_), _) => lines.push(line),
            (None, _) => {}
        }
    }
    lines.join("\n")
}

/// An ATX heading (CommonMark, 4.2): its level and its text.
fn heading_of(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_start();
    let depth = line.bytes().take_while(|b| *b == b'#').count();
    let title = line[depth..].strip_prefix([' ', '\t']).unwrap_or(&line[depth..]);
    let is_heading =
        (1..=6).contains(&depth) && (title.len() < line.len() - depth || title.is_empty());
    is_heading.then(|| (depth, title.trim_end().trim_end_matches('#').trim()))
}

fn url_decode(text: &str) -> Result<String, Unreadable> {
    let blanks = text.replace('+', " ");
    percent_encoding::percent_decode_str(&blanks)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Unreadable::new("invalid_encoding", "The URL-encoded text is not UTF-8."))
}

fn base64_decode(text: &str) -> Result<String, Unreadable> {
    const EITHER: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER);
    let plain: String = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            c => c,
        })
        .collect();
    let wrong = || Unreadable::new("invalid_encoding", "The text is not UTF-8 in Base64.");
    String::from_utf8(STANDARD.decode(plain).map_err(|_| wrong())?).map_err(|_| wrong())
}

/// The five names of XML 1.0, 4.6, and character numbers.
fn xml_unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(i, _)| i);
        let found = end.and_then(|end| Some((xml_character(&rest[1..end])?, end)));
        match found {
            Some((c, end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn xml_character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

/// The query of a URL that may be relative: what stands between `?` and `#`.
pub(in crate::mapping) fn query(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    Some(query.split('#').next().unwrap_or_default())
}

pub(super) fn query_param(url: &str, name: &str) -> Val {
    query(url)
        .and_then(|q| {
            url::form_urlencoded::parse(q.as_bytes()).find(|(k, v)| k == name && !v.is_empty())
        })
        .map_or(Val::Null, |(_, v)| Val::text(&v))
}

/// One segment of a URL's path, decoded; empty ones do not count.
pub(in crate::mapping) fn path_segment(url: &str, index: i32) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => path,
    };
    let segments: Vec<_> = path.split('/').filter(|s| !s.is_empty()).collect();
    let segment = at(&segments, index)?;
    Some(percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
}

/// The extension behind a phone number.
pub(super) fn extension(text: &str) -> Option<String> {
    let captures = EXTENSION.as_ref()?.captures(text)?;
    captures.get(1).map(|m| m.as_str().to_owned())
}

/// The number before its extension.
pub(in crate::mapping) fn without_extension(text: &str) -> &str {
    let start = EXTENSION.as_ref().and_then(|pattern| pattern.find(text)).map(|m| m.start());
    let head = start.map_or(text, |at| &text[..at]);
    let head = head.trim_end().trim_end_matches([',', ';', '-']);
    if head.bytes().filter(u8::is_ascii_digit).count() >= 4 { head } else { text }
}
