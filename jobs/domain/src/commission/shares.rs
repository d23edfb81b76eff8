//! Who gets how much of a commission.

use super::arithmetic::{half_even, largest_remainder};
use super::plan::{Of, Role, Split};
use super::{CommissionEvent, Party, Percent, Share};
use crate::money::{Currency, Money};
use std::collections::BTreeMap;

/// The shares of a commission, in minor units; each party at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    pub parties: Vec<(Party, i64)>,
    /// What percentages of the deal add.
    pub on_top: i64,
    /// A manager's share of the commission went to the agency.
    pub no_manager: bool,
}

impl Shared {
    /// Shares a commission on a deal of a value; `None` beyond what an amount can hold.
    pub fn of(split: &Split, commission: i64, value: i64, deal: &CommissionEvent) -> Option<Self> {
        let mut shared = Self::default();
        let mut weights: Vec<(Party, i64)> = Vec::with_capacity(4);
        for share in split.0.iter().filter(|s| s.of == Of::Commission) {
            let party = party(share.to, deal).unwrap_or_else(|| {
                shared.no_manager = true;
                Party::Agency(deal.agency)
            });
            add(&mut weights, party, share.percent.steps())?;
        }
        let plain: Vec<i64> = weights.iter().map(|(_, weight)| *weight).collect();
        let parts = largest_remainder(commission, &plain);
        shared.parties = weights.iter().map(|(party, _)| *party).zip(parts).collect();
        for share in split.0.iter().filter(|s| s.of == Of::Deal) {
            let Some(party) = party(share.to, deal) else { continue };
            let exact = i128::from(value).checked_mul(i128::from(share.percent.steps()))?;
            let amount = half_even(exact, i128::from(Percent::HUNDRED.steps()));
            let amount = i64::try_from(amount).ok()?;
            shared.on_top = shared.on_top.checked_add(amount)?;
            add(&mut shared.parties, party, amount)?;
        }
        // Somebody gives all of it, in one posting.
        commission.checked_add(shared.on_top)?;
        Some(shared)
    }

    /// What the agent gets.
    pub fn agents(&self) -> i64 {
        let own = |(party, _): &&(Party, i64)| matches!(party, Party::Agent(_));
        self.parties.iter().find(own).map_or(0, |(_, amount)| *amount)
    }

    /// What changes from other shares to these. Parties whose share stays are left out.
    pub fn since(&self, before: &Self, currency: Currency) -> Vec<Share> {
        let mut changes = self.parties.clone();
        for (party, amount) in &before.parties {
            match changes.iter_mut().find(|(p, _)| p == party) {
                // Shares are no less than zero, so no difference overflows.
                Some((_, now)) => *now -= amount,
                None => changes.push((*party, -amount)),
            }
        }
        let changed = changes.into_iter().filter(|(_, amount)| *amount != 0);
        changed.map(|(party, n)| Share { party, amount: Money::new(n, currency) }).collect()
    }
}

/// What must be booked so that `held` becomes `due`: each party's difference, in its currency, in
/// the order of the parties. `None` beyond what an amount can hold.
#[must_use]
pub fn difference(due: &[Share], held: &[Share]) -> Option<Vec<Share>> {
    let mut sums: BTreeMap<(Party, Currency), i64> = BTreeMap::new();
    for share in due {
        let sum = sums.entry((share.party, share.amount.currency)).or_default();
        *sum = sum.checked_add(share.amount.minor)?;
    }
    for share in held {
        let sum = sums.entry((share.party, share.amount.currency)).or_default();
        *sum = sum.checked_sub(share.amount.minor)?;
    }
    let changed = sums.into_iter().filter(|(_, minor)| *minor != 0);
    let share = |((party, currency), minor)| Share { party, amount: Money::new(minor, currency) };
    Some(changed.map(share).collect())
}

/// `None`: the agent has no manager.
fn party(role: Role, deal: &CommissionEvent) -> Option<Party> {
    match role {
        Role::Agent => Some(Party::Agent(deal.agent)),
        Role::Manager => deal.manager.map(Party::Manager),
        Role::Agency => Some(Party::Agency(deal.agency)),
        Role::Platform => Some(Party::Platform),
    }
}

fn add(parties: &mut Vec<(Party, i64)>, party: Party, amount: i64) -> Option<()> {
    match parties.iter_mut().find(|(p, _)| *p == party) {
        Some((_, sum)) => *sum = sum.checked_add(amount)?,
        None => parties.push((party, amount)),
    }
    Some(())
}
