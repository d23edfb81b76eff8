//! What people do with leads, each in the caller's transaction: enter one by hand, mend what it says,
//! write notes, plan reminders, record the sale.

mod enter;

pub use enter::{Entered, PORTAL, enter, revise};

use crate::line::Cause;
use crate::{LeadFollowUp, conversion};
use chrono::{DateTime, Utc};
use switchyard_domain::commission::{CommissionEvent, EventKind, LARGEST_AMOUNT};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{
    AgencyId, AgentId, CommissionEventId, FieldFault, FollowUpId, LeadId, LeadState, NoteId,
};
use switchyard_queue::NewJob;
use switchyard_store::commissions::RecordFault;
use switchyard_store::leads::{self, FollowUp, Lead, NewFollowUp, NewNote, NewSale, Note, Sale};
use switchyard_store::{StoreFault, Tx};
use uuid::Uuid;

/// In whose name something is done.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The agency; `None`: the operators.
    pub agency: Option<AgencyId>,
    /// `admin:<id>`, `agency:<id>`, `cli:ada`.
    pub name: String,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum WorkFault {
    /// What is wrong with the lead's fields.
    #[error("{}", FieldFault::sentences(.0))]
    Fields(Vec<FieldFault>),
    /// A sale of nothing, or of more than is counted.
    #[error(
        "a sale is worth 1 to 10^15 minor units, and its fee 0 to 10^15; write the amount anew"
    )]
    Amount,
    /// Nobody holds the lead, so nobody can be reminded of it.
    #[error("no agency holds the lead; wait until one does")]
    NotHeld,
    /// Only a lead that an agency took can be sold.
    #[error("the lead is `{0}`; its agency has to accept it first")]
    NotAccepted(LeadState),
    /// The agent works elsewhere, or not any more.
    #[error("the agency that holds the lead has no active agent {0}")]
    NotItsAgent(AgentId),
    /// The lead was sold otherwise.
    #[error(
        "the lead was sold already, for {} minor units of {}; an operator corrects that with \
         `POST /api/v1/commissions/events` or `switchyard commission record corrected`",
        .0.amount_minor, .0.currency
    )]
    SoldOtherwise(Box<Sale>),
    /// A commission belongs to somebody.
    #[error("nobody is known to have closed the sale; name one of the agency's active agents")]
    NoAgent,
    /// The sale's commission was not taken.
    #[error(transparent)]
    Commission(RecordFault),
    /// The database's answer; `NotFound` if there is no such lead, or it is not the agency's.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<serde_json::Error> for WorkFault {
    fn from(e: serde_json::Error) -> Self {
        Self::Store(e.into())
    }
}

/// The lead as the actor may see it.
///
/// # Errors
/// [`StoreFault::NotFound`] if it may not.
pub async fn seen(tx: &mut Tx, lead: LeadId, by: &Actor) -> Result<Lead, StoreFault> {
    match by.agency {
        Some(_) => leads::get_for_agency(tx, lead).await,
        None => leads::get(tx, lead).await,
    }
}

/// The same, locked until the end of the transaction.
async fn locked(tx: &mut Tx, lead: LeadId, by: &Actor) -> Result<Lead, StoreFault> {
    let lead = leads::lock(tx, lead).await?;
    match (by.agency, lead.state) {
        (None, _) | (_, LeadState::Assigned | LeadState::Accepted) => Ok(lead),
        _ => Err(StoreFault::NotFound),
    }
}

/// Writes a note. An agency's is seen by the agency and by operators, an operator's by operators.
///
/// # Errors
/// [`StoreFault`].
pub async fn note(tx: &mut Tx, lead: LeadId, body: &str, by: &Actor) -> Result<NoteId, StoreFault> {
    let lead = seen(tx, lead, by).await?;
    let id = NoteId::new();
    let new = NewNote { id, lead: lead.id, agency: by.agency, author: &by.name, body };
    Note::add(tx, &new).await?;
    Ok(id)
}

/// Says who of the agency works on a lead.
///
/// # Errors
/// [`WorkFault::NotItsAgent`].
pub async fn hand_to(
    tx: &mut Tx,
    lead: LeadId,
    agent: Option<AgentId>,
    by: &Actor,
) -> Result<(), WorkFault> {
    locked(tx, lead, by).await?;
    match (leads::set_agent(tx, lead, agent).await, agent) {
        (Err(StoreFault::NotFound), Some(agent)) => Err(WorkFault::NotItsAgent(agent)),
        (done, _) => Ok(done?),
    }
}

/// A reminder that somebody wants.
#[derive(Clone, Debug)]
pub struct Reminder<'a> {
    /// When.
    pub due_at: DateTime<Utc>,
    /// Who is told; `None`: whoever works on the lead, else the agency.
    pub agent: Option<AgentId>,
    /// What about.
    pub note: Option<&'a str>,
}

/// Plans a reminder: the job that tells of it waits until then.
///
/// # Errors
/// [`WorkFault::NotHeld`], [`WorkFault::NotItsAgent`].
pub async fn follow_up(
    tx: &mut Tx,
    lead: LeadId,
    reminder: &Reminder<'_>,
    by: &Actor,
    cause: &Cause,
) -> Result<FollowUpId, WorkFault> {
    let lead = locked(tx, lead, by).await?;
    let (LeadState::Assigned | LeadState::Accepted, Some(agency)) = (lead.state, lead.agency)
    else {
        return Err(WorkFault::NotHeld);
    };
    let agent = reminder.agent.or(lead.agent);
    belongs(tx, agency, reminder.agent).await?;
    let id = FollowUpId::new();
    let (due_at, note, author) = (reminder.due_at, reminder.note, by.name.as_str());
    let new = NewFollowUp { id, lead: lead.id, agency, agent, due_at, note, author };
    FollowUp::plan(tx, &new).await?;
    let job = LeadFollowUp { follow_up: id };
    tx.enqueue(cause.stamp(job.due(agency, due_at)?)).await?;
    Ok(id)
}

/// Who closed a sale: whoever is named, else who works on the lead, else the only agent there is.
async fn closer(
    tx: &mut Tx,
    lead: &Lead,
    agency: AgencyId,
    named: Option<AgentId>,
) -> Result<AgentId, WorkFault> {
    belongs(tx, agency, named).await?;
    if let Some(agent) = named.or(lead.agent) {
        return Ok(agent);
    }
    let agents = switchyard_store::agents::list(tx, agency).await?;
    let active: Vec<_> = agents.iter().filter(|a| a.active).collect();
    match active[..] {
        [one] => Ok(one.id),
        _ => Err(WorkFault::NoAgent),
    }
}

async fn belongs(tx: &mut Tx, agency: AgencyId, agent: Option<AgentId>) -> Result<(), WorkFault> {
    let Some(agent) = agent else { return Ok(()) };
    let agents = switchyard_store::agents::list(tx, agency).await?;
    if agents.iter().any(|a| a.id == agent && a.active) {
        Ok(())
    } else {
        Err(WorkFault::NotItsAgent(agent))
    }
}

/// A sale as somebody tells of it.
#[derive(Clone, Debug)]
pub struct Deal<'a> {
    /// The deal's value in minor units; above 0.
    pub amount_minor: i64,
    /// What the platform earns by it, in minor units; not below 0.
    pub fee_minor: Option<i64>,
    /// ISO 4217.
    pub currency: &'a str,
    /// What was sold; `None`: what the lead asked for.
    pub product: Option<&'a str>,
    /// Who closed it; `None`: whoever works on the lead.
    pub agent: Option<AgentId>,
    /// When.
    pub sold_at: DateTime<Utc>,
}

impl Deal<'_> {
    fn is_plausible(&self) -> bool {
        let fee = self.fee_minor.is_none_or(|fee| (0..=LARGEST_AMOUNT).contains(&fee));
        fee && (1..=LARGEST_AMOUNT).contains(&self.amount_minor)
    }

    /// Whether it is the deal that was told of before. When it was sold may differ: a request that is
    /// sent again says another "now".
    fn is(&self, sale: &Sale, agent: Option<AgentId>) -> bool {
        self.amount_minor == sale.amount_minor
            && self.currency == sale.currency
            && self.fee_minor == sale.fee_minor
            && agent == sale.agent
    }
}

/// Records that a lead became a sale, and the conversion whose commission is booked by a job of the
/// same commit; gives whether that is new. The same sale twice is fine.
///
/// # Errors
/// [`WorkFault::NotAccepted`], [`WorkFault::NotItsAgent`], [`WorkFault::NoAgent`],
/// [`WorkFault::SoldOtherwise`], [`WorkFault::Amount`].
pub async fn convert(
    tx: &mut Tx,
    lead: LeadId,
    deal: &Deal<'_>,
    by: &Actor,
    cause: &Cause,
) -> Result<(bool, Sale), WorkFault> {
    let currency: Currency = deal.currency.parse().map_err(|why: String| {
        WorkFault::Fields(vec![FieldFault::new("currency", "unknown_currency", why)])
    })?;
    if !deal.is_plausible() {
        return Err(WorkFault::Amount);
    }
    let lead = locked(tx, lead, by).await?;
    let (LeadState::Accepted, Some(agency)) = (lead.state, lead.agency) else {
        return Err(WorkFault::NotAccepted(lead.state));
    };
    let agent = closer(tx, &lead, agency, deal.agent).await?;
    let new = NewSale {
        lead: lead.id,
        agency,
        agent: Some(agent),
        event: Uuid::now_v7(),
        amount_minor: deal.amount_minor,
        fee_minor: deal.fee_minor,
        currency: deal.currency,
        product: deal.product.or(lead.data.interest.as_deref()),
        sold_at: deal.sold_at,
        recorded_by: &by.name,
    };
    let (new, sale) = Sale::record(tx, &new).await?;
    if !new && !deal.is(&sale, Some(agent)) {
        return Err(WorkFault::SoldOtherwise(Box::new(sale)));
    }
    if new {
        let manager = switchyard_store::agents::manager_of(tx, agent).await?;
        let event = CommissionEvent { manager, ..converted(&lead, &sale, agent, currency) };
        conversion::record(tx, &[event], cause).await.map_err(|fault| match fault {
            RecordFault::Store(fault) => WorkFault::Store(fault),
            fault => WorkFault::Commission(fault),
        })?;
    }
    Ok((new, sale))
}

/// The sale as commissions see it.
fn converted(lead: &Lead, sale: &Sale, agent: AgentId, currency: Currency) -> CommissionEvent {
    CommissionEvent {
        id: CommissionEventId(sale.event),
        kind: EventKind::Converted,
        lead: Some(lead.id),
        agency: sale.agency,
        agent,
        manager: None,
        portal: Some(lead.portal),
        product: sale.product.as_deref().map(Box::from),
        occurred_at: sale.sold_at,
        received_at: sale.recorded_at,
        amount: Some(Money::new(sale.amount_minor, currency)),
        fee: sale.fee_minor.map(|fee| Money::new(fee, currency)),
        of: None,
    }
}

/// Gives a lead out that nobody could get before, now that it says something else.
async fn give_out(tx: &mut Tx, lead: LeadId, cause: &Cause) -> Result<(), StoreFault> {
    tx.enqueue(cause.stamp(NewJob::of(&crate::DistributeLead { lead })?)).await?;
    Ok(())
}
