//! Statements drawn up from the ledger: of an agent or an agency, for one month and one currency.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use switchyard_domain::commission::Line;
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::statement::{DocumentFault, Statement, StatementLine};
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::ledger::{self, Account, Owner};
use switchyard_store::payouts::{AccountLine, account_month};
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

/// Draws a statement up. One of a closed month never changes: later bookings count in later months.
///
/// # Errors
/// [`StoreFault::NotFound`] if the agency has no such agent, or the scope hides it.
pub async fn draw(tx: &mut Tx, of: &Of, now: DateTime<Utc>) -> Result<(Statement, Reader)> {
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
    let (opening, lines) = account_month(tx, account.id(), of.month).await?;
    let closed = ledger::closed(tx, of.agency, None).await?;
    let sum = lines.iter().fold(opening, |sum, line| sum.saturating_add(line.amount));
    let statement = Statement {
        owner: reader.name.clone(),
        agency: agency.name,
        period: of.month.format("%Y-%m").to_string(),
        drawn_at: now,
        closed: closed.first().is_some_and(|c| c.month >= of.month),
        opening: Money::new(opening, of.currency),
        closing: Money::new(sum, of.currency),
        lines: lines.into_iter().map(|line| told(line, of.currency)).collect(),
    };
    Ok((statement, reader))
}

fn told(line: AccountLine, currency: Currency) -> StatementLine {
    let because: Option<Line> =
        line.explanation.get("line").and_then(|l| serde_json::from_value(l.clone()).ok());
    let why = match &because {
        Some(line) => line.sentence(),
        None => plainly(&line.kind, &line.explanation),
    };
    StatementLine {
        at: line.at,
        subject: line.lead.map_or_else(String::new, |l| format!("Lead {}", &l.to_string()[..13])),
        product: String::new(),
        kind: line.kind,
        why,
        base: because.map(|line| line.base).filter(|base| !base.is_zero()),
        amount: Money::new(line.amount, currency),
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
