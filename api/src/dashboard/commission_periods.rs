//! Months of the books: open and closed, what each came to, their statements, and closing one.

use super::assets::Asset;
use super::error::{OpsError, Screen};
use super::format::{When, grouped};
use super::session::back;
use super::shell::{Notice, Shell, page};
use crate::auth::{Caller, PayoutsManage};
use crate::routes::commissions::{currency, month};
use crate::{Api, ApiError};
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use chrono::{DateTime, Months, NaiveDate, Utc};
use serde::Deserialize;
use std::collections::HashMap;
use switchyard_catalog::statements::{self, Of};
use switchyard_catalog::{CloseFault, ClosePeriod, month_of};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::statement::{
    DocumentFault, Part, StatementLine, statement_csv, statement_pdf,
};
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::ledger::{self, AccountKind, Figure, Month, Owner};
use switchyard_store::{Scope, StoreFault, agencies, agents};
use uuid::Uuid;

const SCREEN: &str = "/ops/commissions";
const PERIODS: &str = "/ops/commissions/periods";
/// Months of agencies on one screen.
const MOST: i64 = 200;

/// What one currency came to.
struct TotalView {
    earned: Money,
    paid_out: Money,
    entries: String,
}

struct PeriodRow {
    agency: AgencyId,
    agency_name: String,
    month: String,
    closed: Option<When>,
    /// It is over, and open.
    closes: bool,
    totals: Vec<TotalView>,
}

impl PeriodRow {
    fn new(m: Month, now: DateTime<Utc>) -> Self {
        let total = |t: ledger::MonthTotal| TotalView {
            earned: t.earned,
            paid_out: t.paid_out,
            entries: grouped(t.entries),
        };
        Self {
            agency: m.agency,
            agency_name: m.agency_name,
            month: m.month.format("%Y-%m").to_string(),
            closed: m.closed_at.map(|at| When::new(at, now)),
            closes: m.closed_at.is_none() && m.month < month_of(now.date_naive()),
            totals: m.totals.into_iter().map(total).collect(),
        }
    }

    fn href(&self) -> String {
        format!("{PERIODS}/{}/{}", self.agency, self.month)
    }
}

#[derive(Template)]
#[template(path = "commission_periods.html")]
struct Periods {
    shell: Shell,
    rows: Vec<PeriodRow>,
}

/// `GET /ops/commissions/periods`
pub(super) async fn list(State(api): State<Api>, _: Caller<PayoutsManage>, shell: Shell) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let this = month_of(shell.now.date_naive());
    // What was closed late counts in a month that has not begun by its own calendar.
    let last = this + Months::new(1);
    let rows = ledger::months(&mut tx, None, last, MOST).await?;
    tx.rollback().await?;
    page(&Periods {
        rows: rows.into_iter().map(|m| PeriodRow::new(m, shell.now)).collect(),
        shell: shell.at(SCREEN),
    })
}

/// What lies in one owner's account.
struct FigureRow {
    owner: String,
    href: String,
    opening: Money,
    got: Money,
    gave: Money,
    closing: Money,
}

#[derive(Template)]
#[template(path = "commission_period.html")]
struct Period {
    shell: Shell,
    row: PeriodRow,
    figures: Vec<FigureRow>,
}

/// `GET /ops/commissions/periods/{agency}/{month}`
pub(super) async fn show(
    State(api): State<Api>,
    _: Caller<PayoutsManage>,
    shell: Shell,
    Path((agency, written)): Path<(AgencyId, String)>,
) -> Screen {
    let first = month(&written)?;
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = ledger::months(&mut tx, Some(agency), first, 1).await?;
    let found = found.into_iter().find(|m| m.month == first);
    let Some(found) = found else {
        return Err(OpsError::not_found("Nothing was booked in this month."));
    };
    let figures = match ledger::closed(&mut tx, agency, Some(first)).await?.pop() {
        Some(closed) => closed.figures,
        None => ledger::figures(&mut tx, agency, first).await?,
    };
    let names: HashMap<AgentId, String> =
        agents::list(&mut tx, agency).await?.into_iter().map(|a| (a.id, a.name)).collect();
    tx.rollback().await?;
    let row = PeriodRow::new(found, shell.now);
    let owned = |f: &Figure| figure(f, &row, &names);
    page(&Period {
        figures: figures.iter().filter_map(owned).collect(),
        row,
        shell: shell.at(SCREEN),
    })
}

/// What is owed to an agent or to the agency; the platform's own accounts have no statement.
fn figure(f: &Figure, of: &PeriodRow, names: &HashMap<AgentId, String>) -> Option<FigureRow> {
    let currency: Currency = f.currency.parse().ok()?;
    let money = |minor| Money::new(minor, currency);
    let (owner, agent) = match (f.kind, f.owner()?) {
        (AccountKind::Payable, Owner::Agency(_)) => (of.agency_name.clone(), None),
        (AccountKind::Payable, Owner::Agent(id)) => {
            (names.get(&id).cloned().unwrap_or_else(|| id.to_string()), Some(id))
        }
        _ => return None,
    };
    Some(FigureRow {
        owner,
        href: href(of.agency, agent, &of.month, currency),
        opening: money(f.opening),
        got: money(f.got),
        gave: money(f.gave),
        closing: money(f.closing),
    })
}

/// Where a statement is.
pub(super) fn href(
    agency: AgencyId,
    agent: Option<AgentId>,
    month: &str,
    currency: Currency,
) -> String {
    let agent = agent.map_or_else(String::new, |id| format!("&agent={id}"));
    format!("{SCREEN}/statements/{month}?agency={agency}{agent}&currency={}", currency.code())
}

/// `POST /ops/commissions/periods/{agency}/{month}/close`
pub(super) async fn close(
    State(api): State<Api>,
    _: Caller<PayoutsManage>,
    headers: HeaderMap,
    Path((agency, written)): Path<(AgencyId, String)>,
) -> Screen {
    let first = month(&written)?;
    let mut tx = api.db.begin(Scope::Platform).await?;
    agencies::get(&mut tx, agency).await.map_err(|e| match e {
        StoreFault::NotFound => OpsError::not_found("There is no such agency."),
        e => e.into(),
    })?;
    // They would count in the next month, though nobody was late.
    let open = ledger::open_events(&mut tx, agency, first + Months::new(1)).await?;
    if open > 0 {
        let text = format!("Not done: {open} events of the month wait for their booking.");
        return Ok(back(PERIODS, &Notice::failed(text), &headers));
    }
    let notice = match ClosePeriod::close(&mut tx, agency, first, api.clock.now()).await {
        Ok(closing) => {
            if api.config.payouts.mail_statements {
                let jobs = closing.statements().map_err(ApiError::internal)?;
                tx.enqueue_all(jobs).await?;
            }
            tx.commit().await?;
            Notice::done(format!("{written} is closed. Its figures are final."))
        }
        Err(CloseFault::Store(fault)) => return Err(fault.into()),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back(PERIODS, &notice, &headers))
}

/// Which statement, and how.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    agency: Uuid,
    agent: Option<Uuid>,
    currency: Option<String>,
    format: Option<String>,
    part: Option<i64>,
}

/// A part of a month that has several.
struct PartView {
    number: i64,
    of: i64,
    lines: String,
    links: Vec<(i64, String)>,
}

impl PartView {
    fn new(p: Part, href: &str) -> Self {
        let link = |n: i64| (n, format!("{href}&part={n}"));
        let others = (1..=p.of).filter(|n| *n != p.number).take(50);
        Self {
            number: p.number,
            of: p.of,
            lines: grouped(p.lines),
            links: others.map(link).collect(),
        }
    }
}

struct LineRow {
    at: When,
    kind: String,
    subject: String,
    why: String,
    base: Option<Money>,
    amount: Money,
}

impl LineRow {
    fn new(l: StatementLine, now: DateTime<Utc>) -> Self {
        let at = When::new(l.at, now);
        let StatementLine { kind, subject, why, base, amount, .. } = l;
        Self { at, kind, subject, why, base, amount }
    }
}

#[derive(Template)]
#[template(path = "commission_statement.html")]
struct Statement {
    shell: Shell,
    owner: String,
    agency_name: String,
    agency: AgencyId,
    agent: Option<AgentId>,
    month: String,
    currency: Currency,
    closed: bool,
    opening: Money,
    closing: Money,
    lines: Vec<LineRow>,
    part: Option<PartView>,
    href: String,
}

/// `GET /ops/commissions/statements/{month}`: as a page, and with `format` as PDF or CSV.
pub(super) async fn statement(
    State(api): State<Api>,
    _: Caller<PayoutsManage>,
    shell: Shell,
    Path(written): Path<String>,
    Query(which): Query<Which>,
) -> Screen {
    let of = Of {
        agency: AgencyId(which.agency),
        agent: which.agent.map(AgentId),
        month: month(&written)?,
        currency: currency(which.currency.as_deref())?,
    };
    let mut tx = api.db.begin(Scope::Platform).await?;
    let drawn = statements::draw_part(&mut tx, &of, which.part.unwrap_or(1), shell.now).await;
    tx.rollback().await?;
    let (drawn, _) = drawn.map_err(|e| match e {
        StoreFault::NotFound => OpsError::not_found("There is no such agency, agent or part."),
        e => e.into(),
    })?;
    let name = format!("commissions-{}-{}", drawn.period, of.currency.code());
    match which.format.as_deref() {
        Some("pdf") => return file(&name, "pdf", "application/pdf", statement_pdf(&drawn)),
        Some("csv") => return file(&name, "csv", "text/csv; charset=utf-8", statement_csv(&drawn)),
        Some(_) => {
            let message = "`format` is `pdf` or `csv`";
            return Err(ApiError::bad_request("invalid_query", message).into());
        }
        None => {}
    }
    let address = href(of.agency, of.agent, &drawn.period, of.currency);
    page(&Statement {
        owner: drawn.owner,
        agency_name: drawn.agency,
        agency: of.agency,
        agent: of.agent,
        part: drawn.part.map(|part| PartView::new(part, &address)),
        href: address,
        month: drawn.period,
        currency: of.currency,
        closed: drawn.closed,
        opening: drawn.opening,
        closing: drawn.closing,
        lines: drawn.lines.into_iter().map(|l| LineRow::new(l, shell.now)).collect(),
        shell: shell.at(SCREEN),
    })
}

fn file(
    name: &str,
    end: &str,
    kind: &'static str,
    document: Result<Vec<u8>, DocumentFault>,
) -> Screen {
    let document = document.map_err(ApiError::internal)?;
    let name = format!("attachment; filename=\"{name}.{end}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, document).into_response())
}

/// This month, as it is written in addresses.
pub(super) fn this_month(now: DateTime<Utc>) -> String {
    let first: NaiveDate = month_of(now.date_naive());
    first.format("%Y-%m").to_string()
}
