//! Statements drawn up from the ledger: of an agent or an agency, for one month and one currency.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use switchyard_domain::commission::Booked;
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::statement::{DocumentFault, Part, Statement, StatementLine};
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::ledger::{self, Account, AccountId, Owner};
use switchyard_store::payouts::{
    AccountLine, AccountMonth, account_lines, account_month, account_sum_of,
};
use switchyard_store::{Result, StoreFault, Tx, agencies, agents};

/// Whose statement, of which month.
#[derive(Clone, Copy, Debug)]
pub struct Of {
    /// In whose books.
    pub agency: AgencyId,
    /// Whose; `None`: the agency's own.
    pub agent: Option<AgentId>,
    /// The month, by its first day.
    pub month: NaiveDate,
    /// In which currency.
    pub currency: Currency,
}

/// Whom a statement is sent to.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The name that is greeted.
    pub name: String,
    /// The e-mail address; an agent without one is not told.
    pub email: Option<String>,
}

/// Lines of one document; a month with more has several parts.
const LINES: i64 = 20_000;

/// Draws a statement up, the first part of it. One of a closed month never changes: later bookings count in
/// later months.
///
/// # Errors
/// [`StoreFault::NotFound`] if the agency has no such agent, or the scope hides it.
pub async fn draw(tx: &mut Tx, of: &Of, now: DateTime<Utc>) -> Result<(Statement, Reader)> {
    draw_part(tx, of, 1, now).await
}

/// The same, a part of it, from 1.
///
/// # Errors
/// As [`draw`]; [`StoreFault::NotFound`] also if the month has fewer parts.
pub async fn draw_part(
    tx: &mut Tx,
    of: &Of,
    part: i64,
    now: DateTime<Utc>,
) -> Result<(Statement, Reader)> {
    let agency = agencies::get(tx, of.agency).await?;
    let (owner, reader) = match of.agent {
        None => {
            let email = Some(agency.email.clone());
            (Owner::Agency(of.agency), Reader { name: agency.name.clone(), email })
        }
        Some(id) => {
            let agents = agents::list(tx, of.agency).await?;
            let agent = agents.into_iter().find(|a| a.id == id).ok_or(StoreFault::NotFound)?;
            (Owner::Agent(id), Reader { name: agent.name, email: agent.email })
        }
    };
    let account = Account::payable(owner, of.agency, of.currency);
    let sums = account_month(tx, account.id(), of.month).await?;
    let (part, lines) = lines_of(tx, of, account.id(), &sums, part).await?;
    let closed = ledger::closed(tx, of.agency, None).await?;
    let closing = sums.opening.saturating_add(sums.booked);
    let statement = Statement {
        owner: reader.name.clone(),
        agency: agency.name,
        period: of.month.format("%Y-%m").to_string(),
        drawn_at: now,
        closed: closed.first().is_some_and(|c| c.month >= of.month),
        opening: Money::new(sums.opening, of.currency),
        closing: Money::new(closing, of.currency),
        lines: lines.into_iter().map(|line| told(line, of.currency)).collect(),
        part,
    };
    Ok((statement, reader))
}

/// The lines of a part, and which part that is, if there are several.
async fn lines_of(
    tx: &mut Tx,
    of: &Of,
    account: AccountId,
    sums: &AccountMonth,
    number: i64,
) -> Result<(Option<Part>, Vec<AccountLine>)> {
    let parts = 1 + (sums.lines.max(1) - 1) / LINES;
    if !(1..=parts).contains(&number) {
        return Err(StoreFault::NotFound);
    }
    let skipped = (number - 1) * LINES;
    let lines = account_lines(tx, account, of.month, skipped, LINES).await?;
    if parts == 1 {
        return Ok((None, lines));
    }
    let before = match skipped {
        0 => 0,
        _ => account_sum_of(tx, account, of.month, skipped).await?,
    };
    let here = lines.iter().fold(0_i64, |sum, line| sum.saturating_add(line.amount));
    let after = sums.booked.saturating_sub(before).saturating_sub(here);
    let money = |minor| Money::new(minor, of.currency);
    let (before, after) = (money(before), money(after));
    let part = Part { number, of: parts, skipped, lines: sums.lines, before, after };
    Ok((Some(part), lines))
}

fn told(line: AccountLine, currency: Currency) -> StatementLine {
    let booked = Booked::read(&line.explanation, line.at, line.period);
    let amount = Money::new(line.amount, currency);
    let why = match &booked {
        Some(booked) => format!("{}{}", booked.sentence, share(booked, amount)),
        None => plainly(&line.kind, &line.explanation),
    };
    // A difference has no deal of its own: the deal stands with the line's first entry.
    let because = booked.filter(|booked| !booked.moved).and_then(|booked| booked.line);
    StatementLine {
        at: line.at,
        subject: line.lead.map_or_else(String::new, |l| format!("Lead {}", &l.to_string()[..13])),
        product: line.product.unwrap_or_default(),
        kind: line.kind,
        why,
        base: because.map(|line| line.base).filter(|base| !base.is_zero()),
        amount,
    }
}

/// What of the commission is the reader's, if others have a share too.
fn share(booked: &Booked, amount: Money) -> String {
    let whole = booked.line.as_ref().filter(|_| !booked.moved);
    match whole.and_then(|line| line.commission.plus(line.on_top)) {
        Some(whole) if whole != amount => format!(" Your share of it: {amount}."),
        _ => String::new(),
    }
}

/// What an entry without a line of commission is.
fn plainly(kind: &str, explanation: &Value) -> String {
    let payout = explanation.get("payout").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "payout_sent" => format!("paid out, payout {payout}"),
        "payout_failed" => format!("payout {payout} came back"),
        _ => "the line was taken back".to_owned(),
    }
}

/// The statement as files: PDF and CSV.
///
/// # Errors
/// [`DocumentFault`]: only if the program itself is broken.
pub fn documents(statement: &Statement) -> std::result::Result<(Vec<u8>, Vec<u8>), DocumentFault> {
    use switchyard_domain::statement::{statement_csv, statement_pdf};
    Ok((statement_pdf(statement)?, statement_csv(statement)?))
}
