//! Agents with all that their commissions follow from, held against what the ledger has for them.

use super::{Difference, MOST, PAGE, Recomputed, WrongVersion};
use crate::commission_entries::{differs, wanted};
use crate::commission_plans::Plans;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use switchyard_domain::commission::{CommissionEvent, EventKind, PeriodKey, evaluate};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use switchyard_store::commissions::{
    self, EventRow, EventState, Group, GroupId, GroupKey, PostedFor,
};
use switchyard_store::ledger::{AccountId, EntryId};
use switchyard_store::{Db, Result, Scope, Tx};

/// Some agents with all that their commissions follow from.
pub(super) struct Page {
    pub(super) last: AgentId,
    agents: u64,
    events: Vec<EventRow>,
    groups: HashMap<GroupId, Group>,
    plans: Plans,
    posted: PostedFor,
}

/// What a page came to.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) found: Recomputed,
    /// Every agent with a difference, also where not all are listed.
    pub(super) differing: BTreeSet<AgentId>,
}

/// The next agents after `after`; `None`: that were all.
pub(super) async fn read_page(
    db: &Db,
    after: Option<AgentId>,
    agency: Option<AgencyId>,
) -> Result<Option<Page>> {
    let mut tx = db.begin(Scope::Platform).await?;
    // No booking may come between the reading of the events and that of the ledger.
    commissions::freeze(&mut tx).await?;
    let agents = commissions::agents_after(&mut tx, after, agency, PAGE).await?;
    let Some((last, _)) = agents.last().copied() else { return Ok(None) };
    let own: Vec<AgentId> = agents.iter().filter(|(_, n)| *n > 0).map(|(a, _)| *a).collect();
    Ok(Some(read(db, &mut tx, last, &own).await?))
}

/// All of these agents, as one moment has it.
pub(super) async fn read(db: &Db, tx: &mut Tx, last: AgentId, own: &[AgentId]) -> Result<Page> {
    let events = commissions::events_of_agents(tx, own).await?;
    let groups = commissions::of_agents(tx, own).await?;
    let posted = commissions::posted_for(tx, own).await?;
    let agencies = events.iter().map(|row| row.event.agency).collect();
    let booked_under = groups.iter().map(|g| g.key.plan).collect::<Vec<_>>();
    // Its own transaction: it may have to write the standard plan.
    let mut plain = db.begin(Scope::Platform).await?;
    let of = own.iter().copied().collect();
    let plans = Plans::load(&mut plain, &agencies, &of, booked_under).await?;
    plain.commit().await?;
    let groups = groups.into_iter().map(|g| (g.id, g)).collect();
    Ok(Page { last, agents: own.len() as u64, events, groups, plans, posted })
}

impl Page {
    /// What the events come to, against what the ledger holds.
    pub(super) fn compare(mut self) -> Compared {
        let found = Recomputed { agents: self.agents, ..Recomputed::default() };
        let mut to = Compared { found, differing: BTreeSet::new() };
        let counts = |row: &EventRow| matches!(row.state, EventState::Booked | EventState::Refused);
        self.leave_out_undecided();
        self.events.retain(|row| counts(row) || row.event.is_decision());
        let conversions: HashMap<CommissionEventId, GroupId> = self
            .events
            .iter()
            .filter(|row| row.event.kind == EventKind::Converted)
            .filter_map(|row| Some((row.event.id, row.group.or_else(|| self.placed(&row.event))?)))
            .collect();
        let booked = self.booked();
        let mut decisions: HashMap<AgentId, Vec<CommissionEvent>> = HashMap::new();
        let mut parts: HashMap<GroupId, Vec<CommissionEvent>> = HashMap::new();
        for row in std::mem::take(&mut self.events) {
            let event = row.event;
            if event.is_decision() {
                decisions.entry(event.agent).or_default().push(event);
                continue;
            }
            to.found.events += 1;
            let root = event.of.unwrap_or(event.id);
            if let Some(group) = conversions.get(&root) {
                parts.entry(*group).or_default().push(event);
            }
        }
        for (id, events) in parts {
            self.compare_group(id, events, &decisions, &booked, &mut to);
        }
        // What is left was booked for events that come to nothing, or are not there.
        let PostedFor { events, loose } = std::mem::take(&mut self.posted);
        for (event, posting) in events {
            let all_of_it = differs(&BTreeMap::new(), Some(&posting.amounts));
            to.note(Some(posting.agent), Some(event), None, all_of_it);
        }
        for (entry, posting) in loose {
            let all_of_it = differs(&BTreeMap::new(), Some(&posting.amounts));
            to.note(Some(posting.agent), None, Some(entry), all_of_it);
        }
        to
    }

    /// An event that was refused before it had a group.
    fn placed(&self, event: &CommissionEvent) -> Option<GroupId> {
        self.plans.place(event).ok().map(|key| key.id())
    }

    /// A decision counts from the moment that it was recorded, and the ledger follows when it is booked: until
    /// then nothing can be said of its agent.
    fn leave_out_undecided(&mut self) {
        let open = |row: &&EventRow| row.event.is_decision() && row.state == EventState::Pending;
        let own: BTreeSet<AgentId> =
            self.events.iter().filter(open).map(|row| row.event.agent).collect();
        if !own.is_empty() {
            self.events.retain(|row| !own.contains(&row.event.agent));
            self.posted.events.retain(|_, posting| !own.contains(&posting.agent));
            self.posted.loose.retain(|_, posting| !own.contains(&posting.agent));
        }
    }

    /// When the conversions of lifetimes were booked: it matters for their version.
    fn booked(&self) -> HashMap<CommissionEventId, DateTime<Utc>> {
        let lifetime =
            |id: GroupId| self.groups.get(&id).is_some_and(|g| g.key.period == PeriodKey::Lifetime);
        let own = self.events.iter().filter(|row| row.group.is_some_and(lifetime));
        let conversions = own.filter(|row| row.event.kind == EventKind::Converted);
        conversions.map(|row| (row.event.id, row.first_booked())).collect()
    }

    fn compare_group(
        &mut self,
        id: GroupId,
        mut events: Vec<CommissionEvent>,
        decisions: &HashMap<AgentId, Vec<CommissionEvent>>,
        booked: &HashMap<CommissionEventId, DateTime<Utc>>,
        to: &mut Compared,
    ) {
        let conversions = events.iter().filter(|e| e.kind == EventKind::Converted);
        let Some(conversion) = conversions.min_by_key(|e| (e.occurred_at, e.id)) else {
            return;
        };
        let agent = conversion.agent;
        let key = match self.groups.get(&id).map(|group| group.key) {
            Some(stands) => {
                let since = booked.get(&conversion.id).copied();
                let since = since.unwrap_or(conversion.received_at);
                let key = self.plans.kept(&stands, conversion, since);
                to.note_version(&stands, &key);
                Ok(key)
            }
            None => self.plans.place(conversion),
        };
        events.extend(decisions.get(&agent).into_iter().flatten().cloned());
        let rules = key.and_then(|key| self.plans.rules(&key).map(|plan| (key, plan)));
        let lines = rules.and_then(|(_, plan)| evaluate(plan, &events).map_err(|f| f.to_string()));
        let lines = match lines {
            Ok(evaluation) => evaluation.lines,
            Err(why) => {
                to.found.unusable.push(format!("{agent}: {why}"));
                // That it cannot be computed does not make what is booked for it wrong.
                for event in &events {
                    self.posted.events.remove(&event.id);
                }
                return;
            }
        };
        to.found.lines += lines.len() as u64;
        for line in lines {
            let held = self.posted.events.remove(&line.event);
            let differing = differs(&wanted(&line), held.as_ref().map(|held| &held.amounts));
            to.note(Some(agent), Some(line.event), None, differing);
        }
    }
}

impl Compared {
    fn note_version(&mut self, stands: &GroupKey, first: &GroupKey) {
        if stands.version == first.version {
            return;
        }
        self.differing.insert(stands.agent);
        self.found.differing += 1;
        if self.found.versions.len() < MOST {
            self.found.versions.push(WrongVersion {
                agent: stands.agent,
                plan: stands.plan,
                stands: stands.version,
                first: first.version,
            });
        }
    }

    pub(super) fn note(
        &mut self,
        agent: Option<AgentId>,
        event: Option<CommissionEventId>,
        entry: Option<EntryId>,
        differing: Vec<(AccountId, i64, i64)>,
    ) {
        for (account, computed, booked) in differing {
            self.differing.extend(agent);
            self.found.differing += 1;
            if self.found.differences.len() < MOST {
                let difference = Difference { agent, event, entry, account, computed, booked };
                self.found.differences.push(difference);
            }
        }
    }
}
