//! Commissions: who earned what, payouts to approve, what is not booked, and why a line is what it is.

use super::assets::Asset;
use super::commission_periods::{href, this_month};
use super::error::{OpsError, Screen};
use super::format::{When, short};
use super::shell::{Shell, Tab, page};
use crate::auth::{Caller, PayoutsManage};
use crate::{Api, ApiError};
use askama::Template;
use axum::extract::{Path, Query, State};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use switchyard_domain::PayoutId;
use switchyard_domain::commission::Booked;
use switchyard_domain::money::Currency;
use switchyard_store::Scope;
use switchyard_store::commissions::{self, EventRow, UnbookedFilter};
use switchyard_store::ledger::{self, Entry, Owner};
use switchyard_store::payouts::{
    self, Payout, PayoutFile, PayoutFilter, PayoutMethod, PayoutState, Standing, StandingFilter,
};
use uuid::Uuid;

const BOARD: i64 = 50;
const PAYOUTS: i64 = 50;
const FILES: i64 = 5;
const UNBOOKED: i64 = 25;
/// What was recorded this moment is being booked.
const YOUNG: Duration = Duration::from_secs(60);
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
    /// This month's statement.
    href: String,
    earned: String,
    pending: String,
    sent: String,
    paid: String,
}

impl StandingRow {
    fn new(s: Standing, now: DateTime<Utc>) -> Self {
        Self {
            place: s.place,
            name: s.name,
            href: href(s.agency, Some(s.agent), &this_month(now), s.earned.currency),
            earned: s.earned.to_string(),
            pending: s.pending.to_string(),
            sent: s.sent.to_string(),
            paid: s.paid.to_string(),
        }
    }
}

/// An event that has no entry, and what became of it.
struct EventView {
    id: Uuid,
    short: String,
    kind: &'static str,
    state: String,
    why: String,
    recorded: When,
}

impl EventView {
    fn new(row: &EventRow, recorded: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        Self {
            id: row.event.id.0,
            short: short(row.event.id),
            kind: row.event.kind.word().as_str(),
            state: row.state.to_string(),
            why: row.in_words(),
            recorded: When::new(recorded, now),
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

    /// Approved, and no file has it yet: it can still be turned down.
    fn waits_for_file(&self) -> bool {
        self.state == PayoutState::Approved && self.method != PayoutMethod::Stripe
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
    unbooked: Vec<EventView>,
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
    let filter = UnbookedFilter { older_than: YOUNG, limit: UNBOOKED, ..UnbookedFilter::default() };
    let unbooked = commissions::unbooked(&mut tx, &filter).await?;
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
        board: board.into_iter().map(|s| StandingRow::new(s, shell.now)).collect(),
        unbooked: unbooked.iter().map(|(row, at)| EventView::new(row, *at, shell.now)).collect(),
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
    /// In one sentence, and step by step; payouts have neither.
    sentence: Option<String>,
    arithmetic: Option<String>,
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
        let (sentence, arithmetic) = Booked::read(&e.explanation, e.occurred_at, e.period)
            .map_or((None, None), |b| (Some(b.sentence), b.arithmetic));
        Self {
            sentence,
            arithmetic,
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
    events: Vec<EventView>,
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
    let rows = commissions::about(&mut tx, id).await?;
    tx.rollback().await?;
    if entries.is_empty() && rows.is_empty() {
        return Err(OpsError::not_found("Nothing is known of this id."));
    }
    let view = |row: &EventRow| EventView::new(row, row.event.received_at, shell.now);
    let events = rows.iter().map(view).collect();
    page(&Explained { shell: shell.at("/ops/commissions"), short: short(id), events, entries })
}
