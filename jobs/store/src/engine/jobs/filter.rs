//! Which jobs: the one filter of lists, searches and bulk operations, as names and values from
//! outside, and as conditions for the database.

mod conditions;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use switchyard_queue::JobState;
use uuid::Uuid;

/// The most values that one name may have, and the most arguments: each is a condition.
const MOST_VALUES: usize = 32;
/// The longest value.
const LONGEST_VALUE: usize = 1000;

/// Which jobs. What is not given does not count; everything that is given must hold. Of several
/// states or kinds a job has one.
///
/// Outside (query of a URL, JSON, command line) it is names with one or more texts each, see
/// [`Filter::set`]; that is also how it is written as JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// States.
    pub states: Vec<JobState>,
    /// Stored kinds.
    pub kinds: Vec<String>,
    /// Queue.
    pub queue: Option<String>,
    /// Partition of its queue.
    pub partition: Option<String>,
    /// Tenant.
    pub tenant: Option<Uuid>,
    /// Fields of the arguments, all of them.
    pub args: Vec<ArgMatch>,
    /// What the last error contains, whatever the case; or why it was cancelled.
    pub error: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// Who holds it or finished it.
    pub worker: Option<i64>,
    /// Group of failures. The history does not keep it, so only open jobs have one.
    pub fingerprint: Option<String>,
    /// It runs, and has been silent for longer than its kind allows.
    pub stuck: bool,
    /// Enqueued then or later.
    pub created_from: Option<DateTime<Utc>>,
    /// Enqueued before.
    pub created_to: Option<DateTime<Utc>>,
    /// Finished then or later; open jobs never are.
    pub finished_from: Option<DateTime<Utc>>,
    /// Finished before; open jobs never are.
    pub finished_to: Option<DateTime<Utc>>,
}

/// A field of the arguments and its value, as `lead=0198…`, `address.zip=00-950` or
/// `items[].sku=7`: names with dots between them, `[]` behind a list of which one element must fit.
///
/// A value that reads as a JSON number, `true`, `false` or `null` means that and the text as well; in
/// double quotes it means the text only.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgMatch {
    text: String,
    /// What the arguments must contain, one of these.
    any: Vec<Value>,
}

impl ArgMatch {
    /// One of these documents must be contained in the arguments, as `@>` of PostgreSQL says it.
    #[must_use]
    pub fn documents(&self) -> &[Value] {
        &self.any
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for ArgMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no `field=value`");
        let (path, value) = text.split_once('=').ok_or_else(wrong)?;
        let path: Vec<&str> = path.trim().split('.').collect();
        if path.iter().any(|name| name.trim_end_matches("[]").is_empty()) || path.len() > 16 {
            return Err(wrong());
        }
        let plain = Value::String(value.to_owned());
        let any = match serde_json::from_str::<Value>(value) {
            Ok(literal @ Value::String(_)) => vec![literal],
            Ok(literal @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => vec![literal, plain],
            _ => vec![plain],
        };
        let any = any.into_iter().map(|value| document(&path, value)).collect();
        Ok(Self { text: text.to_owned(), any })
    }
}

/// The value at its path.
fn document(path: &[&str], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, name| {
        let plain = name.trim_end_matches("[]");
        let lists = (name.len() - plain.len()) / 2;
        let inner = (0..lists).fold(inner, |inner, _| Value::Array(vec![inner]));
        Value::Object(Map::from_iter([(plain.to_owned(), inner)]))
    })
}

impl Filter {
    /// The names that [`Filter::set`] knows.
    pub const NAMES: [&'static str; 15] = [
        "state",
        "kind",
        "queue",
        "partition",
        "tenant",
        "arg",
        "error",
        "request_id",
        "worker",
        "fingerprint",
        "stuck",
        "created_from",
        "created_to",
        "finished_from",
        "finished_to",
    ];

    /// Sets what a name says. `state`, `kind` and `arg` may be given several times, the first two
    /// also as a list with commas. An empty value is none: forms send those.
    ///
    /// # Errors
    /// A sentence about what does not fit.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.contains('\0') || value.len() > LONGEST_VALUE {
            return Err(format!("`{name}` holds a zero byte or more than {LONGEST_VALUE} bytes"));
        }
        if value.is_empty() {
            return if Self::NAMES.contains(&name) { Ok(()) } else { Err(unknown(name)) };
        }
        match name {
            "state" => {
                for state in value.split(',') {
                    add(&mut self.states, state.trim().parse()?)?;
                }
            }
            "kind" => {
                for kind in value.split(',') {
                    add(&mut self.kinds, kind.trim().to_owned())?;
                }
            }
            "arg" => add(&mut self.args, value.parse()?)?,
            "queue" => self.queue = Some(value.to_owned()),
            "partition" => self.partition = Some(value.to_owned()),
            "error" => self.error = Some(value.to_owned()),
            "request_id" => self.request_id = Some(value.to_owned()),
            "fingerprint" => self.fingerprint = Some(value.to_owned()),
            "stuck" => self.stuck = read(name, value, "`true` or `false`")?,
            "tenant" => self.tenant = Some(read(name, value, "an id of 36 characters")?),
            "worker" => self.worker = Some(read(name, value, "a worker's number")?),
            "created_from" => self.created_from = Some(instant(name, value)?),
            "created_to" => self.created_to = Some(instant(name, value)?),
            "finished_from" => self.finished_from = Some(instant(name, value)?),
            "finished_to" => self.finished_to = Some(instant(name, value)?),
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// The filter as names and values, as [`Filter::set`] reads them.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        pairs.extend(self.states.iter().map(|s| ("state", s.to_string())));
        pairs.extend(self.kinds.iter().map(|k| ("kind", k.clone())));
        pairs.extend(self.args.iter().map(|a| ("arg", a.text.clone())));
        let time = |t: Option<DateTime<Utc>>| {
            t.map(|t| t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
        };
        let single = [
            ("queue", self.queue.clone()),
            ("partition", self.partition.clone()),
            ("tenant", self.tenant.map(|t| t.to_string())),
            ("error", self.error.clone()),
            ("request_id", self.request_id.clone()),
            ("worker", self.worker.map(|w| w.to_string())),
            ("fingerprint", self.fingerprint.clone()),
            ("stuck", self.stuck.then(|| true.to_string())),
            ("created_from", time(self.created_from)),
            ("created_to", time(self.created_to)),
            ("finished_from", time(self.finished_from)),
            ("finished_to", time(self.finished_to)),
        ];
        pairs.extend(single.into_iter().filter_map(|(name, value)| Some((name, value?))));
        pairs
    }
}

fn unknown(name: &str) -> String {
    format!("`{name}` is no filter; the filters are {}", Filter::NAMES.join(", "))
}

fn add<T: PartialEq>(all: &mut Vec<T>, one: T) -> Result<(), String> {
    if !all.contains(&one) {
        all.push(one);
    }
    if all.len() > MOST_VALUES { Err(format!("more than {MOST_VALUES} values")) } else { Ok(()) }
}

fn read<T: FromStr>(name: &str, value: &str, what: &str) -> Result<T, String> {
    value.trim().parse().map_err(|_| format!("`{name}` is {what}, not `{value}`"))
}

/// An instant as RFC 3339 has it, or a day or a minute of UTC. `name` is what a refusal calls it.
///
/// # Errors
/// It is none.
pub fn instant(name: &str, value: &str) -> Result<DateTime<Utc>, String> {
    let value = value.trim();
    if let Ok(at) = DateTime::parse_from_rfc3339(value) {
        return Ok(at.with_timezone(&Utc));
    }
    if let Ok(day) = value.parse::<NaiveDate>() {
        return Ok(day.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(value, format).ok())
        .map(|at| at.and_utc())
        .ok_or_else(|| {
            format!("`{name}` is a time like 2026-03-01, 2026-03-01T12:30 (UTC) or RFC 3339")
        })
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in self.pairs() {
            map.entry(name).or_default().push(value);
        }
        map.serialize(serializer)
    }
}

/// One text or several; numbers and truth values may stand without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Several(Vec<Value>),
    One(Value),
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut filter = Self::default();
        for (name, values) in BTreeMap::<String, Values>::deserialize(deserializer)? {
            let values = match values {
                Values::Several(values) => values,
                Values::One(Value::Null) => Vec::new(),
                Values::One(value) => vec![value],
            };
            for value in values {
                let set = match &value {
                    Value::String(text) => filter.set(&name, text),
                    Value::Number(_) | Value::Bool(_) => filter.set(&name, &value.to_string()),
                    other => Err(format!("`{name}` takes texts, not `{other}`")),
                };
                set.map_err(serde::de::Error::custom)?;
            }
        }
        Ok(filter)
    }
}

/// Reads a filter from names and values.
///
/// # Errors
/// A sentence about what does not fit.
pub fn filter_of<N: AsRef<str>, V: Display>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Result<Filter, String> {
    let mut filter = Filter::default();
    for (name, value) in pairs {
        filter.set(name.as_ref(), &value.to_string())?;
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn documents(text: &str) -> Vec<Value> {
        text.parse::<ArgMatch>().map(|a| a.any).unwrap_or_default()
    }

    #[test]
    fn a_value_means_what_it_reads_as_and_its_text() {
        assert_eq!(documents("zip=00-950"), [json!({"zip": "00-950"})]);
        assert_eq!(documents("n=42"), [json!({"n": 42}), json!({"n": "42"})]);
        assert_eq!(documents("n=\"42\""), [json!({"n": "42"})]);
        assert_eq!(documents("ok=true"), [json!({"ok": true}), json!({"ok": "true"})]);
        assert_eq!(documents("q=a=b"), [json!({"q": "a=b"})]);
        assert_eq!(documents("empty="), [json!({"empty": ""})]);
        assert_eq!(documents("a.items[].sku=x"), [json!({"a": {"items": [{"sku": "x"}]}})]);
        for wrong in ["lead", "=x", "a..b=x", "[]=x"] {
            assert!(wrong.parse::<ArgMatch>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_is_read_back_from_what_it_is_written_as() {
        let given = [
            ("state", "completed,discarded"),
            ("kind", "lead.distribute"),
            ("kind", "notify.email"),
            ("arg", "lead=a,b"),
            ("arg", "n=7"),
            ("error", "50% of_it\\"),
            ("worker", "12"),
            ("stuck", "true"),
            ("created_from", "2026-03-01"),
            ("finished_to", "2026-03-01T12:30"),
            ("queue", ""),
        ];
        let filter = filter_of(given).expect("a filter");
        assert_eq!((filter.states.len(), filter.kinds.len(), filter.args.len()), (2, 2, 2));
        let written = serde_json::to_value(&filter).expect("JSON");
        assert_eq!(written["finished_to"], json!(["2026-03-01T12:30:00Z"]));
        assert_eq!(serde_json::from_value::<Filter>(written).expect("a filter"), filter);
        let loose = json!({"state": "discarded", "worker": 12, "kind": ["a"], "queue": null});
        assert_eq!(serde_json::from_value::<Filter>(loose).expect("a filter").worker, Some(12));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_reason() {
        for (name, value, says) in [
            ("colour", "red", "no filter"),
            ("state", "asleep", "no job state"),
            ("tenant", "7", "36 characters"),
            ("created_to", "yesterday", "RFC 3339"),
            ("error", "a\0b", "zero byte"),
            ("arg", "lead", "field=value"),
        ] {
            let refused = filter_of([(name, value)]).expect_err("a refusal");
            assert!(refused.contains(says), "{name}: {refused}");
        }
    }
}
