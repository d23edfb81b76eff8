//! Payouts as CSV (RFC 4180), for banks and bookkeepers without ISO 20022.

use crate::money::Money;
use chrono::{DateTime, SecondsFormat, Utc};
use std::borrow::Cow;

/// One payout.
#[derive(Clone, Debug)]
pub struct PayoutLine {
    /// Its id.
    pub id: String,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// Who gets it.
    pub name: String,
    /// Where, if by bank.
    pub iban: Option<String>,
    /// The bank, if it is known.
    pub bic: Option<String>,
    /// How much.
    pub amount: Money,
    /// What for.
    pub purpose: String,
}

/// A text cell that no spreadsheet takes for a formula: one that begins with `=`, `+`, `-`, `@`, a tab
/// or a line break gets an apostrophe in front (OWASP, "CSV Injection").
#[must_use]
pub fn cell(text: &str) -> Cow<'_, str> {
    match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n') => Cow::Owned(format!("'{text}")),
        _ => Cow::Borrowed(text),
    }
}

/// The payouts with a head line; amounts in units with a point and the currency's places.
///
/// # Errors
/// If the writer fails, which it does not on memory.
pub fn payouts_csv(lines: &[PayoutLine]) -> Result<Vec<u8>, csv::Error> {
    let mut out = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::with_capacity(128 * (lines.len() + 1)));
    out.write_record([
        "payout",
        "requested_at",
        "name",
        "iban",
        "bic",
        "amount",
        "currency",
        "purpose",
    ])?;
    for line in lines {
        out.write_record([
            line.id.as_str(),
            &line.requested_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            &cell(&line.name),
            line.iban.as_deref().unwrap_or_default(),
            line.bic.as_deref().unwrap_or_default(),
            &line.amount.units(),
            line.amount.currency.code(),
            &cell(&line.purpose),
        ])?;
    }
    out.into_inner().map_err(|e| csv::Error::from(std::io::Error::other(e.to_string())))
}
