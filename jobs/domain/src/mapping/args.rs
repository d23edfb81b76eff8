//! The arguments of steps.

use super::path::Path;
use super::pattern::Pattern;
use crate::normalise::NumberLocale;
use chrono_tz::Tz;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// Longest regular expression.
const LONGEST_PATTERN: usize = 1_000;
/// Of a compiled one, in bytes: what `regex` calls its size limit.
const LARGEST_PATTERN: usize = 1 << 20;

/// A regular expression of the crate `regex`: linear in the text's length, whatever the text.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    if text.is_empty() || text.len() > LONGEST_PATTERN {
        return Err(format!("a regular expression has 1 to {LONGEST_PATTERN} bytes"));
    }
    RegexBuilder::new(text)
        .size_limit(LARGEST_PATTERN)
        .dfa_size_limit(LARGEST_PATTERN)
        .nest_limit(50)
        .build()
        .map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => {
                format!("the regular expression `{text}` is too large; use smaller repetitions")
            }
            _ => {
                let why = e.to_string();
                let why = why.lines().last().unwrap_or_default().trim();
                let why = why.strip_prefix("error: ").unwrap_or(why);
                format!("`{text}` is no regular expression: {why}")
            }
        })
}

/// See [`Step::Split`](super::step::Step::Split).
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "SplitForm")]
pub(super) struct SplitArgs {
    pub on: String,
    pub index: Option<i32>,
    pub limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text to split on, or an object with `on`, `index` and `limit`")]
enum SplitForm {
    On(String),
    Args(SplitFields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitFields {
    on: String,
    index: Option<i32>,
    limit: Option<usize>,
}

impl TryFrom<SplitForm> for SplitArgs {
    type Error = String;

    fn try_from(form: SplitForm) -> Result<Self, Self::Error> {
        let args = match form {
            SplitForm::On(on) => Self { on, index: None, limit: None },
            SplitForm::Args(SplitFields { on, index, limit }) => Self { on, index, limit },
        };
        if args.on.is_empty() || args.limit == Some(0) {
            return Err("`split` needs a text to split on, and a limit is at least 1".to_owned());
        }
        Ok(args)
    }
}

/// See [`Step::Regex`](super::step::Step::Regex).
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RegexForm")]
pub(super) struct RegexArgs {
    pub pattern: Regex,
    pub group: usize,
    pub all: bool,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a regular expression, or an object with `pattern`, `group` and `all`"
)]
enum RegexForm {
    Pattern(String),
    Args(RegexFields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegexFields {
    pattern: String,
    group: Option<Group>,
    #[serde(default)]
    all: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "the number or the name of a group")]
enum Group {
    Number(usize),
    Name(String),
}

impl TryFrom<RegexForm> for RegexArgs {
    type Error = String;

    fn try_from(form: RegexForm) -> Result<Self, Self::Error> {
        let (text, group, all) = match form {
            RegexForm::Pattern(text) => (text, None, false),
            RegexForm::Args(RegexFields { pattern, group, all }) => (pattern, group, all),
        };
        let pattern = pattern(&text)?;
        let groups = pattern.captures_len();
        let group = match group {
            // The first group, or all of what matched if there is none.
            None => usize::from(groups > 1),
            Some(Group::Number(n)) if n < groups => n,
            Some(Group::Number(n)) => {
                return Err(format!("`{text}` has no group {n}; it has {}", groups - 1));
            }
            Some(Group::Name(name)) => pattern
                .capture_names()
                .position(|n| n == Some(name.as_str()))
                .ok_or_else(|| format!("`{text}` has no group named `{name}`"))?,
        };
        Ok(Self { pattern, group, all })
    }
}

/// See [`Step::Replace`](super::step::Step::Replace).
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "ReplaceFields")]
pub(super) struct ReplaceArgs {
    pub what: Replaced,
    pub with: String,
}

#[derive(Clone, Debug)]
pub(super) enum Replaced {
    Text(String),
    Pattern(Regex),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceFields {
    text: Option<String>,
    pattern: Option<String>,
    #[serde(default)]
    with: String,
}

impl TryFrom<ReplaceFields> for ReplaceArgs {
    type Error = String;

    fn try_from(fields: ReplaceFields) -> Result<Self, Self::Error> {
        if fields.with.len() > LONGEST_PATTERN {
            return Err(format!("`with` has at most {LONGEST_PATTERN} bytes"));
        }
        let what = match (fields.text, fields.pattern) {
            (Some(text), None) if !text.is_empty() => Replaced::Text(text),
            (None, Some(text)) => Replaced::Pattern(pattern(&text)?),
            _ => return Err("`replace` needs `text` or `pattern`, and `with`".to_owned()),
        };
        Ok(Self { what, with: fields.with })
    }
}

/// See [`Step::NullIf`](super::step::Step::NullIf).
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "NullIfForm")]
pub(super) struct NullIf(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
enum NullIfForm {
    One(String),
    Several(Vec<String>),
    Usual(Nothing),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What forms send for nothing.
const NOTHING: [&str; 14] = [
    "n/a",
    "n.a.",
    "na",
    "none",
    "null",
    "nil",
    "undefined",
    "-",
    "--",
    "---",
    "—",
    ".",
    "_no response_",
    "no response",
];

impl TryFrom<NullIfForm> for NullIf {
    type Error = String;

    fn try_from(form: NullIfForm) -> Result<Self, Self::Error> {
        let words = match form {
            NullIfForm::One(word) => vec![word],
            NullIfForm::Several(words) => words,
            NullIfForm::Usual(Nothing {}) => NOTHING.map(str::to_owned).to_vec(),
        };
        Ok(Self(words.iter().map(|w| w.trim().to_lowercase()).collect()))
    }
}

/// See [`Step::Range`](super::step::Step::Range).
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RangeForm")]
pub(super) struct RangeArgs {
    pub end: RangeEnd,
    pub locale: Option<NumberLocale>,
}

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RangeEnd {
    Min,
    Max,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`min` or `max`, or an object with `end` and `locale`")]
enum RangeForm {
    End(RangeEnd),
    Args(RangeFields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeFields {
    end: RangeEnd,
    locale: Option<NumberLocale>,
}

impl From<RangeForm> for RangeArgs {
    fn from(form: RangeForm) -> Self {
        match form {
            RangeForm::End(end) => Self { end, locale: None },
            RangeForm::Args(RangeFields { end, locale }) => Self { end, locale },
        }
    }
}

/// See [`Step::FormatDate`](super::step::Step::FormatDate).
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "FormatForm")]
pub(super) struct FormatArgs {
    pub format: Pattern,
    pub zone: Option<Tz>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a date format, or an object with `format` and `zone`")]
enum FormatForm {
    Format(String),
    Args(FormatFields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatFields {
    format: String,
    zone: Option<String>,
}

impl TryFrom<FormatForm> for FormatArgs {
    type Error = String;

    fn try_from(form: FormatForm) -> Result<Self, Self::Error> {
        let (format, zone) = match form {
            FormatForm::Format(format) => (format, None),
            FormatForm::Args(FormatFields { format, zone }) => (format, zone),
        };
        let zone = zone.as_deref().map(super::date::zone_of).transpose()?;
        Ok(Self { format: Pattern::for_writing(format)?, zone })
    }
}

/// See [`Step::Pivot`](super::step::Step::Pivot).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PivotArgs {
    /// Where an element's key stands.
    pub key: Path,
    /// Where its value stands.
    pub value: Path,
    /// Of elements with one key the last by this wins; without it the last in the list.
    pub order_by: Option<Path>,
}

impl PivotArgs {
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.key, &self.value].into_iter().chain(&self.order_by)
    }
}
