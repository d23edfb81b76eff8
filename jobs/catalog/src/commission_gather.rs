//! What a transaction books: events sorted by what they are, each with its conversion.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use switchyard_domain::commission::{CommissionEvent, EventKind, Reason};
use switchyard_domain::{AgentId, CommissionEventId};
use switchyard_store::commissions::{self, EventRow, EventState, Settle};
use switchyard_store::{Result, Tx};

/// The events of a transaction, sorted by what they are.
#[derive(Default)]
pub(crate) struct Batch {
    /// Conversions and what names one, each with its conversion.
    pub(crate) deals: Vec<(EventRow, EventRow)>,
    pub(crate) decisions: Vec<EventRow>,
    pub(crate) settled: Vec<Settle>,
    pub(crate) waiting: BTreeMap<CommissionEventId, CommissionEventId>,
}

impl Batch {
    /// With these, what waits for their conversions.
    pub(crate) async fn gather(tx: &mut Tx, taken: Vec<EventRow>) -> Result<Self> {
        let mut all: BTreeMap<CommissionEventId, EventRow> =
            taken.into_iter().map(|row| (row.event.id, row)).collect();
        let conversions: Vec<CommissionEventId> = all
            .values()
            .filter(|row| row.event.kind == EventKind::Converted)
            .map(|row| row.event.id)
            .collect();
        if !conversions.is_empty() {
            let followers = commissions::followers(tx, &conversions).await?;
            all.extend(followers.into_iter().map(|row| (row.event.id, row)));
        }
        let named: BTreeSet<CommissionEventId> = all
            .values()
            .filter_map(|row| row.event.of)
            .filter(|of| !all.contains_key(of))
            .collect();
        let mut roots: HashMap<CommissionEventId, EventRow> = HashMap::new();
        if !named.is_empty() {
            let found = commissions::roots(tx, &Vec::from_iter(named)).await?;
            roots.extend(found.into_iter().map(|row| (row.event.id, row)));
        }
        let mut batch = Self::default();
        for row in all.values() {
            batch.sort(row, &all, &roots);
        }
        Ok(batch)
    }

    fn sort(
        &mut self,
        row: &EventRow,
        all: &BTreeMap<CommissionEventId, EventRow>,
        roots: &HashMap<CommissionEventId, EventRow>,
    ) {
        let event = &row.event;
        if event.is_decision() {
            self.decisions.push(row.clone());
            return;
        }
        if event.kind == EventKind::Converted {
            self.deals.push((row.clone(), row.clone()));
            return;
        }
        let Some(of) = event.of else {
            self.settle(event, EventState::Refused, Reason::OfMissing.to_string());
            return;
        };
        let in_batch = all.get(&of);
        match in_batch.or_else(|| roots.get(&of)) {
            Some(root) if root.event.kind != EventKind::Converted => {
                self.settle(event, EventState::Refused, Reason::OfMissing.to_string());
            }
            Some(root) if in_batch.is_some() || root.group.is_some() => {
                self.deals.push((row.clone(), root.clone()));
            }
            Some(root) if root.state == EventState::Refused => {
                self.settle(event, EventState::Refused, Reason::ConversionRefused.to_string());
            }
            _ => {
                self.waiting.insert(event.id, of);
                self.settle(event, EventState::Waiting, Reason::ConversionMissing.to_string());
            }
        }
    }

    fn settle(&mut self, event: &CommissionEvent, state: EventState, reason: String) {
        self.settled.push(Settle { id: event.id, state, group: None, reason: Some(reason) });
    }

    /// Whose commissions may change.
    pub(crate) fn agents(&self) -> BTreeSet<AgentId> {
        let deals = self.deals.iter().map(|(_, root)| root.event.agent);
        deals.chain(self.decisions.iter().map(|row| row.event.agent)).collect()
    }
}
