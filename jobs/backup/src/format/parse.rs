//! Reading lines of changes, see [`super::lines`].

use crate::change::{Change, Relation, Value};
use crate::model::Lsn;
use chrono::{DateTime, Utc};
use serde::Deserialize;

/// Reads a line, without its line feed.
///
/// # Errors
/// What is wrong with it, without its content: that is somebody's data.
pub fn parse(line: &str) -> Result<Change, &'static str> {
    let mut cursor = Cursor { line, at: 0 };
    cursor.want("{\"")?;
    let change = match cursor.peek() {
        Some(b'i') => {
            cursor.want("i\":")?;
            Change::Insert { oid: cursor.number()?, row: cursor.list(",\"v\":[")? }
        }
        Some(b'u') => {
            cursor.want("u\":")?;
            let oid = cursor.number()?;
            let old_key = match cursor.rest().starts_with(",\"k\":[") {
                true => Some(cursor.list(",\"k\":[")?),
                false => None,
            };
            Change::Update { oid, old_key, row: cursor.list(",\"v\":[")? }
        }
        Some(b'd') => {
            cursor.want("d\":")?;
            Change::Delete { oid: cursor.number()?, key: cursor.list(",\"k\":[")? }
        }
        Some(b'b') => cursor.begin()?,
        Some(b'c') => {
            cursor.want("commit\":")?;
            Change::Commit { end: cursor.position()? }
        }
        Some(b'm') => {
            cursor.want("m\":")?;
            let prefix = cursor.text()?;
            cursor.want(",\"c\":")?;
            Change::Message { prefix, content: cursor.text()? }
        }
        _ => return rare(line),
    };
    cursor.want("}")?;
    if cursor.rest().is_empty() { Ok(change) } else { Err("goes on after its end") }
}

/// Relations and truncations are rare, so serde_json reads them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Rare {
    Relation { rel: RelationLine },
    Truncate { t: Vec<u32>, cascade: bool, restart: bool },
}

#[derive(Deserialize)]
struct RelationLine {
    oid: u32,
    schema: String,
    name: String,
    columns: Vec<String>,
    key: Vec<usize>,
}

fn rare(line: &str) -> Result<Change, &'static str> {
    Ok(match serde_json::from_str(line).map_err(|_| "is no line of changes")? {
        Rare::Relation { rel } => {
            if rel.key.iter().any(|at| *at >= rel.columns.len()) {
                return Err("names a key column that there is not");
            }
            Change::Relation(Relation {
                oid: rel.oid,
                schema: rel.schema,
                name: rel.name,
                columns: rel.columns,
                key: rel.key,
            })
        }
        Rare::Truncate { t, cascade, restart } => Change::Truncate { oids: t, cascade, restart },
    })
}

/// Where the reading stands in a line. It stands between characters always: every step goes over
/// ASCII or up to ASCII.
struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn want(&mut self, token: &'static str) -> Result<(), &'static str> {
        let there = self.line.as_bytes().get(self.at..self.at + token.len());
        if there != Some(token.as_bytes()) {
            return Err("is no line of changes");
        }
        self.at += token.len();
        Ok(())
    }

    fn number(&mut self) -> Result<u32, &'static str> {
        let from = self.at;
        let mut n = 0u32;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            n = n
                .checked_mul(10)
                .and_then(|n| n.checked_add(u32::from(digit - b'0')))
                .ok_or("has a number over 32 bits")?;
            self.at += 1;
        }
        if self.at == from { Err("has no number where one belongs") } else { Ok(n) }
    }

    fn begin(&mut self) -> Result<Change, &'static str> {
        self.want("begin\":{\"xid\":")?;
        let xid = self.number()?;
        self.want(",\"lsn\":")?;
        let lsn = self.position()?;
        self.want(",\"at\":")?;
        let at = self.plain()?;
        let at = DateTime::parse_from_rfc3339(at).map_err(|_| "has a time that is none")?;
        self.want("}")?;
        Ok(Change::Begin { xid, lsn, at: at.with_timezone(&Utc) })
    }

    fn position(&mut self) -> Result<Lsn, &'static str> {
        self.plain()?.parse().map_err(|_| "has a position in the log that is none")
    }

    /// A string in which nothing is escaped.
    fn plain(&mut self) -> Result<&'a str, &'static str> {
        self.want("\"")?;
        let rest = self.rest();
        let end = memchr::memchr2(b'"', b'\\', rest.as_bytes()).ok_or("ends inside a string")?;
        let plain = rest.get(..end).unwrap_or_default();
        self.at += end;
        self.want("\"")?;
        Ok(plain)
    }

    fn text(&mut self) -> Result<String, &'static str> {
        self.want("\"")?;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let end =
                memchr::memchr2(b'"', b'\\', rest.as_bytes()).ok_or("ends inside a string")?;
            let piece = rest.get(..end).unwrap_or_default();
            self.at += end + 1;
            if rest.as_bytes()[end] == b'"' {
                // Mostly there was nothing escaped: one allocation of the right size.
                return Ok(if text.is_empty() { piece.to_owned() } else { text + piece });
            }
            text.push_str(piece);
            text.push(self.escaped()?);
        }
    }

    /// What stands behind a backslash, as [`super::lines`] writes it.
    fn escaped(&mut self) -> Result<char, &'static str> {
        let byte = self.peek().ok_or("ends inside a string")?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let digits = self.line.get(self.at..self.at + 4).ok_or("ends inside a string")?;
                self.at += 4;
                u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(char::from_u32)
                    .ok_or("has an escape that is none")?
            }
            _ => return Err("has an escape that is none"),
        })
    }

    fn list(&mut self, open: &'static str) -> Result<Vec<Value>, &'static str> {
        self.want(open)?;
        let mut values = Vec::with_capacity(8);
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(values);
        }
        loop {
            values.push(match self.peek() {
                Some(b'"') => Value::Text(self.text()?),
                Some(b'n') => self.want("null").map(|()| Value::Null)?,
                Some(b'f') => self.want("false").map(|()| Value::Unchanged)?,
                _ => return Err("has a value that is none"),
            });
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(values);
                }
                _ => return Err("ends inside a row"),
            }
        }
    }
}
