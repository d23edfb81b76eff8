//! CSV to an array of objects.

use super::{BodyFault, BodyLimits, CsvSettings};
use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value, json};

/// What the delimiter is looked for among, in this order where there are as many of each.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The rows; empty lines count for nothing.
///
/// # Errors
/// 400 with the line, 413 for too many columns or values.
pub(super) fn parse(
    text: &str,
    implied: Option<u8>,
    settings: &CsvSettings,
    limits: &BodyLimits,
) -> Result<Value, BodyFault> {
    let own = settings.delimiter.and_then(|c| u8::try_from(c).ok());
    let delimiter = own.or(implied).unwrap_or_else(|| guess(text));
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let mut columns = settings.columns.clone();
    if settings.header {
        match records.next() {
            None => {
                return Err(unreadable(
                    "empty_csv",
                    "it is empty; the first row names the columns",
                    1,
                ));
            }
            Some(first) => columns = names(&first.map_err(|_| broken(1))?)?,
        }
    }
    let mut rows = Vec::new();
    let mut values_left = limits.nodes;
    for record in records {
        let line = rows.len() + 1 + usize::from(settings.header);
        let record = record.map_err(|_| broken(line))?;
        let line = record.position().map_or(line, |p| usize::try_from(p.line()).unwrap_or(line));
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let width = u32::try_from(record.len()).unwrap_or(u32::MAX);
        if width > limits.fields {
            let message = format!("a row has more than {} columns", limits.fields);
            return Err(BodyFault::too_large("too_many_fields", message));
        }
        values_left = values_left.checked_sub(width).ok_or_else(|| {
            let message = format!("the table holds more than {} values", limits.nodes);
            BodyFault::too_large("too_many_values", message)
        })?;
        rows.push(row(&columns, &record, line)?);
    }
    Ok(Value::Array(rows))
}

/// The delimiter that the first line has most of, outside of quotes.
fn guess(text: &str) -> u8 {
    let mut counts = [0_u32; DELIMITERS.len()];
    let mut quoted = false;
    for byte in text.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted && counts.iter().any(|n| *n > 0) => break,
            _ if quoted => {}
            _ => {
                if let Some(n) = DELIMITERS.iter().position(|d| *d == byte) {
                    counts[n] += 1;
                }
            }
        }
    }
    let mut best = 0;
    for n in 1..DELIMITERS.len() {
        if counts[n] > counts[best] {
            best = n;
        }
    }
    DELIMITERS[best]
}

/// Column names, trimmed. An unnamed column is called by its number.
fn names(header: &StringRecord) -> Result<Vec<String>, BodyFault> {
    let named = |(n, name): (usize, &str)| match name.trim() {
        "" => (n + 1).to_string(),
        name => name.replace('\0', ""),
    };
    let names: Vec<String> = header.iter().enumerate().map(named).collect();
    let mut seen = std::collections::BTreeSet::new();
    match names.iter().position(|name| !seen.insert(name.as_str())) {
        None => Ok(names),
        Some(n) => {
            let why = format!("column {} has the name of another one", n + 1);
            Err(unreadable("duplicate_key", &why, 1))
        }
    }
}

/// A row as an object: cells that are missing at its end are left out.
fn row(columns: &[String], record: &StringRecord, line: usize) -> Result<Value, BodyFault> {
    let mut members = Map::new();
    for (n, cell) in record.iter().enumerate() {
        let name = match columns.get(n) {
            Some(name) => name.clone(),
            None if columns.is_empty() => (n + 1).to_string(),
            // A delimiter too many at the end of a row says nothing.
            None if cell.trim().is_empty() => continue,
            None => {
                let why = format!("a row has more cells than the {} columns", columns.len());
                return Err(unreadable("csv_ragged_row", &why, line));
            }
        };
        members.insert(name, Value::String(cell.replace('\0', "")));
    }
    Ok(Value::Object(members))
}

fn broken(line: usize) -> BodyFault {
    unreadable("invalid_csv", "a row cannot be read", line)
}

fn unreadable(code: &'static str, why: &str, line: usize) -> BodyFault {
    let message = format!("the body is not CSV that we can read: {why}, at line {line}");
    BodyFault::malformed(code, message, json!({ "line": line }))
}
