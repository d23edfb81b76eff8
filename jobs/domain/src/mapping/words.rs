//! The arguments of steps that know words: tables, numbers, booleans, phones, countries.

use super::path::Path;
use super::value::{Val, from_json};
use crate::normalise::{self, NumberLocale};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;
use std::collections::HashMap;

/// See [`Step::SplitName`](super::step::Step::SplitName).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NamePart {
    /// The first word.
    First,
    /// All but the first.
    Rest,
    /// The last word.
    Last,
    /// All but the last.
    Leading,
}

/// See [`Step::Table`](super::step::Step::Table).
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "TableArgs")]
pub(super) struct Table {
    /// By the lower-case text of what was sent.
    pub values: HashMap<String, Val>,
    /// What becomes of anything else.
    pub otherwise: Otherwise,
}

/// What becomes of a value that is not in the table.
#[derive(Clone, Debug)]
pub(super) enum Otherwise {
    /// It is unusable.
    Error,
    /// It stays what it is.
    Keep,
    /// It becomes this.
    Value(Val),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableArgs {
    values: HashMap<String, Value>,
    #[serde(default, rename = "else", deserialize_with = "given")]
    otherwise: Option<Value>,
    #[serde(default)]
    keep: bool,
}

/// `null` is a value here, and not the same as absent.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl TryFrom<TableArgs> for Table {
    type Error = String;

    fn try_from(args: TableArgs) -> Result<Self, Self::Error> {
        let read = |value: &Value| match from_json(value) {
            Ok(Val::Json(_)) => Err("a table gives texts, numbers, booleans or null".to_owned()),
            other => other.map_err(|e| e.message),
        };
        if args.values.is_empty() {
            return Err("the table is empty".to_owned());
        }
        let otherwise = match (&args.otherwise, args.keep) {
            (Some(_), true) => return Err("a table has `else` or `keep`, not both".to_owned()),
            (Some(value), false) => Otherwise::Value(read(value)?),
            (None, true) => Otherwise::Keep,
            (None, false) => Otherwise::Error,
        };
        let mut values = HashMap::new();
        for (key, value) in &args.values {
            let folded = normalise::text(key).unwrap_or_default().to_lowercase();
            if values.insert(folded, read(value)?).is_some() {
                return Err(format!("`{key}` is there twice, in other capitals"));
            }
        }
        Ok(Self { values, otherwise })
    }
}

/// See [`Step::Number`](super::step::Step::Number).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NumberArgs {
    /// In place of the portal's.
    pub locale: Option<NumberLocale>,
}

/// See [`Step::Boolean`](super::step::Step::Boolean): words beside the usual ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BooleanArgs {
    #[serde(rename = "true", deserialize_with = "folded")]
    pub yes: Vec<String>,
    #[serde(rename = "false", deserialize_with = "folded")]
    pub no: Vec<String>,
}

fn folded<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    Ok(words.iter().map(|w| normalise::fold(w)).collect())
}

/// See [`Step::Phone`](super::step::Step::Phone).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PhoneArgs {
    /// Whose national numbers these are, in place of the lead's and the portal's country.
    #[serde(deserialize_with = "country")]
    pub country: Option<String>,
    /// Where the country stands that the number is of: a code or a name.
    pub country_from: Option<Path>,
    /// What of the number is wanted.
    pub part: PhonePart,
}

/// What of a phone number is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PhonePart {
    /// The number itself, without its extension.
    #[default]
    Number,
    /// The extension alone.
    Extension,
}

fn country<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    normalise::country(&text)
        .map(|code| Some(code.to_owned()))
        .ok_or_else(|| D::Error::custom(format!("`{text}` is no country; write a code such as PL")))
}

/// See [`Step::Country`](super::step::Step::Country).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CountryArgs {
    /// Names beside the known ones.
    #[serde(deserialize_with = "names")]
    pub names: HashMap<String, String>,
}

fn names<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<HashMap<String, String>, D::Error> {
    HashMap::<String, String>::deserialize(deserializer)?
        .into_iter()
        .map(|(name, code)| {
            normalise::country(&code)
                .map(|code| (normalise::fold(&name), code.to_owned()))
                .ok_or_else(|| D::Error::custom(format!("`{code}` is no country code")))
        })
        .collect()
}
