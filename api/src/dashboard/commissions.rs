//! Commissions: who earned what, payouts to approve, and why a line is what it is.

use super::assets::Asset;
use super::deliveries::cause;
use super::error::{OpsError, Screen};
use super::format::{When, short};
use super::session::back;
use super::shell::{Notice, Shell, Tab, page};
use crate::auth::{Caller, PayoutsManage};
use crate::routes::commissions::actor;
use crate::{Api, ApiError, RequestContext};
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use switchyard_catalog::payouts::{self as paying, ExportFault, PayoutFault};
use switchyard_domain::PayoutId;
use switchyard_domain::money::Currency;
use switchyard_store::ledger::{self, Entry, Owner};
use switchyard_store::payouts::{
    self, Payout, PayoutFile, PayoutFilter, PayoutMethod, PayoutState, Standing, StandingFilter,
};
use switchyard_store::{Scope, StoreFault};
use uuid::Uuid;

const BOARD: i64 = 50;
const PAYOUTS: i64 = 50;
const FILES: i64 = 5;
/// The currencies that have a tab; any other can be asked for in the address.
const TABS: [&str; 4] = ["EUR", "PLN", "USD", "GBP"];

/// The list's query.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    currency: Option<String>,
}

struct StandingRow {
    place: i64,
    name: String,
    earned: String,
    pending: String,
    sent: String,
    paid: String,
}

impl From<Standing> for StandingRow {
    fn from(s: Standing) -> Self {
        Self {
            place: s.place,
            name: s.name,
            earned: s.earned.to_string(),
            pending: s.pending.to_string(),
            sent: s.sent.to_string(),
            paid: s.paid.to_string(),
        }
    }
}

struct PayoutRow {
    id: PayoutId,
    short: String,
    payee: String,
    amount: String,
    method: PayoutMethod,
    state: PayoutState,
    requested_by: String,
    requested: When,
    error: Option<String>,
}

impl PayoutRow {
    fn new(p: Payout, now: DateTime<Utc>) -> Self {
        Self {
            id: p.id,
            short: short(p.id),
            payee: p.payee.name,
            amount: p.amount.to_string(),
            method: p.method,
            state: p.state,
            requested_by: p.requested_by,
            requested: When::new(p.requested_at, now),
            error: p.error,
        }
    }

    fn waits(&self) -> bool {
        self.state == PayoutState::Requested
    }

    fn by_file(&self) -> bool {
        self.state == PayoutState::Sent && self.method != PayoutMethod::Stripe
    }
}

struct FileRow {
    href: String,
    what: String,
    made: When,
}

impl FileRow {
    fn new(f: &PayoutFile, now: DateTime<Utc>) -> Self {
        let href = format!("/api/v1/commissions/payout/files/{}", f.id);
        let what = format!("{} in {}, {} payouts", f.method, f.currency, f.payouts);
        Self { href, what, made: When::new(f.made_at, now) }
    }
}

#[derive(Template)]
#[template(path = "commissions.html")]
struct Commissions {
    shell: Shell,
    tabs: Vec<Tab>,
    board: Vec<StandingRow>,
    payouts: Vec<PayoutRow>,
    files: Vec<FileRow>,
    approved: bool,
}

/// `GET /ops/commissions`
pub(super) async fn list(
    State(api): State<Api>,
    _: Caller<PayoutsManage>,
    shell: Shell,
    Query(query): Query<ListQuery>,
) -> Screen {
    let code = query.currency.as_deref().filter(|c| !c.is_empty()).unwrap_or("EUR");
    let currency: Currency =
        code.parse().map_err(|why: String| ApiError::bad_request("unknown_currency", why))?;
    let mut tx = api.db.begin(Scope::Platform).await?;
    let filter = StandingFilter { currency, agency: None, agent: None, limit: BOARD };
    let board = payouts::standings(&mut tx, &filter).await?;
    let filter = PayoutFilter { limit: PAYOUTS, ..PayoutFilter::default() };
    let mut found = payouts::list(&mut tx, &filter).await?;
    let files = payouts::files(&mut tx, FILES).await?;
    tx.rollback().await?;
    // What waits for somebody comes first.
    found.sort_by_key(|p| p.state != PayoutState::Requested);
    let approved =
        found.iter().any(|p| p.state == PayoutState::Approved && p.method == PayoutMethod::Sepa);
    let tab = |code: &'static str| Tab {
        href: format!("/ops/commissions?currency={code}"),
        label: code,
        current: code == currency.code(),
    };
    page(&Commissions {
        tabs: TABS.map(tab).into(),
        board: board.into_iter().map(StandingRow::from).collect(),
        payouts: found.into_iter().map(|p| PayoutRow::new(p, shell.now)).collect(),
        files: files.iter().map(|f| FileRow::new(f, shell.now)).collect(),
        approved,
        shell: shell.at("/ops/commissions"),
    })
}

struct PostingRow {
    account: String,
    owner: String,
    amount: String,
}

struct EntryRow {
    short: String,
    kind: String,
    period: String,
    occurred: When,
    why: String,
    postings: Vec<PostingRow>,
}

impl EntryRow {
    fn new(e: Entry, now: DateTime<Utc>) -> Self {
        let posting = |p: &ledger::Posting| PostingRow {
            account: p.kind.to_string(),
            owner: match p.owner {
                Owner::Platform => "platform".to_owned(),
                Owner::Agency(id) => format!("agency {}", short(id)),
                Owner::Agent(id) => format!("agent {}", short(id)),
            },
            amount: p.amount.to_string(),
        };
        Self {
            short: short(e.id.0),
            kind: e.kind.to_string(),
            period: e.period.format("%Y-%m").to_string(),
            occurred: When::new(e.occurred_at, now),
            why: pretty(&e.explanation),
            postings: e.postings.iter().map(posting).collect(),
        }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[derive(Template)]
#[template(path = "commission.html")]
struct Explained {
    shell: Shell,
    short: String,
    entries: Vec<EntryRow>,
}

/// `GET /ops/commissions/{id}`: of an entry, an event or a lead.
pub(super) async fn explain(
    State(api): State<Api>,
    _: Caller<PayoutsManage>,
    shell: Shell,
    Path(id): Path<Uuid>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let mut entries = Vec::new();
    for entry in payouts::entries_about(&mut tx, id).await? {
        entries.push(EntryRow::new(ledger::entry(&mut tx, entry).await?, shell.now));
    }
    tx.rollback().await?;
    if entries.is_empty() {
        return Err(OpsError::not_found("Nothing was booked for this id."));
    }
    page(&Explained { shell: shell.at("/ops/commissions"), short: short(id), entries })
}

/// `POST /ops/commissions/payouts/{id}/{verb}`: `approve`, `decline`, `arrived` or `returned`.
pub(super) async fn act(
    State(api): State<Api>,
    caller: Caller<PayoutsManage>,
    context: RequestContext,
    headers: HeaderMap,
    Path((id, verb)): Path<(PayoutId, String)>,
) -> Screen {
    let (by, now) = (actor(&caller.claims), api.clock.now());
    let mut tx = api.db.begin(Scope::Platform).await?;
    let (done, said) = match verb.as_str() {
        "approve" => {
            let done = paying::approve(&mut tx, id, &by, &cause(&context)).await;
            (done, "The payout is approved.")
        }
        "decline" => {
            let done = paying::decline(&mut tx, id, "an operator turned it down").await;
            (done, "The payout is turned down. No money has moved.")
        }
        "arrived" => {
            (paying::settle(&mut tx, id, None, now).await, "The payout has arrived, and is booked.")
        }
        "returned" => {
            let done = paying::settle(&mut tx, id, Some("the bank returned it"), now).await;
            (done, "The payout came back. The money is owed again.")
        }
        _ => {
            let what = "Payouts can be approved, declined, and said to have arrived or returned.";
            return Err(OpsError::not_found(what));
        }
    };
    let notice = match done {
        Ok(_) => {
            tx.commit().await?;
            Notice::done(said)
        }
        Err(PayoutFault::Store(StoreFault::NotFound)) => {
            return Err(OpsError::not_found("There is no such payout."));
        }
        Err(PayoutFault::Store(fault)) => return Err(fault.into()),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back("/ops/commissions", &notice, &headers))
}

/// `POST /ops/commissions/export/{method}`: a file for the bank, in euros, to be paid today.
pub(super) async fn export(
    State(api): State<Api>,
    caller: Caller<PayoutsManage>,
    headers: HeaderMap,
    Path(method): Path<String>,
) -> Screen {
    let method: PayoutMethod =
        method.parse().map_err(|_| OpsError::not_found("Files are `sepa` or `csv`."))?;
    let euros: Currency = "EUR".parse().map_err(|e: String| ApiError::internal(e))?;
    let (by, now) = (actor(&caller.claims), api.clock.now());
    let debtor = api.config.payouts.debtor.as_ref();
    let mut tx = api.db.begin(Scope::Platform).await?;
    let made = paying::export(&mut tx, method, euros, now.date_naive(), debtor, &by, now).await;
    let notice = match made {
        Ok(file) => {
            tx.commit().await?;
            Notice::done(format!("A file with {} payouts is made.", file.payouts))
        }
        Err(ExportFault::Payout(PayoutFault::Store(fault))) => return Err(fault.into()),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back("/ops/commissions", &notice, &headers))
}
