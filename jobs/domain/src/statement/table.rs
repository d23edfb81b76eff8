//! A statement as CSV (RFC 4180): a line an entry, with the amounts before and after.

use super::{DocumentFault, Statement};
use crate::payment::cell;
use chrono::SecondsFormat;

/// The statement's lines with a head line, and the opening and closing amounts as lines of their own; of a
/// part also what the parts before and after it come to.
/// Amounts in units with a point and the currency's places.
///
/// # Errors
/// [`DocumentFault::Csv`], which does not happen on memory.
pub fn statement_csv(statement: &Statement) -> Result<Vec<u8>, DocumentFault> {
    let mut out = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::with_capacity(160 * (statement.lines.len() + 3)));
    let currency = statement.closing.currency.code();
    let head = ["at", "kind", "subject", "product", "base", "amount", "currency", "why"];
    out.write_record(head)?;
    let (opening, closing) = (statement.opening.units(), statement.closing.units());
    out.write_record(["", "opening", "", "", "", &opening, currency, ""])?;
    let told = statement.part.map_or_else(String::new, |part| part.told(statement.lines.len()));
    if let Some(part) = statement.part {
        out.write_record(["", "parts before", "", "", "", &part.before.units(), currency, &told])?;
    }
    for line in &statement.lines {
        let base = line.base.map_or_else(String::new, |b| b.units());
        out.write_record([
            line.at.to_rfc3339_opts(SecondsFormat::Secs, true).as_str(),
            &cell(&line.kind),
            &cell(&line.subject),
            &cell(&line.product),
            &base,
            &line.amount.units(),
            currency,
            &cell(&line.why),
        ])?;
    }
    if let Some(part) = statement.part {
        out.write_record(["", "parts after", "", "", "", &part.after.units(), currency, &told])?;
    }
    out.write_record(["", "closing", "", "", "", &closing, currency, ""])?;
    let bytes = out.into_inner().map_err(|e| std::io::Error::other(e.to_string()));
    Ok(bytes.map_err(csv::Error::from)?)
}
