//! Lines of changes: JSON Lines, one object a line, positional, without blanks.
//!
//! ```text
//! {"begin":{"xid":7,"lsn":"0/16B3748","at":"2026-11-23T05:15:00.123456Z"}}
//! {"rel":{"oid":1,"schema":"app","name":"leads","columns":["id","name"],"key":[0]}}
//! {"i":1,"v":["5","Ada"]}                     a new row of relation 1
//! {"u":1,"k":["5"],"v":["6",null]}            it was changed; k only if its key was another
//! {"u":1,"v":["6",false]}                     false: large, and not touched
//! {"d":1,"k":["6"]}                           it went away
//! {"t":[1,2],"cascade":true,"restart":false}  tables were emptied
//! {"m":"prefix","c":"content"}                pg_logical_emit_message
//! {"commit":"0/16B3790"}
//! ```
//!
//! Written and read by hand: a million changes pass in a second, and both ends know the shape.

use crate::change::{Change, Relation, Value};
use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use serde_json::json;

pub use super::parse::parse;

/// Writes a change as a line with its line feed.
pub fn write(change: &Change, out: &mut Vec<u8>) {
    match change {
        Change::Begin { xid, lsn, at } => {
            out.extend_from_slice(b"{\"begin\":{\"xid\":");
            number(u64::from(*xid), out);
            out.extend_from_slice(b",\"lsn\":\"");
            position(lsn.0, out);
            out.extend_from_slice(b"\",\"at\":\"");
            time(at, out);
            out.extend_from_slice(b"\"}}\n");
        }
        Change::Relation(relation) => write_relation(relation, out),
        Change::Insert { oid, row } => {
            out.extend_from_slice(b"{\"i\":");
            number(u64::from(*oid), out);
            values(b",\"v\":[", row, out);
            out.extend_from_slice(b"}\n");
        }
        Change::Update { oid, old_key, row } => {
            out.extend_from_slice(b"{\"u\":");
            number(u64::from(*oid), out);
            if let Some(key) = old_key {
                values(b",\"k\":[", key, out);
            }
            values(b",\"v\":[", row, out);
            out.extend_from_slice(b"}\n");
        }
        Change::Delete { oid, key } => {
            out.extend_from_slice(b"{\"d\":");
            number(u64::from(*oid), out);
            values(b",\"k\":[", key, out);
            out.extend_from_slice(b"}\n");
        }
        Change::Truncate { oids, cascade, restart } => {
            write_truncate(oids, *cascade, *restart, out)
        }
        Change::Message { prefix, content } => {
            out.extend_from_slice(b"{\"m\":");
            text(prefix, out);
            out.extend_from_slice(b",\"c\":");
            text(content, out);
            out.extend_from_slice(b"}\n");
        }
        Change::Commit { end } => {
            out.extend_from_slice(b"{\"commit\":\"");
            position(end.0, out);
            out.extend_from_slice(b"\"}\n");
        }
    }
}

/// Rare, so serde_json does it.
fn write_relation(relation: &Relation, out: &mut Vec<u8>) {
    let Relation { oid, schema, name, columns, key } = relation;
    let line = json!({"rel": {
        "oid": oid, "schema": schema, "name": name, "columns": columns, "key": key,
    }});
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
}

fn write_truncate(oids: &[u32], cascade: bool, restart: bool, out: &mut Vec<u8>) {
    let line = json!({"t": oids, "cascade": cascade, "restart": restart});
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
}

fn values(open: &[u8], values: &[Value], out: &mut Vec<u8>) {
    out.extend_from_slice(open);
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Unchanged => out.extend_from_slice(b"false"),
            Value::Text(content) => text(content, out),
        }
    }
    out.push(b']');
}

/// Which bytes cannot stand in a JSON string as they are (RFC 8259, 7).
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 0x20 {
        table[at] = true;
        at += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

fn text(content: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = content.as_bytes();
    while let Some(at) = rest.iter().position(|b| ESCAPED[usize::from(*b)]) {
        out.extend_from_slice(&rest[..at]);
        escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn number(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A position in the log as PostgreSQL writes it.
fn position(lsn: u64, out: &mut Vec<u8>) {
    hexadecimal(lsn >> 32, out);
    out.push(b'/');
    hexadecimal(lsn & 0xFFFF_FFFF, out);
}

fn hexadecimal(n: u64, out: &mut Vec<u8>) {
    let digits = (16 - n.leading_zeros() / 4).max(1);
    for at in (0..digits).rev() {
        out.push(HEX[((n >> (4 * at)) & 15) as usize]);
    }
}

/// RFC 3339 with as many digits of a second as it has; PostgreSQL's are microseconds.
fn time(at: &DateTime<Utc>, out: &mut Vec<u8>) {
    let (year, nanos) = (at.year(), at.nanosecond());
    let usual = (0..=9999).contains(&year) && nanos < 1_000_000_000 && nanos.is_multiple_of(1000);
    if !usual {
        out.extend_from_slice(at.to_rfc3339_opts(SecondsFormat::AutoSi, true).as_bytes());
        return;
    }
    padded(year.unsigned_abs(), 4, out);
    for (mark, part) in [
        (b'-', at.month()),
        (b'-', at.day()),
        (b'T', at.hour()),
        (b':', at.minute()),
        (b':', at.second()),
    ] {
        out.push(mark);
        padded(part, 2, out);
    }
    out.push(b'.');
    padded(nanos / 1000, 6, out);
    out.push(b'Z');
}

fn padded(mut n: u32, width: usize, out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + width, b'0');
    for digit in out[from..].iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}
