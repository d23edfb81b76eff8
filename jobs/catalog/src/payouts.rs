//! Paying commissions out, each step in the caller's transaction: ask, approve, export, settle. Money
//! moves by entries of the ledger only: from `payable` to `sent` when it leaves, on to `paid` when it
//! arrived, back to `payable` when it did not.

mod export;

pub use export::{ExportFault, Exported, LeftOut, export};

use crate::CommissionPayout;
use crate::lead_work::Actor;
use crate::line::Cause;
use chrono::{DateTime, Utc};
use serde_json::json;
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::payment::{PayoutRules, SepaFault};
use switchyard_domain::{AgencyId, AgentId, PayoutId};
use switchyard_queue::{JobError, NewJob};
use switchyard_store::ledger::{self, Account, AccountKind, EntryKind, NewEntry, Owner, PostFault};
use switchyard_store::payouts::{self, Change, Payee, Payout, PayoutMethod, PayoutState};
use switchyard_store::{StoreFault, Tx, agents};

/// Who approved what nobody had to.
const BY_LIMIT: &str = "limit";

/// Why a payout does not go on.
#[derive(Debug, thiserror::Error)]
pub enum PayoutFault {
    /// There is less, or nothing, to be paid.
    #[error("{asked} cannot be paid out: {owed} is owed")]
    NotOwed {
        /// What was asked for.
        asked: Money,
        /// What is owed.
        owed: Money,
    },
    /// Nobody knows where the money should go.
    #[error("there is no account to pay to by {0}; set the payee's first")]
    NoAccount(PayoutMethod),
    /// Another one is on its way.
    #[error("a payout in this currency is on its way to the same owner; wait until it is settled")]
    OneIsOpen,
    /// It is not the time for this step.
    #[error("the payout is `{0}`; this step does not follow on that")]
    WrongState(PayoutState),
    /// The one who asked may not approve.
    #[error("a payout above the limit is approved by another person than the one who asked for it")]
    SamePerson,
    /// Only euros travel by SEPA.
    #[error("SEPA moves EUR only, and this is {0}; take another method")]
    NotEuro(Currency),
    /// A bank would refuse it.
    #[error("{0}; mend that, then ask for the payout again")]
    Sepa(#[from] SepaFault),
    /// The agent works elsewhere.
    #[error("the agency has no agent {0}")]
    NotItsAgent(AgentId),
    /// The ledger refused it.
    #[error(transparent)]
    Post(PostFault),
    /// The database's answer; `NotFound` if there is no such payout, or it is another agency's.
    #[error(transparent)]
    Store(StoreFault),
}

impl From<StoreFault> for PayoutFault {
    fn from(fault: StoreFault) -> Self {
        match fault.constraint() {
            Some("payouts_one_open") => Self::OneIsOpen,
            Some("payouts_second_person") => Self::SamePerson,
            _ => Self::Store(fault),
        }
    }
}

impl From<PostFault> for PayoutFault {
    fn from(fault: PostFault) -> Self {
        match fault {
            PostFault::Store(fault) => Self::Store(fault),
            fault => Self::Post(fault),
        }
    }
}

impl From<serde_json::Error> for PayoutFault {
    fn from(e: serde_json::Error) -> Self {
        Self::Store(e.into())
    }
}

impl PayoutFault {
    /// What the job that pays says of it.
    pub(crate) fn into_job_error(self) -> JobError {
        match self {
            Self::Store(fault) => fault.into_job_error(),
            fault => JobError::permanent(fault),
        }
    }
}

/// What somebody wants paid.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// In whose books.
    pub agency: AgencyId,
    /// To whom: the agency itself, or an agent of it.
    pub agent: Option<AgentId>,
    /// In which currency.
    pub currency: Currency,
    /// How much, in minor units; `None`: all that is owed.
    pub amount: Option<i64>,
    /// How.
    pub method: PayoutMethod,
}

impl Wanted {
    fn owner(&self) -> Owner {
        self.agent.map_or(Owner::Agency(self.agency), Owner::Agent)
    }
}

/// Asks for a payout. One up to the limit goes on its way at once, one above it waits for a second
/// person.
///
/// # Errors
/// [`PayoutFault`].
pub async fn request(
    tx: &mut Tx,
    wanted: &Wanted,
    by: &Actor,
    rules: &PayoutRules,
    cause: &Cause,
) -> Result<Payout, PayoutFault> {
    if wanted.method == PayoutMethod::Sepa && wanted.currency.code() != "EUR" {
        return Err(PayoutFault::NotEuro(wanted.currency));
    }
    let owner = wanted.owner();
    if let Some(agent) = wanted.agent
        && !agents::list(tx, wanted.agency).await?.iter().any(|a| a.id == agent)
    {
        return Err(PayoutFault::NotItsAgent(agent));
    }
    let payee = payouts::payee(tx, owner, wanted.agency).await?;
    let payee = payee.filter(|p| reachable(p, wanted.method));
    let payee = payee.ok_or(PayoutFault::NoAccount(wanted.method))?;
    let owed = owed(tx, owner, wanted.agency, wanted.currency).await?;
    let amount = Money::new(wanted.amount.unwrap_or(owed.minor), wanted.currency);
    if amount.minor < 1 || amount.minor > owed.minor {
        return Err(PayoutFault::NotOwed { asked: amount, owed });
    }
    // With what was asked for before, so that nobody gets past it in small parts.
    let before = payouts::asked_in_a_day(tx, owner, wanted.agency, wanted.currency).await?;
    let asked = before.saturating_add(i128::from(amount.minor));
    let above_limit = asked > i128::from(rules.approval_limit.of(wanted.currency));
    let payout = Payout {
        id: PayoutId::new(),
        agency: wanted.agency,
        owner,
        amount,
        method: wanted.method,
        payee,
        state: if above_limit { PayoutState::Requested } else { PayoutState::Approved },
        above_limit,
        requested_by: by.name.clone(),
        requested_at: Utc::now(),
        approved_by: (!above_limit).then(|| BY_LIMIT.to_owned()),
        sent_at: None,
        settled_at: None,
        settled_by: None,
        file: None,
        provider_id: None,
        error: None,
    };
    if payout.method == PayoutMethod::Sepa {
        export::transfer(&payout)?;
    }
    payouts::request(tx, &payout).await?;
    set_off(tx, &payout, cause).await?;
    Ok(payouts::get(tx, payout.id).await?)
}

fn reachable(payee: &Payee, method: PayoutMethod) -> bool {
    match method {
        PayoutMethod::Stripe => payee.stripe_account.is_some(),
        PayoutMethod::Sepa | PayoutMethod::Csv => payee.iban.is_some(),
    }
}

async fn owed(
    tx: &mut Tx,
    owner: Owner,
    agency: AgencyId,
    currency: Currency,
) -> Result<Money, StoreFault> {
    ledger::balance(tx, &Account::payable(owner, agency, currency)).await
}

/// An approved payout that goes by an API is paid by a job; the others wait for an export.
async fn set_off(tx: &mut Tx, payout: &Payout, cause: &Cause) -> Result<(), PayoutFault> {
    if payout.state == PayoutState::Approved && payout.method == PayoutMethod::Stripe {
        let job = CommissionPayout { payout: payout.id };
        let job: NewJob = job.for_agency(payout.agency)?;
        tx.enqueue(cause.stamp(job)).await?;
    }
    Ok(())
}

/// Approves a payout that waits for it. Platform scope.
///
/// # Errors
/// [`PayoutFault::SamePerson`], [`PayoutFault::WrongState`].
pub async fn approve(
    tx: &mut Tx,
    id: PayoutId,
    by: &Actor,
    cause: &Cause,
) -> Result<Payout, PayoutFault> {
    let payout = payouts::lock(tx, id).await?;
    if payout.state != PayoutState::Requested {
        return Err(PayoutFault::WrongState(payout.state));
    }
    if payout.above_limit && payout.requested_by == by.name {
        return Err(PayoutFault::SamePerson);
    }
    payouts::approve(tx, id, &by.name).await?;
    let payout = payouts::get(tx, id).await?;
    set_off(tx, &payout, cause).await?;
    Ok(payout)
}

/// Turns a payout down that waits for its approval, or for a file; no money has moved.
///
/// # Errors
/// [`PayoutFault::WrongState`]; so too for an approved one that goes by an API: a job pays it already.
pub async fn decline(
    tx: &mut Tx,
    id: PayoutId,
    by: &Actor,
    why: &str,
) -> Result<Payout, PayoutFault> {
    let payout = payouts::lock(tx, id).await?;
    let waits = match payout.state {
        PayoutState::Requested => true,
        PayoutState::Approved => payout.method != PayoutMethod::Stripe,
        _ => false,
    };
    if !waits {
        return Err(PayoutFault::WrongState(payout.state));
    }
    let change = Change { error: Some(why), by: Some(&by.name), ..Change::default() };
    payouts::set_state(tx, id, PayoutState::Declined, &change).await?;
    Ok(payouts::get(tx, id).await?)
}

/// Says what became of a payout that went out by a file: it arrived, or came back for a reason.
/// Platform scope.
///
/// # Errors
/// [`PayoutFault::WrongState`] unless it is on its way by a file.
pub async fn settle(
    tx: &mut Tx,
    id: PayoutId,
    by: &Actor,
    came_back: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Payout, PayoutFault> {
    let payout = payouts::lock(tx, id).await?;
    if payout.state != PayoutState::Sent || payout.method == PayoutMethod::Stripe {
        return Err(PayoutFault::WrongState(payout.state));
    }
    let by = Some(by.name.as_str());
    match came_back {
        None => arrived(tx, &payout, &Change { by, ..Change::default() }, now).await?,
        Some(why) => {
            let change = Change { by, error: Some(why), ..Change::default() };
            returned(tx, &payout, &change, now).await?;
        }
    }
    Ok(payouts::get(tx, id).await?)
}

/// Takes the money out of what is owed, and marks the payout as sent. `false`: less is owed by now,
/// the payout has failed, and nothing may be sent.
pub(crate) async fn leave(
    tx: &mut Tx,
    payout: &Payout,
    change: &Change<'_>,
    now: DateTime<Utc>,
) -> Result<bool, PayoutFault> {
    let owed = owed(tx, payout.owner, payout.agency, payout.amount.currency).await?;
    if owed.minor < payout.amount.minor {
        let why = format!("{owed} is owed by now; something was taken back");
        let change = Change { error: Some(&why), ..Change::default() };
        payouts::set_state(tx, payout.id, PayoutState::Failed, &change).await?;
        return Ok(false);
    }
    let kinds = (AccountKind::Payable, AccountKind::Sent);
    book(tx, payout, EntryKind::PayoutSent, kinds, now).await?;
    payouts::set_state(tx, payout.id, PayoutState::Sent, change).await?;
    Ok(true)
}

/// The money arrived.
pub(crate) async fn arrived(
    tx: &mut Tx,
    payout: &Payout,
    change: &Change<'_>,
    now: DateTime<Utc>,
) -> Result<(), PayoutFault> {
    let kinds = (AccountKind::Sent, AccountKind::Paid);
    book(tx, payout, EntryKind::PayoutConfirmed, kinds, now).await?;
    Ok(payouts::set_state(tx, payout.id, PayoutState::Confirmed, change).await?)
}

/// The money came back, or certainly never left: it is owed again.
pub(crate) async fn returned(
    tx: &mut Tx,
    payout: &Payout,
    change: &Change<'_>,
    now: DateTime<Utc>,
) -> Result<(), PayoutFault> {
    let kinds = (AccountKind::Sent, AccountKind::Payable);
    book(tx, payout, EntryKind::PayoutFailed, kinds, now).await?;
    Ok(payouts::set_state(tx, payout.id, PayoutState::Failed, change).await?)
}

async fn book(
    tx: &mut Tx,
    payout: &Payout,
    kind: EntryKind,
    (from, to): (AccountKind, AccountKind),
    now: DateTime<Utc>,
) -> Result<(), PayoutFault> {
    let (agency, currency) = (payout.agency, payout.amount.currency);
    let account = |kind| Account::of(kind, payout.owner, agency, currency);
    let agent = match payout.owner {
        Owner::Agent(agent) => Some(agent),
        _ => None,
    };
    let entry = NewEntry {
        key: format!("payout:{}:{kind}", payout.id),
        agency,
        kind,
        agent,
        event: None,
        lead: None,
        // To the microsecond, as the ledger keeps it.
        occurred_at: DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now),
        explanation: json!({
            "payout": payout.id,
            "method": payout.method,
            "amount": payout.amount,
        }),
        postings: vec![(account(from), -payout.amount.minor), (account(to), payout.amount.minor)],
    };
    ledger::post(tx, &[entry]).await?;
    Ok(())
}
