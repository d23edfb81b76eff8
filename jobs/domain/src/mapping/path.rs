//! Where a value stands in a body: `data.lead."full name"[0]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// Deeper than any sender's body; the JSON reader stops at 128.
const DEEPEST: usize = 32;

/// A path into a JSON value.
///
/// Keys are separated by dots. A key is written bare if it has none of `. [ ] " ' * ? ( ) = < > |`
/// and no blank at its ends (`Lead ID` is bare), else in double or single quotes, doubled inside
/// (`"1.3"`, `'Budget (€)'`). `[2]` is the third element of an array, `[-1]` the last.
/// A leading `$` stands for the whole body. The signs excluded are kept for later operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(i32),
}

impl Path {
    /// The value there, if there is one.
    #[must_use]
    pub fn find<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(body, |value, step| match (step, value) {
            (Step::Key(key), Value::Object(members)) => members.get(key),
            (Step::Index(i), Value::Array(items)) => {
                let from_end = usize::try_from(i.unsigned_abs()).ok()?;
                let at = if *i < 0 { items.len().checked_sub(from_end)? } else { from_end };
                items.get(at)
            }
            _ => None,
        })
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut reader = Reader { rest: text };
        let steps = reader.steps().map_err(|why| format!("`{text}` is no path: {why}"))?;
        if steps.len() > DEEPEST {
            return Err(format!("`{text}` is no path: it has more than {DEEPEST} steps"));
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        let rooted = self.take('$');
        if rooted && self.rest.is_empty() {
            return Ok(steps);
        }
        // After `$` the first step has its dot or bracket, without it the first key stands bare.
        if !rooted && !self.rest.starts_with('[') {
            steps.push(self.key()?);
        }
        while !self.rest.is_empty() {
            if self.take('[') {
                steps.push(self.bracket()?);
            } else if self.take('.') {
                steps.push(self.key()?);
            } else {
                return Err(format!("a `.` or `[` must stand before `{}`", self.rest));
            }
        }
        Ok(steps)
    }

    fn take(&mut self, c: char) -> bool {
        let stripped = self.rest.strip_prefix(c);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn key(&mut self) -> Result<Step, String> {
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            return self.quoted(quote).map(Step::Key);
        }
        let end = self.rest.find(['.', '[']).unwrap_or(self.rest.len());
        let (key, rest) = self.rest.split_at(end);
        if key.is_empty() {
            return Err("a key is empty".to_owned());
        }
        if key.trim() != key || key.contains(|c: char| r#"]"'*?()=<>|"#.contains(c)) {
            return Err(format!("the key `{key}` must be written in quotes"));
        }
        self.rest = rest;
        Ok(Step::Key(key.to_owned()))
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut key = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c != quote {
                key.push(c);
            } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
                key.push(quote);
                chars.next();
            } else {
                self.rest = &self.rest[at + 1..];
                return Ok(key);
            }
        }
        Err("a quote is not closed".to_owned())
    }

    fn bracket(&mut self) -> Result<Step, String> {
        let step = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => Step::Key(self.quoted(quote)?),
            _ => {
                let end = self.rest.find(']').ok_or("a `[` is not closed")?;
                let (index, rest) = self.rest.split_at(end);
                self.rest = rest;
                let index = index.trim().parse().map_err(|_| {
                    format!("`[{index}]` is no index; write a whole number such as [0] or [-1]")
                })?;
                Step::Index(index)
            }
        };
        if self.take(']') { Ok(step) } else { Err("a `[` is not closed".to_owned()) }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn find(path: &str, body: &Value) -> Option<Value> {
        path.parse::<Path>().unwrap().find(body).cloned()
    }

    #[test]
    fn finds_keys_quoted_keys_and_elements() {
        let body = json!({
            "Lead ID": 1, "1.3": 2, "a": {"b": [10, {"c": 20}]}, "it's \"x\"": 3, "E-mail": 4,
            "Budget (€)": 5,
        });
        assert_eq!(find("Lead ID", &body), Some(json!(1)));
        assert_eq!(find("$.\"1.3\"", &body), Some(json!(2)));
        assert_eq!(find("a.b[1].c", &body), Some(json!(20)));
        assert_eq!(find("a['b'][-1].c", &body), Some(json!(20)));
        assert_eq!(find("a.b[-2]", &body), Some(json!(10)));
        assert_eq!(find("'it''s \"x\"'", &body), Some(json!(3)));
        assert_eq!(find("E-mail", &body), Some(json!(4)));
        assert_eq!(find("'Budget (€)'", &body), Some(json!(5)));
        assert_eq!(find("$", &body), Some(body.clone()));
        assert_eq!(find("$[0]", &json!([7])), Some(json!(7)));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let body = json!({"a": [1], "b": "text"});
        for path in ["c", "a.b", "a[1]", "a[-2]", "b[0]", "b.c.d", "[0]", "a[-2147483648]"] {
            assert_eq!(find(path, &body), None, "{path}");
        }
    }

    #[test]
    fn faults_say_what_to_do() {
        for (path, part) in [
            ("", "empty"),
            ("a..b", "empty"),
            ("a.", "empty"),
            ("a[x]", "[0]"),
            ("a[0", "not closed"),
            ("\"a", "not closed"),
            ("a[*].b", "no index"),
            ("5.*", "quotes"),
            ("a \"b\"", "quotes"),
            ("$a", "before `a`"),
        ] {
            let fault = path.parse::<Path>().unwrap_err();
            assert!(fault.contains(part), "{path}: {fault}");
        }
        assert!(["a"; 33].join(".").parse::<Path>().is_err());
    }

    proptest! {
        #[test]
        fn never_panics(path in ".*") {
            if let Ok(path) = path.parse::<Path>() {
                let _ = path.find(&json!({"a": [1, {"b": null}]}));
            }
        }

        #[test]
        fn any_key_can_be_quoted(key in ".*") {
            let path = format!("\"{}\"", key.replace('"', "\"\""));
            let mut members = serde_json::Map::new();
            members.insert(key, json!(1));
            prop_assert_eq!(find(&path, &Value::Object(members)), Some(json!(1)));
        }
    }
}
