//! YAML and JSON as one value, with the line of everything in it.
//!
//! Scalars are read by YAML 1.2's core schema, narrowed where it would lose something: `NO`, `yes` and
//! `on` are texts, digits after a leading zero are a text (a postal code), and a number that would be
//! rounded is refused.

use super::FileFault;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};
use std::collections::HashMap;

/// Deeper than any mapping, and far from the end of the stack.
const DEEPEST: usize = 100;
/// Aliases repeat what they stand for: this many values in all, so that a few lines cannot fill the
/// memory.
const MOST_VALUES: usize = 100_000;

/// A document and where everything stands in it.
#[derive(Debug)]
pub struct Document {
    value: Value,
    lines: HashMap<String, usize>,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// What keeps it from being read, with the line.
    pub fn parse(text: &str, json: bool) -> Result<Self, Vec<FileFault>> {
        let read = Reader::new(text).document();
        if !json {
            return read.map_err(|fault| vec![fault]);
        }
        // JSON has rules of its own; the YAML reader only tells where things stand.
        let value = serde_json::from_str(text).map_err(|e| {
            let fault = FileFault::at("", "invalid_json", format!("The file is no JSON: {e}."));
            vec![FileFault { line: Some(e.line()), ..fault }]
        })?;
        match read {
            Err(fault) if fault.code == "duplicate_name" => Err(vec![fault]),
            Err(_) => Ok(Self { value, lines: HashMap::new() }),
            Ok(document) => Ok(Self { value, ..document }),
        }
    }

    /// What it says.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The line of a place, or of the nearest thing around it.
    #[must_use]
    pub fn line(&self, pointer: &str) -> Option<usize> {
        let mut place = pointer;
        loop {
            if let Some(line) = self.lines.get(place) {
                return Some(*line);
            }
            place = &place[..place.rfind('/')?];
        }
    }

    /// Faults with their lines, in the order of the file.
    #[must_use]
    pub fn located(&self, mut faults: Vec<FileFault>) -> Vec<FileFault> {
        for fault in &mut faults {
            fault.line = fault.line.or_else(|| self.line(&fault.pointer));
        }
        faults.sort_by_key(|f| f.line);
        faults
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    lines: HashMap<String, usize>,
    anchors: HashMap<usize, Value>,
    values: usize,
}

type Read<T> = Result<T, FileFault>;

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            parser: Parser::new_from_str(text),
            lines: HashMap::new(),
            anchors: HashMap::new(),
            values: 0,
        }
    }

    fn next(&mut self) -> Read<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(e)) => {
                let what = e.to_string();
                let message = format!("The file is no YAML: {what}.");
                let fault = FileFault::at("", "invalid_yaml", message);
                Err(FileFault { line: Some(e.marker().line()), ..fault })
            }
            None => Err(FileFault::at("", "invalid_yaml", "The file ends too early.")),
        }
    }

    fn document(mut self) -> Read<Document> {
        let mut value = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::Nothing
                | Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
                _ if value.is_some() => {
                    let message = "A file holds one portal; take what follows `---` elsewhere.";
                    return Err(fault(&span, "", "several_documents", message));
                }
                other => value = Some(self.value(other, &span, "", 0)?),
            }
        }
        let value = value
            .ok_or_else(|| FileFault::at("", "empty", "The file is empty; it needs a `code:`."))?;
        Ok(Document { value, lines: self.lines })
    }

    fn value(&mut self, event: Event<'a>, span: &Span, at: &str, depth: usize) -> Read<Value> {
        self.lines.entry(at.to_owned()).or_insert(span.start.line());
        self.count(1, span, at)?;
        if depth > DEEPEST {
            let message = format!("It is nested deeper than {DEEPEST} levels.");
            return Err(fault(span, at, "too_deep", message));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text_wanted = tag.is_some_and(|t| t.is_yaml_core_schema() && t.suffix == "str");
                let plain = matches!(style, ScalarStyle::Plain) && !text_wanted;
                let value = if plain {
                    scalar(&text).map_err(|message| fault(span, at, "number_too_long", message))?
                } else {
                    Value::String(text.into_owned())
                };
                (value, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.sequence(at, depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(at, depth)?, anchor),
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                let known = known.ok_or_else(|| {
                    fault(
                        span,
                        at,
                        "unknown_alias",
                        "The alias names nothing that stands above it.",
                    )
                })?;
                self.count(size(&known), span, at)?;
                (known, 0)
            }
            _ => return Err(fault(span, at, "invalid_yaml", "A value is missing.")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn sequence(&mut self, at: &str, depth: usize) -> Read<Value> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Array(items));
            }
            let place = format!("{at}/{}", items.len());
            items.push(self.value(event, &span, &place, depth + 1)?);
        }
    }

    fn mapping(&mut self, at: &str, depth: usize) -> Read<Value> {
        let mut members = Map::new();
        loop {
            let (event, span) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(Value::Object(members)),
                // As it is written: a name is a text, whatever it looks like.
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(fault(&span, at, "invalid_name", "A name must be a text.")),
            };
            let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            if members.contains_key(&name) {
                let message = format!("`{name}` stands here twice; take one out.");
                return Err(fault(&span, &place, "duplicate_name", message));
            }
            self.lines.insert(place.clone(), span.start.line());
            let (event, span) = self.next()?;
            let value = self.value(event, &span, &place, depth + 1)?;
            members.insert(name, value);
        }
    }

    fn count(&mut self, more: usize, span: &Span, at: &str) -> Read<()> {
        self.values = self.values.saturating_add(more);
        if self.values > MOST_VALUES {
            let message = format!("The file has more than {MOST_VALUES} values.");
            return Err(fault(span, at, "too_long", message));
        }
        Ok(())
    }
}

fn fault(span: &Span, at: &str, code: &str, message: impl Into<String>) -> FileFault {
    FileFault { line: Some(span.start.line()), ..FileFault::at(at, code, message) }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// What a scalar without quotes is.
fn scalar(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => return number(text),
    })
}

fn number(text: &str) -> Result<Value, String> {
    let as_text = || Ok(Value::String(text.to_owned()));
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") {
        return as_text();
    }
    if whole {
        let small = text.parse::<i64>().map(Number::from);
        let number = small.or_else(|_| text.parse::<u64>().map(Number::from));
        return number.map(Value::Number).map_err(|_| {
            format!("{text} is longer than any number here; put it in quotes, then it is a text.")
        });
    }
    // `1.`, `.5`, `inf` and `nan` are read by Rust and are no numbers to people.
    let first = digits.bytes().next();
    let last = text.bytes().last();
    if !(first.is_some_and(|b| b.is_ascii_digit()) && last.is_some_and(|b| b.is_ascii_digit())) {
        return as_text();
    }
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(_) if digits.bytes().filter(u8::is_ascii_digit).count() > 15 => Err(format!(
            "{text} has more digits than a number keeps; put it in quotes, then it is a text."
        )),
        Some(number) => Ok(Value::Number(number)),
        None => as_text(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> Value {
        Document::parse(text, false).unwrap().value
    }

    fn refused(text: &str) -> (String, Option<usize>) {
        let fault = Document::parse(text, false).unwrap_err().remove(0);
        assert!(fault.message.ends_with('.'), "{fault:?}");
        (fault.code, fault.line)
    }

    #[test]
    fn country_codes_and_postal_codes_stay_texts() {
        let text = "a: NO\nb: yes\nc: on\nd: \"12\"\ne: 00-950\nf: 01234\ng: true\nh: ~\ni: 1e5\nj: 0.5\nk: 2026-03-01\nl: .5\n";
        assert_eq!(
            read(text),
            json!({"a": "NO", "b": "yes", "c": "on", "d": "12", "e": "00-950", "f": "01234",
                   "g": true, "h": null, "i": 1e5, "j": 0.5, "k": "2026-03-01", "l": ".5"})
        );
    }

    #[test]
    fn no_number_is_rounded() {
        assert_eq!(
            read("a: 9007199254740993\nb: 18446744073709551615\nc: '99999999999999999999'"),
            json!({"a": 9_007_199_254_740_993_u64, "b": u64::MAX, "c": "99999999999999999999"})
        );
        assert_eq!(refused("a: 1\nb: 99999999999999999999"), ("number_too_long".into(), Some(2)));
        assert_eq!(refused("a: 1.0000000000000000001").0, "number_too_long");
    }

    #[test]
    fn everything_has_its_line() {
        let text =
            "code: x\nmapping:\n  fields:\n    email: mail\n    a/b:\n      - one\n      - two\n";
        let document = Document::parse(text, false).unwrap();
        for (pointer, line) in [
            ("/code", 1),
            ("/mapping/fields/email", 4),
            ("/mapping/fields/a~1b/1", 7),
            ("/mapping/fields/email/then/0", 4),
            ("/nowhere", 1),
        ] {
            assert_eq!(document.line(pointer), Some(line), "{pointer}");
        }
        let json = Document::parse("{\n \"code\": \"x\",\n \"n\": 1\n}", true).unwrap();
        assert_eq!(json.line("/n"), Some(3));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert_eq!(refused("a: 1\nb: 2\na: 3\n"), ("duplicate_name".into(), Some(3)));
        assert_eq!(refused("a: 1\n---\nb: 2\n").0, "several_documents");
        assert_eq!(refused("").0, "empty");
        assert_eq!(refused("a: [1,\nb").0, "invalid_yaml");
        assert_eq!(refused(&"[".repeat(200)).0, "too_deep");
        let laughs = "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e]\n";
        assert_eq!(refused(laughs).0, "too_long");
        assert_eq!(read("a: &x {k: v}\nb: *x"), json!({"a": {"k": "v"}, "b": {"k": "v"}}));
    }

    proptest! {
        #[test]
        fn any_json_is_read_as_what_it_is(words in proptest::collection::vec("\\PC{0,8}", 0..6), n in any::<i64>()) {
            let value = json!({ "words": words, "n": n, "deep": {"a": [true, null, {"b": "c"}]} });
            let text = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(Document::parse(&text, true).unwrap().value, value);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = Document::parse(&text, false);
        }
    }
}
