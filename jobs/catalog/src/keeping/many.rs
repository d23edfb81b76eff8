//! Leads of many events, kept in one transaction: locked in one order, and what is new is stored by one
//! statement.

use super::{Keeper, Kept, Open};
use std::collections::{BTreeSet, HashMap, HashSet};
use switchyard_domain::LeadId;
use switchyard_domain::duplicates::{DuplicatePolicy, PersonKey};
use switchyard_domain::mapping::Judged;
use switchyard_store::leads::{self, NewLead};
use switchyard_store::persons::{self, Claim, Claiming};
use switchyard_store::{Result, Tx};

/// Keeps the leads of these events, in their order: what stands for each is what would if each had been kept
/// alone, one after the other.
pub(crate) async fn keep_all<'a>(
    tx: &mut Tx,
    leads: Vec<(Keeper<'a>, Vec<Judged>)>,
) -> Result<Vec<(Keeper<'a>, Vec<Kept>)>> {
    let locked = lock(tx, &leads).await?;
    let mut batch = Batch::default();
    for (keeper, judged) in leads {
        batch.add(keeper, judged);
    }
    batch.claim(tx).await?;
    batch.keep(tx).await?;
    persons::unlock(tx, &locked).await?;
    Ok(batch.kept)
}

/// Locks the persons of several leads, and the leads that they may complete: one lead after the other
/// they would be locked in the order in which senders wrote them. Gives what [`persons::unlock`] needs.
async fn lock(tx: &mut Tx, leads: &[(Keeper<'_>, Vec<Judged>)]) -> Result<BTreeSet<PersonKey>> {
    if leads.iter().map(|(_, judged)| judged.len()).sum::<usize>() < 2 {
        return Ok(BTreeSet::new());
    }
    let keys = leads.iter().flat_map(|(keeper, judged)| keeper.persons(judged)).collect();
    persons::lock(tx, &keys).await?;
    let merges = |(keeper, _): &(Keeper<'_>, _)| {
        keeper.rule.is_some_and(|rule| rule.policy == DuplicatePolicy::Merge)
    };
    if leads.iter().any(merges) && !keys.is_empty() {
        let holders = persons::holders(tx, &keys).await?;
        leads::lock_all(tx, &[], &holders).await?;
    }
    Ok(keys)
}

/// The leads of a transaction on their way.
#[derive(Default)]
struct Batch<'a> {
    /// The events, and what stands for their leads so far.
    kept: Vec<(Keeper<'a>, Vec<Kept>)>,
    /// What is to be kept, with its event's place and its own in the event.
    open: Vec<(usize, usize, Open)>,
    /// Those that nobody was seen before.
    first: HashSet<LeadId>,
    /// Of `open`, what is to be stored.
    new: Vec<(usize, usize, Open)>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, keeper: Keeper<'a>, judged: Vec<Judged>) {
        let (at, mut kept) = (self.kept.len(), Vec::with_capacity(judged.len()));
        for (n, judged) in judged.into_iter().enumerate() {
            match keeper.open(i32::try_from(n).unwrap_or(i32::MAX), judged) {
                Ok(open) => {
                    // Until it is known.
                    kept.push(Kept::Refused(Vec::new()));
                    self.open.push((at, n, open));
                }
                Err(refused) => kept.push(refused),
            }
        }
        self.kept.push((keeper, kept));
    }

    /// Claims at once the persons whom one lead here is about and no other.
    async fn claim(&mut self, tx: &mut Tx) -> Result<()> {
        let mut met: HashMap<PersonKey, usize> = HashMap::new();
        for key in self.open.iter().flat_map(|(_, _, open)| &open.keys) {
            *met.entry(*key).or_default() += 1;
        }
        let mut claims = Vec::new();
        for (at, _, open) in &self.open {
            let keeper = &self.kept[*at].0;
            let Some(rule) = keeper.rule else { continue };
            if open.keys.iter().all(|key| met.get(key) == Some(&1)) {
                let (at, window) = (keeper.event.received_at, rule.window);
                claims.push(Claiming { keys: &open.keys, lead: open.id, at, window });
            }
        }
        self.first = persons::claim_all(tx, &claims).await?;
        Ok(())
    }

    async fn keep(&mut self, tx: &mut Tx) -> Result<()> {
        for (at, n, open) in std::mem::take(&mut self.open) {
            let claim = match self.first.contains(&open.id) {
                true => Claim::First,
                false => self.kept[at].0.claim(tx, &open).await?,
            };
            match claim {
                Claim::First => self.new.push((at, n, open)),
                Claim::SeenBy(first) => {
                    // It may be one of those.
                    self.store(tx).await?;
                    self.kept[at].1[n] = self.kept[at].0.met(tx, open, first).await?;
                }
            }
        }
        self.store(tx).await
    }

    /// Stores what is new. What is there already stands for what repeats it.
    async fn store(&mut self, tx: &mut Tx) -> Result<()> {
        let new = std::mem::take(&mut self.new);
        let made = match &new[..] {
            [] | [_] => HashSet::new(),
            many => {
                let leads: Vec<NewLead<'_>> = many
                    .iter()
                    .map(|(at, _, open)| NewLead {
                        of: self.kept[*at].0.event,
                        ordinal: open.ordinal,
                        data: &open.data,
                        how: open.how(),
                    })
                    .collect();
                leads::store_all(tx, &leads).await?
            }
        };
        for (at, n, open) in new {
            let keeper = &mut self.kept[at].0;
            let kept = match made.contains(&open.id) {
                true => keeper.stored(&open)?,
                false => keeper.store(tx, open).await?,
            };
            self.kept[at].1[n] = kept;
        }
        Ok(())
    }
}
