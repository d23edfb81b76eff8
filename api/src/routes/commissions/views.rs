//! What is answered about commissions and payouts.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use switchyard_catalog::payouts::LeftOut;
use switchyard_domain::commission::Booked;
use switchyard_domain::money::Money;
use switchyard_store::commissions::{EventRow, EventState};
use switchyard_store::ledger::{Entry, Owner, Posting};
use switchyard_store::payouts::{Payee, Payout, PayoutFile, Standing};
use utoipa::ToSchema;
use uuid::Uuid;

/// An amount of money.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MoneyView {
    /// In minor units: cents, grosze.
    #[schema(example = 125_000)]
    minor: i64,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
    /// As people read it.
    #[schema(example = "1,250.00 EUR")]
    text: String,
}

impl From<Money> for MoneyView {
    fn from(m: Money) -> Self {
        Self { minor: m.minor, currency: m.currency.code().to_owned(), text: m.to_string() }
    }
}

/// Where an agent stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct StandingView {
    /// From 1; equal amounts share a place.
    #[schema(example = 1)]
    place: i64,
    agent_id: Uuid,
    #[schema(example = "Ann Nowak")]
    name: String,
    agency_id: Uuid,
    /// Everything that was booked, less what was taken back.
    earned: MoneyView,
    /// Of it, owed.
    pending: MoneyView,
    /// Of it, on its way.
    sent: MoneyView,
    /// Of it, paid.
    paid: MoneyView,
}

impl From<Standing> for StandingView {
    fn from(s: Standing) -> Self {
        Self {
            place: s.place,
            agent_id: s.agent.0,
            name: s.name,
            agency_id: s.agency.0,
            earned: s.earned.into(),
            pending: s.pending.into(),
            sent: s.sent.into(),
            paid: s.paid.into(),
        }
    }
}

/// The owner of money, in two fields.
fn owner(owner: Owner) -> (&'static str, Option<Uuid>) {
    match owner {
        Owner::Platform => ("platform", None),
        Owner::Agency(id) => ("agency", Some(id.0)),
        Owner::Agent(id) => ("agent", Some(id.0)),
    }
}

/// What one account got by an entry.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PostingView {
    /// `expense`, `payable`, `sent` or `paid`.
    #[schema(example = "payable")]
    account: String,
    /// `platform`, `agency` or `agent`.
    #[schema(example = "agent")]
    owner_kind: &'static str,
    owner_id: Option<Uuid>,
    /// What the owner got; negative: gave.
    amount: MoneyView,
}

impl From<Posting> for PostingView {
    fn from(p: Posting) -> Self {
        let (owner_kind, owner_id) = owner(p.owner);
        Self { account: p.kind.to_string(), owner_kind, owner_id, amount: p.amount.into() }
    }
}

/// One entry of the ledger, or an event that has none, and why it is what it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ExplainedView {
    /// The entry's id; of an event without an entry its own.
    id: Uuid,
    /// `commission`, `correction`, `payout_sent`, `payout_confirmed` or `payout_failed`; of an event
    /// without an entry what happened, such as `tier_changed`.
    #[schema(example = "commission")]
    kind: String,
    /// `booked`; of an event without an entry also `pending`, `waiting` or `refused`.
    #[schema(example = "booked")]
    state: String,
    /// Why it was refused, or what it waits for.
    reason: Option<String>,
    /// The month that it counts in, by its first day; `null`: it is in no books.
    period: Option<NaiveDate>,
    event_id: Option<Uuid>,
    lead_id: Option<Uuid>,
    occurred_at: DateTime<Utc>,
    booked_at: Option<DateTime<Utc>>,
    /// Why, in one sentence; `null` for payouts.
    sentence: Option<String>,
    /// The sum, step by step.
    arithmetic: Option<String>,
    /// The same for programs: plan and its version, tier, steps, shares, what else mattered.
    #[schema(value_type = Object)]
    explanation: Value,
    /// They add up to zero.
    postings: Vec<PostingView>,
}

impl From<Entry> for ExplainedView {
    fn from(e: Entry) -> Self {
        let (sentence, arithmetic) = Booked::read(&e.explanation, e.occurred_at, e.period)
            .map_or((None, None), |b| (Some(b.sentence), b.arithmetic));
        Self {
            id: e.id.0,
            kind: e.kind.to_string(),
            state: EventState::Booked.to_string(),
            reason: None,
            period: Some(e.period),
            event_id: e.event.map(|e| e.0),
            lead_id: e.lead.map(|l| l.0),
            occurred_at: e.occurred_at,
            booked_at: Some(e.booked_at),
            sentence,
            arithmetic,
            explanation: e.explanation,
            postings: e.postings.into_iter().map(PostingView::from).collect(),
        }
    }
}

impl From<EventRow> for ExplainedView {
    fn from(row: EventRow) -> Self {
        let sentence = Some(row.in_words());
        let EventRow { event, state, reason, .. } = row;
        Self {
            id: event.id.0,
            kind: event.kind.word().as_str().to_owned(),
            state: state.to_string(),
            reason,
            period: None,
            event_id: Some(event.id.0),
            lead_id: event.lead.map(|l| l.0),
            occurred_at: event.occurred_at,
            booked_at: None,
            sentence,
            arithmetic: None,
            explanation: json!({ "event": event }),
            postings: Vec::new(),
        }
    }
}

/// Where somebody's money goes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PayeeView {
    /// `null`: the agency itself.
    agent_id: Option<Uuid>,
    agency_id: Uuid,
    #[schema(example = "Ann Nowak")]
    name: String,
    /// Its country and last four characters.
    #[schema(example = "PL…2874")]
    iban: Option<String>,
    bic: Option<String>,
    stripe_account: Option<String>,
}

impl From<Payee> for PayeeView {
    fn from(p: Payee) -> Self {
        let agent_id = match p.owner {
            Owner::Agent(id) => Some(id.0),
            _ => None,
        };
        Self {
            agent_id,
            agency_id: p.agency.0,
            name: p.name,
            iban: p.iban.as_deref().map(masked),
            bic: p.bic,
            stripe_account: p.stripe_account,
        }
    }
}

/// Enough of an account to know it again.
fn masked(iban: &str) -> String {
    iban.parse::<switchyard_domain::payment::SepaIban>()
        .map_or_else(|_| "…".to_owned(), |iban| iban.masked())
}

/// A payout.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PayoutView {
    id: Uuid,
    amount: MoneyView,
    /// `stripe`, `sepa` or `csv`.
    #[schema(example = "sepa")]
    method: String,
    /// `requested`, `approved`, `sent`, `confirmed`, `failed` or `declined`.
    #[schema(example = "requested")]
    state: String,
    /// A second person has to approve it.
    above_limit: bool,
    /// Where to, as it was when it was asked for.
    payee: PayeeView,
    requested_by: String,
    requested_at: DateTime<Utc>,
    /// `limit`: nobody had to.
    approved_by: Option<String>,
    sent_at: Option<DateTime<Utc>>,
    settled_at: Option<DateTime<Utc>>,
    /// Who turned it down or said what became of it; `null`: no person did.
    settled_by: Option<String>,
    /// The file that it went out by.
    file_id: Option<Uuid>,
    /// The provider's id of it.
    provider_id: Option<String>,
    /// What went wrong last.
    error: Option<String>,
}

impl From<Payout> for PayoutView {
    fn from(p: Payout) -> Self {
        Self {
            id: p.id.0,
            amount: p.amount.into(),
            method: p.method.to_string(),
            state: p.state.to_string(),
            above_limit: p.above_limit,
            payee: p.payee.into(),
            requested_by: p.requested_by,
            requested_at: p.requested_at,
            approved_by: p.approved_by,
            sent_at: p.sent_at,
            settled_at: p.settled_at,
            settled_by: p.settled_by,
            file_id: p.file,
            provider_id: p.provider_id,
            error: p.error,
        }
    }
}

/// A file for the bank.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FileView {
    id: Uuid,
    /// `sepa` or `csv`.
    #[schema(example = "sepa")]
    method: String,
    #[schema(example = "EUR")]
    currency: String,
    /// How many payouts it holds.
    payouts: i32,
    /// What they come to, in minor units.
    amount_minor: i64,
    made_by: String,
    made_at: DateTime<Utc>,
    /// Payouts that waited and are not in it: they have failed.
    left_out: Vec<LeftOutView>,
}

/// A payout that did not come into the file.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LeftOutView {
    payout_id: Uuid,
    /// Why, and what to do.
    #[schema(example = "49.00 EUR is owed by now; something was taken back")]
    reason: String,
}

impl FileView {
    pub(crate) fn new(f: PayoutFile, left_out: Vec<LeftOut>) -> Self {
        let view = |l: LeftOut| LeftOutView { payout_id: l.payout.0, reason: l.why };
        Self {
            id: f.id,
            method: f.method.to_string(),
            currency: f.currency,
            payouts: f.payouts,
            amount_minor: f.amount,
            made_by: f.made_by,
            made_at: f.made_at,
            left_out: left_out.into_iter().map(view).collect(),
        }
    }
}
