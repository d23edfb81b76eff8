//! What people tell of a deal after the sale (refunds, charge-backs, cancellations, corrections) and what
//! operators decide about an agent: recorded in the caller's transaction, checked, with whoever said so.

use crate::conversion;
use crate::line::Cause;
use chrono::{DateTime, SubsecRound, Utc};
use serde_json::json;
use switchyard_domain::commission::{
    CommissionEvent, EventKind, KindWord, LARGEST_AMOUNT, Label, Remaining, Split, remaining,
};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use switchyard_store::backups::audit;
use switchyard_store::commissions::{self, EventState, RecordFault};
use switchyard_store::leads::{self, Sale};
use switchyard_store::{StoreFault, Tx, agents};

/// What happened is told of at most ten years late.
const LATEST: chrono::TimeDelta = chrono::TimeDelta::days(3_660);
/// Characters of a tier's name.
const LONGEST_TIER: usize = 100;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The deal of this conversion.
    Conversion(CommissionEventId),
    /// The deal that this lead became.
    Lead(LeadId),
    /// All deals of an agent, from when it happened on.
    Agent(AgencyId, AgentId),
}

/// Something that happened, as somebody tells of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Makes it count once.
    pub id: CommissionEventId,
    /// What it is about.
    pub about: About,
    /// The deal has to be this agency's; `None`: whoever's it is.
    pub agency: Option<AgencyId>,
    /// What happened.
    pub kind: KindWord,
    /// In minor units: what went back of the deal's value, or its true value.
    pub amount_minor: Option<i64>,
    /// The same of the platform's fee.
    pub fee_minor: Option<i64>,
    /// Of both; `None`: the deal's.
    pub currency: Option<Currency>,
    /// The tier that an agent has from then on; `None`: by the total again.
    pub tier: Option<String>,
    /// How the deal, or the agent's deals from then on, are shared; `None`: as the plan says.
    pub split: Option<Split>,
    /// When; `None`: now.
    pub occurred_at: Option<DateTime<Utc>>,
}

/// Why it was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// Something is missing, too much, or out of range.
    #[error("{0}")]
    Unfit(String),
    /// Amounts are told in the deal's currency.
    #[error("the deal is in {deal} and this is in {told}; tell it in {deal}")]
    OtherCurrency {
        /// Of the deal.
        deal: Currency,
        /// Of what was told.
        told: Currency,
    },
    /// The lead was never sold.
    #[error("the lead was not sold; record the sale first")]
    NotSold,
    /// Everything went back already.
    #[error("nothing is left of the deal: all of it went back already")]
    NothingLeft,
    /// More went back than was there.
    #[error("{told} is more than what is left of the deal: {left}")]
    MoreThanLeft {
        /// What was told.
        told: Money,
        /// What is left.
        left: Money,
    },
    /// The agent works elsewhere.
    #[error("the agency has no agent {0}")]
    NotItsAgent(AgentId),
    /// The id was used before.
    #[error("the event {0} was recorded before; another event needs another id")]
    Known(CommissionEventId),
    /// The database's answer; `NotFound` if there is no such deal, or it is another agency's.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<RecordFault> for NotRecorded {
    fn from(fault: RecordFault) -> Self {
        match fault {
            RecordFault::OtherContent(id) => Self::Known(id),
            RecordFault::Store(fault) => Self::Store(fault),
        }
    }
}

fn unfit(why: impl Into<String>) -> NotRecorded {
    NotRecorded::Unfit(why.into())
}

/// Records what was told, who told it, and enqueues its booking. Platform scope.
///
/// # Errors
/// [`NotRecorded`].
pub async fn record(
    tx: &mut Tx,
    told: &Told,
    by: &str,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<CommissionEvent, NotRecorded> {
    told.check(now)?;
    let event = match told.about {
        About::Agent(agency, agent) => decision(tx, told, agency, agent, now).await?,
        About::Conversion(conversion) => of_deal(tx, told, conversion, now).await?,
        About::Lead(lead) => {
            let conversion = sold(tx, lead).await?;
            of_deal(tx, told, conversion, now).await?
        }
    };
    if conversion::record(tx, std::slice::from_ref(&event), cause).await?.is_empty() {
        return Err(NotRecorded::Known(event.id));
    }
    let details = json!({ "kind": told.kind, "of": event.of, "agent": event.agent });
    audit(tx, by, "commission.record", Some(&event.id.to_string()), &details).await?;
    Ok(event)
}

/// The conversion of a lead that was sold.
async fn sold(tx: &mut Tx, lead: LeadId) -> Result<CommissionEventId, NotRecorded> {
    if let Some(sale) = Sale::of_lead(tx, lead).await? {
        return Ok(CommissionEventId(sale.event));
    }
    leads::get(tx, lead).await?;
    Err(NotRecorded::NotSold)
}

async fn decision(
    tx: &mut Tx,
    told: &Told,
    agency: AgencyId,
    agent: AgentId,
    now: DateTime<Utc>,
) -> Result<CommissionEvent, NotRecorded> {
    if !agents::list(tx, agency).await?.iter().any(|a| a.id == agent) {
        return Err(NotRecorded::NotItsAgent(agent));
    }
    Ok(CommissionEvent {
        id: told.id,
        kind: told.kind()?,
        lead: None,
        agency,
        agent,
        manager: None,
        portal: None,
        product: None,
        occurred_at: told.happened(now),
        received_at: now,
        amount: None,
        fee: None,
        of: None,
    })
}

/// An event of a deal: whose it is and what it was about is the conversion's.
async fn of_deal(
    tx: &mut Tx,
    told: &Told,
    conversion: CommissionEventId,
    now: DateTime<Utc>,
) -> Result<CommissionEvent, NotRecorded> {
    // Two refunds at once could else both find enough left.
    commissions::lock_deal(tx, conversion).await?;
    let deal = commissions::event(tx, conversion).await?.event;
    let elsewhere = told.agency.is_some_and(|agency| agency != deal.agency);
    if elsewhere || deal.kind != EventKind::Converted {
        return Err(StoreFault::NotFound.into());
    }
    let occurred_at = told.happened(now);
    if occurred_at < deal.occurred_at {
        return Err(unfit("it cannot have happened before the sale"));
    }
    let (amount, fee) = told.money(&deal)?;
    let mut events = commissions::naming(tx, conversion).await?;
    events.retain(|row| row.state != EventState::Refused);
    let events: Vec<CommissionEvent> = events.into_iter().map(|row| row.event).collect();
    told.fits(remaining(&deal, &events), amount, fee)?;
    Ok(CommissionEvent {
        id: told.id,
        kind: told.kind()?,
        manager: None,
        occurred_at,
        received_at: now,
        amount,
        fee,
        of: Some(conversion),
        ..deal
    })
}

impl Told {
    /// What can be said without asking anybody.
    fn check(&self, now: DateTime<Utc>) -> Result<(), NotRecorded> {
        use KindWord as K;
        let (amount, fee) = (self.amount_minor, self.fee_minor);
        let named = amount.is_some() || fee.is_some();
        let least = i64::from(self.kind != K::Corrected);
        let fits = |minor: i64| (least..=LARGEST_AMOUNT).contains(&minor);
        let of_agent = matches!(self.about, About::Agent(..));
        let fault = match self.kind {
            K::Converted => {
                "a sale is recorded on its lead: `POST /api/v1/leads/{id}/convert`, or \
                 `switchyard leads convert`"
            }
            K::TierChanged if !of_agent => {
                "a tier is an agent's: name the agency and the agent, and no deal"
            }
            K::Refunded | K::Cancelled if named => {
                "it takes everything back, so leave the amounts out; a part of it is \
                 `refunded_partly`"
            }
            K::TierChanged | K::SplitChanged if named => "a decision has no amounts",
            K::RefundedPartly | K::Corrected if !named => {
                "the amount is missing: how much went back, or what the deal is truly worth"
            }
            kind if of_agent && !matches!(kind, K::TierChanged | K::SplitChanged) => {
                "name the deal that it is about: its lead or its conversion"
            }
            kind if self.tier.is_some() && kind != K::TierChanged => {
                "only `tier_changed` names a tier"
            }
            kind if self.split.is_some() && kind != K::SplitChanged => {
                "only `split_changed` has a split"
            }
            _ if self.currency.is_some() && !named => "a currency goes with an amount",
            _ if !amount.is_none_or(fits) || !fee.is_none_or(fits) => {
                "amounts are whole minor units up to 10^15 and not negative; what goes back is \
                 above zero"
            }
            _ if self.occurred_at.is_some_and(|at| at > now || at < now - LATEST) => {
                "it happened in the past, ten years back at most"
            }
            _ => return self.kind().map(drop),
        };
        Err(unfit(fault))
    }

    /// When it happened, to the microsecond, as the database keeps it.
    fn happened(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.occurred_at.unwrap_or(now).trunc_subsecs(6)
    }

    /// What happened, with what belongs to it.
    fn kind(&self) -> Result<EventKind, NotRecorded> {
        let tier = self.tier.as_deref().map(str::trim);
        if tier.is_some_and(|t| t.is_empty() || t.chars().count() > LONGEST_TIER) {
            return Err(unfit("a tier's name has 1 to 100 characters"));
        }
        if let Some(why) = self.split.as_ref().and_then(Split::fault) {
            return Err(unfit(why));
        }
        Ok(match self.kind {
            KindWord::Converted => EventKind::Converted,
            KindWord::Refunded => EventKind::Refunded,
            KindWord::RefundedPartly => EventKind::RefundedPartly,
            KindWord::ChargedBack => EventKind::ChargedBack,
            KindWord::Cancelled => EventKind::Cancelled,
            KindWord::Corrected => EventKind::Corrected,
            KindWord::TierChanged => EventKind::TierChanged { tier: tier.map(Label::from) },
            KindWord::SplitChanged => {
                EventKind::SplitChanged { split: self.split.clone().map(Box::new) }
            }
        })
    }

    /// Its amounts, in the deal's currency.
    fn money(&self, deal: &CommissionEvent) -> Result<(Option<Money>, Option<Money>), NotRecorded> {
        let Some(money) = deal.amount.or(deal.fee) else {
            return match self.amount_minor.or(self.fee_minor) {
                Some(_) => Err(unfit("the deal has no amount that something could go back of")),
                None => Ok((None, None)),
            };
        };
        match self.currency {
            Some(told) if told != money.currency => {
                Err(NotRecorded::OtherCurrency { deal: money.currency, told })
            }
            _ => {
                let of_deal = |minor| Money::new(minor, money.currency);
                Ok((self.amount_minor.map(of_deal), self.fee_minor.map(of_deal)))
            }
        }
    }

    /// No more goes back than is left.
    fn fits(
        &self,
        left: Remaining,
        amount: Option<Money>,
        fee: Option<Money>,
    ) -> Result<(), NotRecorded> {
        use KindWord as K;
        if matches!(self.kind, K::SplitChanged) {
            return Ok(());
        }
        let nothing = |money: Option<Money>| money.is_none_or(Money::is_zero);
        let gone = nothing(left.amount) && nothing(left.fee);
        // What was corrected to nothing by mistake is corrected again.
        match self.kind {
            _ if left.reversed => return Err(NotRecorded::NothingLeft),
            K::Corrected => return Ok(()),
            _ if gone => return Err(NotRecorded::NothingLeft),
            _ => {}
        }
        for (told, left) in [(amount, left.amount), (fee, left.fee)] {
            let Some(told) = told else { continue };
            let left = left.unwrap_or(Money::zero(told.currency));
            if told.minor > left.minor {
                return Err(NotRecorded::MoreThanLeft { told, left });
            }
        }
        Ok(())
    }
}
