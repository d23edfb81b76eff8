//! The messages of the plugin `pgoutput`, protocol version 1, turned into [`Change`]s.
//! <https://www.postgresql.org/docs/15/protocol-logicalrep-message-formats.html>

use crate::change::{Change, Relation, Value};
use crate::model::Lsn;
use chrono::{DateTime, Utc};
use std::collections::HashMap;

/// Microseconds from 1970 to 2000, at which PostgreSQL's timestamps begin.
const EPOCH: i64 = 946_684_800_000_000;

/// A message that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's change stream cannot be understood: {0}")]
pub struct Undecodable(String);

fn odd<T>(what: impl Into<String>) -> Result<T, Undecodable> {
    Err(Undecodable(what.into()))
}

/// A table, and where in its rows the key is.
#[derive(Debug)]
struct Known {
    columns: usize,
    key: Vec<usize>,
}

/// Reads messages one after another; remembers the tables that they describe.
#[derive(Debug, Default)]
pub struct Decoder {
    known: HashMap<u32, Known>,
    primary_keys: HashMap<(String, String), Vec<String>>,
}

impl Decoder {
    /// `primary_keys` are the columns of the primary keys, by schema and name: of a table whose replica
    /// identity is its whole rows, these are taken for its key.
    #[must_use]
    pub fn new(primary_keys: HashMap<(String, String), Vec<String>>) -> Self {
        Self { known: HashMap::new(), primary_keys }
    }

    /// One message. None for those that say nothing about rows: origins and types, and messages that
    /// belong to no transaction.
    ///
    /// # Errors
    /// The message is not what the protocol says.
    pub fn decode(&mut self, message: &[u8]) -> Result<Option<Change>, Undecodable> {
        let mut wire = Wire(message);
        let change = match wire.u8()? {
            b'B' => {
                let lsn = Lsn(wire.u64()?);
                let at = time(wire.i64()?)?;
                Change::Begin { xid: wire.u32()?, lsn, at }
            }
            b'C' => {
                wire.take(1 + 8)?; // flags, and where the commit stands, which Begin has said
                let end = Lsn(wire.u64()?);
                wire.take(8)?;
                Change::Commit { end }
            }
            b'R' => self.relation(&mut wire)?,
            b'I' => {
                let oid = wire.u32()?;
                let columns = self.columns(oid)?;
                wire.expect(b'N')?;
                Change::Insert { oid, row: wire.row(columns)? }
            }
            b'U' => self.update(&mut wire)?,
            b'D' => {
                let oid = wire.u32()?;
                let columns = self.columns(oid)?;
                if !matches!(wire.u8()?, b'K' | b'O') {
                    return odd("a deletion without a key");
                }
                let mut old = wire.row(columns)?;
                Change::Delete { oid, key: self.key_of(oid, &mut old)? }
            }
            b'T' => {
                let (count, flags) = (wire.u32()?, wire.u8()?);
                let mut oids = Vec::new();
                for _ in 0..count {
                    oids.push(wire.u32()?);
                }
                Change::Truncate { oids, cascade: flags & 1 != 0, restart: flags & 2 != 0 }
            }
            b'M' => {
                let flags = wire.u8()?;
                wire.take(8)?;
                let prefix = wire.text()?;
                let length = wire.u32()? as usize;
                let content = String::from_utf8_lossy(wire.take(length)?).into_owned();
                if flags & 1 == 0 {
                    return Ok(None);
                }
                Change::Message { prefix, content }
            }
            b'O' | b'Y' => return Ok(None),
            other => return odd(format!("a message of the kind {:?}", char::from(other))),
        };
        if wire.0.is_empty() { Ok(Some(change)) } else { odd("a message is longer than it says") }
    }

    fn columns(&self, oid: u32) -> Result<usize, Undecodable> {
        match self.known.get(&oid) {
            Some(known) => Ok(known.columns),
            None => odd(format!("relation {oid} was not described")),
        }
    }

    fn relation(&mut self, wire: &mut Wire<'_>) -> Result<Change, Undecodable> {
        let oid = wire.u32()?;
        let mut schema = wire.text()?;
        if schema.is_empty() {
            "pg_catalog".clone_into(&mut schema);
        }
        let name = wire.text()?;
        let identity = wire.u8()?;
        let count = usize::from(wire.u16()?);
        let (mut columns, mut key) = (Vec::with_capacity(count), Vec::new());
        for at in 0..count {
            if wire.u8()? & 1 != 0 {
                key.push(at);
            }
            columns.push(wire.text()?);
            wire.take(4 + 4)?; // its type and the type's modifier: values are text
        }
        if identity == b'f'
            && let Some(primary) = self.primary_keys.get(&(schema.clone(), name.clone()))
            && primary.iter().all(|c| columns.contains(c))
        {
            key = (0..count).filter(|at| primary.contains(&columns[*at])).collect();
        }
        self.known.insert(oid, Known { columns: count, key: key.clone() });
        Ok(Change::Relation(Relation { oid, schema, name, columns, key }))
    }

    fn update(&self, wire: &mut Wire<'_>) -> Result<Change, Undecodable> {
        let oid = wire.u32()?;
        let columns = self.columns(oid)?;
        let mut old = None;
        let mut kind = wire.u8()?;
        if matches!(kind, b'K' | b'O') {
            old = Some((kind == b'O', wire.row(columns)?));
            kind = wire.u8()?;
        }
        if kind != b'N' {
            return odd("an update without a new row");
        }
        let mut row = wire.row(columns)?;
        let key = self.known.get(&oid).map_or(&[][..], |known| &known.key);
        let Some((whole, mut old)) = old else {
            return Ok(Change::Update { oid, old_key: None, row });
        };
        // What was large and not touched is in the old row, if that is there as far as that.
        for at in 0..columns {
            if row[at] == Value::Unchanged && (whole || key.contains(&at)) {
                row[at].clone_from(&old[at]);
            }
        }
        let moved = key.iter().any(|at| row[*at] != old[*at]);
        let old_key = if moved { Some(self.key_of(oid, &mut old)?) } else { None };
        Ok(Change::Update { oid, old_key, row })
    }

    /// The key's values out of a row, which is used up.
    fn key_of(&self, oid: u32, row: &mut [Value]) -> Result<Vec<Value>, Undecodable> {
        let key = self.known.get(&oid).map_or(&[][..], |known| &known.key);
        if key.is_empty() {
            return odd(format!("relation {oid} has no key"));
        }
        key.iter()
            .map(|at| match row.get_mut(*at).map(|v| std::mem::replace(v, Value::Null)) {
                Some(Value::Unchanged) | None => odd("a key is not there whole"),
                Some(value) => Ok(value),
            })
            .collect()
    }
}

fn time(micros: i64) -> Result<DateTime<Utc>, Undecodable> {
    let time = micros.checked_add(EPOCH).and_then(DateTime::from_timestamp_micros);
    time.map_or_else(|| odd("a time out of range"), Ok)
}

/// What is left of a message.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Undecodable> {
        let Some((taken, rest)) = self.0.split_at_checked(n) else {
            return odd("a message is cut");
        };
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let Some((taken, rest)) = self.0.split_first_chunk() else {
            return odd("a message is cut");
        };
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Undecodable> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, Undecodable> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Undecodable> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Undecodable> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, Undecodable> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn expect(&mut self, byte: u8) -> Result<(), Undecodable> {
        let found = self.u8()?;
        if found == byte {
            Ok(())
        } else {
            odd(format!("{:?} stands where {:?} should", char::from(found), char::from(byte)))
        }
    }

    /// Text that a zero byte ends.
    fn text(&mut self) -> Result<String, Undecodable> {
        let Some(end) = self.0.iter().position(|b| *b == 0) else {
            return odd("a text has no end");
        };
        let text = utf8(&self.0[..end])?;
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    fn row(&mut self, columns: usize) -> Result<Vec<Value>, Undecodable> {
        let count = usize::from(self.u16()?);
        if count != columns {
            return odd(format!("a row of {count} columns in a table of {columns}"));
        }
        let mut row = Vec::with_capacity(count);
        for _ in 0..count {
            row.push(match self.u8()? {
                b't' => {
                    let length = self.u32()? as usize;
                    Value::Text(utf8(self.take(length)?)?)
                }
                b'n' => Value::Null,
                b'u' => Value::Unchanged,
                other => return odd(format!("a value of the kind {:?}", char::from(other))),
            });
        }
        Ok(row)
    }
}

fn utf8(bytes: &[u8]) -> Result<String, Undecodable> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => odd("a text is no UTF-8"),
    }
}

#[cfg(test)]
mod tests;
