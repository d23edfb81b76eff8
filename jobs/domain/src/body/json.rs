//! JSON, read by hand: the well-kept readers refuse half surrogates (and the lead with them), keep
//! the last of two equal keys, round long numbers, and do not say where in the text a value stands.

use super::fault::at_place;
use super::{BodyFault, BodyLimits, Member, number};
use serde_json::{Map, Value, json};
use std::ops::Range;

/// One JSON text (RFC 8259). With `watched`, also where the texts of that member stand, without
/// their quotes.
///
/// # Errors
/// 400 with line and column.
pub(super) fn parse(
    text: &str,
    limits: &BodyLimits,
    watched: Option<&Member>,
) -> Result<(Value, Vec<Range<usize>>), BodyFault> {
    let mut reader = Reader::new(text, limits, watched);
    let value = reader.document()?;
    Ok((value, reader.places))
}

/// One JSON text a line; empty lines count for nothing.
///
/// # Errors
/// 400 with line and column.
pub(super) fn parse_lines(text: &str, limits: &BodyLimits) -> Result<Value, BodyFault> {
    let mut values = Vec::new();
    let mut nodes = limits.nodes;
    for (before, line) in text.split('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let mut reader = Reader::new(line, limits, None);
        reader.nodes_left = nodes;
        let value = reader.document().map_err(|mut fault| {
            if fault.place["line"].is_u64() {
                fault.message =
                    fault.message.replace("at line 1,", &format!("at line {},", before + 1));
                fault.place["line"] = json!(before + 1);
            }
            fault
        })?;
        nodes = reader.nodes_left;
        values.push(value);
    }
    Ok(Value::Array(values))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    limits: &'a BodyLimits,
    nodes_left: u32,
    watched: &'a [String],
    places: Vec<Range<usize>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, limits: &'a BodyLimits, watched: Option<&'a Member>) -> Self {
        let watched = watched.map(Member::steps).unwrap_or_default();
        Self { text, at: 0, limits, nodes_left: limits.nodes, watched, places: Vec::new() }
    }

    fn document(&mut self) -> Result<Value, BodyFault> {
        self.blanks();
        if self.at == self.text.len() {
            return Err(self.fault("it is empty"));
        }
        // `Some(n)`: the value stands at the first n steps of the watched member.
        let start = (!self.watched.is_empty()).then_some(0);
        let value = self.value(1, start)?;
        self.blanks();
        match self.at == self.text.len() {
            true => Ok(value),
            false => Err(self.fault("something follows after its end")),
        }
    }

    fn value(&mut self, depth: u16, matched: Option<usize>) -> Result<Value, BodyFault> {
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| {
            let most = self.limits.nodes;
            BodyFault::too_large(
                "too_many_values",
                format!("the body holds more than {most} values"),
            )
        })?;
        match self.peek() {
            Some(b'{') => self.object(depth, matched),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                let begin = self.at + 1;
                let text = self.string()?;
                if matched.is_some_and(|n| n == self.watched.len()) {
                    self.places.push(begin..self.at - 1);
                }
                Ok(Value::String(text))
            }
            Some(b'-' | b'0'..=b'9') => {
                let begin = self.at;
                let value = self.number()?;
                if matched.is_some_and(|n| n == self.watched.len()) {
                    self.places.push(begin..self.at);
                }
                Ok(value)
            }
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.fault("a value was expected")),
            None => Err(self.fault("it breaks off")),
        }
    }

    fn object(&mut self, depth: u16, matched: Option<usize>) -> Result<Value, BodyFault> {
        self.deeper(depth)?;
        self.at += 1;
        let mut members = Map::new();
        self.blanks();
        if self.taken(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a member's name in double quotes"));
            }
            let begin = self.at;
            let name = self.string()?;
            let next = matched.filter(|n| self.watched.get(*n) == Some(&name)).map(|n| n + 1);
            self.blanks();
            if !self.taken(b':') {
                return Err(self.expected("a colon"));
            }
            self.blanks();
            let value = self.value(depth + 1, next)?;
            if members.insert(name, value).is_some() {
                self.at = begin;
                return Err(at_place(
                    "duplicate_key",
                    "JSON",
                    "an object has two members of one name, and nobody can tell which one counts",
                    self.text,
                    begin,
                ));
            }
            if members.len() > self.limits.fields as usize {
                let message = format!("an object has more than {} members", self.limits.fields);
                return Err(BodyFault::too_large("too_many_fields", message));
            }
            self.blanks();
            if self.taken(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.taken(b',') {
                return Err(self.expected("a comma or a closing brace"));
            }
        }
    }

    fn array(&mut self, depth: u16) -> Result<Value, BodyFault> {
        self.deeper(depth)?;
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.taken(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            self.blanks();
            items.push(self.value(depth + 1, None)?);
            self.blanks();
            if self.taken(b']') {
                return Ok(Value::Array(items));
            }
            if !self.taken(b',') {
                return Err(self.expected("a comma or a closing bracket"));
            }
        }
    }

    fn deeper(&self, depth: u16) -> Result<(), BodyFault> {
        if depth <= self.limits.depth {
            return Ok(());
        }
        let why = format!("it is nested deeper than {} levels", self.limits.depth);
        Err(at_place("json_too_deep", "JSON", &why, self.text, self.at))
    }

    /// A string with its quotes. Control characters are let through: people paste them.
    fn string(&mut self) -> Result<String, BodyFault> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.find(['"', '\\', '\0']) else {
                self.at = self.text.len();
                return Err(self.fault("a string is not closed"));
            };
            out.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Ok(out),
                b'\\' => self.escape(&mut out)?,
                _ => {} // NUL
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), BodyFault> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(out),
            Some(_) => return Err(self.fault("an escape is not known")),
            None => return Err(self.fault("a string is not closed")),
        };
        self.at += 1;
        out.push(c);
        Ok(())
    }

    /// `uXXXX`, and the other half of a pair. A half by itself becomes U+FFFD, NUL nothing.
    fn unicode(&mut self, out: &mut String) -> Result<(), BodyFault> {
        let first = self.four_digits()?;
        let mut code = u32::from(first);
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let back = self.at;
            self.at += 1;
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second) {
                code = 0x10000 + ((u32::from(first) - 0xd800) << 10) + (u32::from(second) - 0xdc00);
            } else {
                // Not the other half: it stands for itself.
                self.at = back;
            }
        }
        match char::from_u32(code) {
            Some('\0') => {}
            Some(c) => out.push(c),
            None => out.push(char::REPLACEMENT_CHARACTER),
        }
        Ok(())
    }

    fn four_digits(&mut self) -> Result<u16, BodyFault> {
        let digits = self.text.get(self.at + 1..self.at + 5);
        let hexadecimal = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = hexadecimal.and_then(|d| u16::from_str_radix(d, 16).ok());
        let code = code.ok_or_else(|| self.fault("\\u needs four hexadecimal digits"))?;
        self.at += 5;
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, BodyFault> {
        let begin = self.at;
        self.taken(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        let mut good = whole == 1 || (whole > 1 && !leading_zero);
        if self.taken(b'.') {
            good &= self.digits() > 0;
        }
        if self.taken(b'e') || self.taken(b'E') {
            let _ = self.taken(b'+') || self.taken(b'-');
            good &= self.digits() > 0;
        }
        if !good {
            self.at = begin;
            return Err(self.fault("a number is not written as JSON writes numbers"));
        }
        Ok(number::value(&self.text[begin..self.at]))
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - begin
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, BodyFault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fault("a value was expected"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn taken(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expected(&self, what: &str) -> BodyFault {
        match self.peek() {
            Some(_) => self.fault(&format!("{what} was expected")),
            None => self.fault("it breaks off"),
        }
    }

    fn fault(&self, why: &str) -> BodyFault {
        at_place("invalid_json", "JSON", why, self.text, self.at)
    }
}
