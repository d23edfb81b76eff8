//! Booking many events in one transaction: what the rules give now, less what the ledger holds.
//!
//! The usual event, a new conversion at the end of its period, needs neither other events nor the
//! ledger: the group's totals give its line. Whatever else comes makes its group be evaluated anew
//! and each line that changed be posted as a difference.

use crate::commission_entries::{Changed, cause, entry_of};
use crate::commission_gather::Batch;
use crate::commission_plans::Plans;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use switchyard_domain::commission::{
    Accumulator, CommissionEvent, EventKind, KindWord, Line, PeriodKey, Reason, evaluate,
};
use switchyard_domain::money::Money;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId, LeadId};
use switchyard_queue::JobError;
use switchyard_store::commissions::{
    self, EventRow, EventState, Group, GroupId, GroupKey, NewTotals, Settle,
};
use switchyard_store::ledger::{self, EntryId, EntryKind, NewEntry, PostFault};
use switchyard_store::{StoreFault, Tx};

/// Why a batch was not booked.
#[derive(Debug, thiserror::Error)]
pub enum BookFault {
    /// The ledger refused the entries.
    #[error(transparent)]
    Post(#[from] PostFault),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// A computation was broken off.
    #[error("the computation was broken off; run it again")]
    Stopped(#[from] tokio::task::JoinError),
    /// Totals could not be written.
    #[error("the totals of a group cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl BookFault {
    /// What a job does about it.
    #[must_use]
    pub fn into_job_error(self) -> JobError {
        match self {
            Self::Store(fault) | Self::Post(PostFault::Store(fault)) => fault.into_job_error(),
            other => JobError::retry(other),
        }
    }
}

/// A conversion that was booked for the first time.
#[derive(Clone, Debug)]
pub struct NewCommission {
    /// Its entry.
    pub entry: EntryId,
    /// Of which lead.
    pub lead: Option<LeadId>,
    /// Of which agency.
    pub agency: AgencyId,
    /// All shares together.
    pub amount: Money,
    /// When it was booked.
    pub at: DateTime<Utc>,
}

/// What a batch came to.
#[derive(Clone, Debug, Default)]
pub struct Booked {
    /// Commissions that are new.
    pub conversions: Vec<NewCommission>,
    /// Entries that were posted.
    pub entries: usize,
    waiting: BTreeMap<CommissionEventId, CommissionEventId>,
}

impl Booked {
    /// The conversion that this event waits for, if it does.
    #[must_use]
    pub fn waits_for(&self, event: CommissionEventId) -> Option<CommissionEventId> {
        self.waiting.get(&event).copied()
    }
}

/// Books events that this transaction has locked. Locks their agents.
pub(crate) async fn book(
    tx: &mut Tx,
    taken: Vec<EventRow>,
    now: DateTime<Utc>,
) -> Result<Booked, BookFault> {
    let mut batch = Batch::gather(tx, taken).await?;
    let agents = batch.agents();
    commissions::lock_agents(tx, &agents).await?;
    let mut work = Work::prepare(tx, &mut batch, &agents, false).await?;
    work.run(tx).await?;
    batch.settled.append(&mut work.settled);
    write(tx, batch, work, EntryKind::Commission, now).await
}

/// Evaluates every group of these agents anew, with the deals that no plan could be used for before, and
/// posts what differs. Locks the agents.
pub(crate) async fn rebook(
    tx: &mut Tx,
    agents: &BTreeSet<AgentId>,
    now: DateTime<Utc>,
) -> Result<Booked, BookFault> {
    let refused = commissions::refused_ungrouped(tx, agents).await?;
    let mut batch = Batch::gather(tx, refused).await?;
    batch.deals.retain(|(_, root)| agents.contains(&root.event.agent));
    commissions::lock_agents(tx, agents).await?;
    let mut work = Work::prepare(tx, &mut batch, agents, true).await?;
    let own: Vec<AgentId> = agents.iter().copied().collect();
    for group in commissions::of_agents(tx, &own).await? {
        work.add_existing(group);
    }
    work.run(tx).await?;
    batch.settled.append(&mut work.settled);
    write(tx, batch, work, EntryKind::Correction, now).await
}

async fn write(
    tx: &mut Tx,
    batch: Batch,
    work: Work,
    kind: EntryKind,
    now: DateTime<Utc>,
) -> Result<Booked, BookFault> {
    let mut entries: Vec<NewEntry> = Vec::with_capacity(work.changed.len());
    let mut first = Vec::new();
    for changed in &work.changed {
        if let Some(entry) = entry_of(changed, kind) {
            let total =
                changed.line.as_ref().filter(|l| l.kind == KindWord::Converted && changed.is_new());
            first.push(total.and_then(|l| Some((l, l.commission.plus(l.on_top)?))));
            entries.push(entry);
        }
    }
    let mut booked = Booked { waiting: batch.waiting, entries: entries.len(), ..Booked::default() };
    let posted = ledger::post(tx, &entries).await?;
    for (posted, first) in posted.iter().zip(first) {
        if let Some((line, amount)) = first {
            let (lead, agency) = (line.lead, line.agency);
            booked.conversions.push(NewCommission {
                entry: posted.id,
                lead,
                agency,
                amount,
                at: now,
            });
        }
    }
    commissions::save(tx, &work.saved).await?;
    commissions::settle(tx, &batch.settled).await?;
    Ok(booked)
}

/// The first conversion of events in the order of time.
fn first_deal(sorted: &[CommissionEvent]) -> Option<&CommissionEvent> {
    sorted.iter().find(|e| e.kind == EventKind::Converted)
}

/// A group with what is new in it.
struct Part {
    key: GroupKey,
    standing: Option<Group>,
    new: Vec<CommissionEvent>,
}

/// What is to be evaluated, and what came of it.
struct Work {
    /// What stands is computed again.
    again: bool,
    plans: Plans,
    decisions: Vec<EventRow>,
    /// Decisions that are new.
    decided: Vec<CommissionEvent>,
    parts: BTreeMap<GroupId, Part>,
    changed: Vec<Changed>,
    saved: Vec<NewTotals>,
    settled: Vec<Settle>,
}

impl Work {
    async fn prepare(
        tx: &mut Tx,
        batch: &mut Batch,
        agents: &BTreeSet<AgentId>,
        again: bool,
    ) -> Result<Self, BookFault> {
        let known: BTreeSet<GroupId> =
            batch.deals.iter().filter_map(|(_, root)| root.group).collect();
        let mut standing = commissions::groups_by_id(tx, &Vec::from_iter(known)).await?;
        if again || !batch.decisions.is_empty() {
            standing.extend(commissions::of_agents(tx, &Vec::from_iter(agents.clone())).await?);
        }
        let decisions = commissions::decisions(tx, agents).await?;
        let mut agencies: BTreeSet<AgencyId> =
            batch.deals.iter().map(|(_, root)| root.event.agency).collect();
        agencies.extend(decisions.iter().map(|d| d.event.agency));
        let booked_under: Vec<_> = standing.iter().map(|g| g.key.plan).collect();
        let plans = Plans::load(tx, &agencies, agents, booked_under).await?;
        let own: Vec<GroupKey> = standing.iter().map(|g| g.key).collect();
        let mut work = Self {
            again,
            plans,
            decisions,
            decided: batch.decisions.iter().map(|d| d.event.clone()).collect(),
            parts: BTreeMap::new(),
            changed: Vec::new(),
            saved: Vec::new(),
            settled: Vec::new(),
        };
        let decided: BTreeSet<AgentId> = batch.decisions.iter().map(|d| d.event.agent).collect();
        let mut by_id: HashMap<GroupId, Group> = standing.into_iter().map(|g| (g.id, g)).collect();
        for group in by_id.values().filter(|g| decided.contains(&g.key.agent)) {
            work.add_existing(group.clone());
        }
        work.add_deals(tx, batch, &mut by_id).await?;
        work.decide(&std::mem::take(&mut batch.decisions), &own);
        Ok(work)
    }

    /// A decision stands for its agent's deals from then on, also where there are none yet, if a plan can
    /// use it. One that was refused stands from the moment that the agent has a plan that can.
    fn decide(&mut self, new: &[EventRow], own: &[GroupKey]) {
        let refused = self.decisions.iter().filter(|d| d.state == EventState::Refused);
        for row in new.iter().chain(refused) {
            let (state, reason) = match self.plans.judge(&row.event, own) {
                Ok(()) => (EventState::Booked, None),
                Err(why) => (EventState::Refused, Some(why)),
            };
            if row.state != state {
                self.settled.push(Settle { id: row.event.id, state, group: None, reason });
            }
        }
    }

    async fn add_deals(
        &mut self,
        tx: &mut Tx,
        batch: &mut Batch,
        by_id: &mut HashMap<GroupId, Group>,
    ) -> Result<(), BookFault> {
        let mut placed = Vec::with_capacity(batch.deals.len());
        for (row, root) in std::mem::take(&mut batch.deals) {
            let standing = root.group.and_then(|id| by_id.get(&id));
            let key = match standing {
                Some(group) => Ok(group.key),
                None => self.plans.place(&root.event),
            };
            match key.and_then(|key| self.plans.rules(&key).map(|_| key)) {
                Ok(key) => placed.push((key, row.event)),
                Err(why) => self.refuse(row.event.id, why),
            }
        }
        let missing: BTreeSet<GroupId> =
            placed.iter().map(|(key, _)| key.id()).filter(|id| !by_id.contains_key(id)).collect();
        let found = commissions::groups_by_id(tx, &Vec::from_iter(missing)).await?;
        by_id.extend(found.into_iter().map(|g| (g.id, g)));
        for (key, event) in placed {
            let id = key.id();
            let standing = by_id.get(&id).cloned();
            // A period keeps the version that it began with.
            let key = standing.as_ref().map_or(key, |g| g.key);
            let part = self.parts.entry(id).or_insert(Part { key, standing, new: Vec::new() });
            part.new.push(event);
        }
        Ok(())
    }

    /// A group that is evaluated anew though nothing in it is new.
    fn add_existing(&mut self, group: Group) {
        let part = Part { key: group.key, standing: Some(group.clone()), new: Vec::new() };
        let part = self.parts.entry(group.id).or_insert(part);
        // Its totals do not count any more.
        if let Some(standing) = &mut part.standing {
            standing.totals = None;
        }
    }

    async fn run(&mut self, tx: &mut Tx) -> Result<(), BookFault> {
        let mut anew = Vec::new();
        for (id, mut part) in std::mem::take(&mut self.parts) {
            part.new.sort_by_key(|e| (e.occurred_at, e.id));
            if part.standing.is_none()
                && let Some(first) = first_deal(&part.new)
            {
                part.key = self.plans.begun_with(&part.key, first);
            }
            if !self.advance(&part)? {
                anew.push((id, part));
            }
        }
        if anew.is_empty() {
            return Ok(());
        }
        let ids: Vec<GroupId> = anew.iter().map(|(id, _)| *id).collect();
        let mut events: HashMap<GroupId, Vec<EventRow>> = HashMap::new();
        for row in commissions::in_groups(tx, &ids).await? {
            if let Some(group) = row.group {
                events.entry(group).or_default().push(row);
            }
        }
        let mut touched: Vec<CommissionEventId> =
            events.values().flatten().map(|r| r.event.id).collect();
        touched.extend(anew.iter().flat_map(|(_, part)| part.new.iter().map(|e| e.id)));
        let mut held = ledger::held(tx, &touched).await?;
        for (id, mut part) in anew {
            let old = events.remove(&id).unwrap_or_default();
            self.begin_again(&mut part, &old);
            self.evaluate(id, &part, old, &mut held)?;
        }
        Ok(())
    }

    /// Goes on from the group's totals; whether that was possible.
    fn advance(&mut self, part: &Part) -> Result<bool, BookFault> {
        let Ok(plan) = self.plans.rules(&part.key) else { return Ok(false) };
        let (agent, period) = (part.key.agent, part.key.period);
        let totals = match &part.standing {
            Some(Group { totals: Some(totals), .. }) => {
                serde_json::from_value::<Accumulator>(totals.clone()).ok()
            }
            Some(_) => None,
            None => {
                let own = self.decisions.iter().map(|d| d.event.clone()).collect::<Vec<_>>();
                Some(Accumulator::open(plan, agent, period, &own))
            }
        };
        let Some(mut totals) = totals else { return Ok(false) };
        let mut lines = Vec::with_capacity(part.new.len());
        for event in &part.new {
            match totals.advance(plan, event) {
                Some(line) => lines.push(line),
                None => return Ok(false),
            }
        }
        let before = part.standing.as_ref().map_or(0, |g| g.events);
        let count = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        self.saved.push(NewTotals {
            key: part.key,
            newest: totals.newest,
            totals: Some(serde_json::to_value(&totals)?),
            events: before.saturating_add(count),
        });
        for (event, line) in part.new.iter().zip(lines) {
            self.book(part.key.id(), event.id);
            self.changed.push(Changed::first(part.key, event.clone(), line));
        }
        Ok(true)
    }

    fn refuse(&mut self, id: CommissionEventId, why: String) {
        let state = EventState::Refused;
        self.settled.push(Settle { id, state, group: None, reason: Some(why) });
    }

    fn book(&mut self, group: GroupId, id: CommissionEventId) {
        let state = EventState::Booked;
        self.settled.push(Settle { id, state, group: Some(group), reason: None });
    }

    /// A lifetime keeps the version of its first deal. If a deal came that is earlier than all before, that
    /// one's version counts, so that it does not matter in which order they come. Versions that were added
    /// since change nothing: whoever was first before stays under the version of then. Only what is computed
    /// again gets that one back where it stands under another.
    fn begin_again(&self, part: &mut Part, old: &[EventRow]) {
        if part.key.period != PeriodKey::Lifetime {
            return;
        }
        let place = |e: &CommissionEvent| (e.occurred_at, e.id);
        let new = first_deal(&part.new);
        let before = old.iter().filter(|row| row.event.kind == EventKind::Converted);
        let before = before.filter(|row| part.new.iter().all(|n| n.id != row.event.id));
        let before = before.min_by_key(|row| place(&row.event));
        let is_first = |new: &CommissionEvent| before.is_none_or(|b| place(new) < place(&b.event));
        match (new.filter(|new| is_first(new)), before) {
            (Some(first), _) => part.key = self.plans.begun_with(&part.key, first),
            (None, Some(first)) if self.again => {
                part.key = self.plans.kept(&part.key, &first.event, first.first_booked());
            }
            (None, _) => {}
        }
    }

    fn evaluate(
        &mut self,
        id: GroupId,
        part: &Part,
        old: Vec<EventRow>,
        held: &mut HashMap<CommissionEventId, ledger::Held>,
    ) -> Result<(), BookFault> {
        let new: BTreeSet<CommissionEventId> = part.new.iter().map(|e| e.id).collect();
        let mut states: HashMap<CommissionEventId, EventState> = HashMap::new();
        let mut events: Vec<CommissionEvent> = part.new.clone();
        for row in old.into_iter().filter(|row| !new.contains(&row.event.id)) {
            states.insert(row.event.id, row.state);
            events.push(row.event);
        }
        let facts = events.len();
        let decided = self.decided.iter().filter(|d| d.agent == part.key.agent);
        let decided: Vec<CommissionEvent> = decided.cloned().collect();
        let own = self.decisions.iter().filter(|d| d.event.agent == part.key.agent);
        events.extend(own.map(|d| d.event.clone()));
        let rules = self.plans.rules(&part.key);
        let found = match rules.and_then(|plan| evaluate(plan, &events).map_err(|f| f.to_string()))
        {
            Ok(found) => found,
            Err(why) => {
                // What is new made it impossible; it is refused, and the group stays as it was.
                new.into_iter().for_each(|id| self.refuse(id, why.clone()));
                return Ok(());
            }
        };
        let mut lines: HashMap<CommissionEventId, Line> =
            found.lines.into_iter().map(|line| (line.event, line)).collect();
        let refused: HashMap<CommissionEventId, Reason> =
            found.refusals.into_iter().map(|r| (r.event, r.reason)).collect();
        for event in &events[..facts] {
            let reason = refused.get(&event.id);
            let state = if reason.is_some() { EventState::Refused } else { EventState::Booked };
            if states.get(&event.id) != Some(&state) {
                let reason = reason.map(ToString::to_string);
                self.settled.push(Settle { id: event.id, state, group: Some(id), reason });
            }
            let held = held.remove(&event.id).unwrap_or_default();
            let line = lines.remove(&event.id);
            let cause = cause(&part.new, &decided, event.of.unwrap_or(event.id));
            self.changed.push(Changed { key: part.key, event: event.clone(), line, held, cause });
        }
        let totals = found.accumulators.into_iter().find(|a| a.period == part.key.period);
        self.saved.push(NewTotals {
            key: part.key,
            newest: totals.as_ref().and_then(|t| t.newest),
            totals: totals.map(serde_json::to_value).transpose()?,
            events: i64::try_from(facts).unwrap_or(i64::MAX),
        });
        Ok(())
    }
}
