//! `commission.recompute`: computes all commissions again from the events and holds them against the
//! ledger.

use crate::commission_batch::{BookFault, rebook};
use crate::commission_entries::{differs, wanted};
use crate::commission_plans::Plans;
use crate::fault::OrFail;
use crate::{Platform, queues};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use switchyard_domain::commission::{CommissionEvent, EventKind, evaluate};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use switchyard_queue::{Context, Job, JobError, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::commissions::{self, EventRow, EventState, Group, GroupId};
use switchyard_store::ledger::AccountId;
use switchyard_store::{Db, Result, Scope};

/// Events that are held in memory at once, but at least one agent's.
const PAGE: i64 = 10_000;
/// Differences that are listed; more are only counted.
const MOST: usize = 1000;

/// Computes commissions again from the events; all of them, or an agency's.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecomputeCommissions {
    /// Only this agency's agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agency: Option<AgencyId>,
    /// Post what differs.
    pub post: bool,
}

/// A line that the ledger does not hold as the events have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Whose.
    pub agent: AgentId,
    /// The event.
    pub event: CommissionEventId,
    /// The account.
    pub account: AccountId,
    /// What it is to have got by the event, in minor units.
    pub computed: i64,
    /// What it got.
    pub booked: i64,
}

/// What a recomputation found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recomputed {
    /// Agents.
    pub agents: u64,
    /// Events that count; what waits for its booking does not yet.
    pub events: u64,
    /// Lines.
    pub lines: u64,
    /// Events that wait for their booking, or for their conversion.
    pub waiting: i64,
    /// Differences, at most 1,000.
    pub differences: Vec<Difference>,
    /// How many there are.
    pub differing: u64,
    /// Entries that were posted for them.
    pub posted: u64,
    /// Groups whose plan cannot be used any more, each with the reason, at most 1,000.
    pub unusable: Vec<String>,
}

impl Job for RecomputeCommissions {
    type State = Platform;

    const KIND: &'static str = "commission.recompute";
    const ABOUT: &'static str =
        "Computes commissions again from the events and compares them with the ledger.";
    const QUEUE: QueueName = queues::COMMISSIONS;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Long;

    fn options(&self) -> Options {
        Options::new().unique_by_args().priority(10)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let (db, now) = (&cx.state().db, cx.clock().now());
        let step = |r: &Recomputed| {
            cx.heartbeat(format!("{} agents, {} differences", r.agents, r.differing));
        };
        let found = recompute(db, self.agency, self.post, now, step).await;
        let found = found.map_err(BookFault::into_job_error)?;
        if found.differing > 0 && !self.post {
            let first =
                found.differences.first().map(|d| format!(", the first at event {}", d.event));
            return Err(JobError::permanent(format!(
                "the ledger differs from the events in {} places{}; look with `switchyard commission \
                 recompute`, then post corrections with --post",
                found.differing,
                first.unwrap_or_default()
            )));
        }
        Ok(Outcome::DoneWith(serde_json::to_value(&found).or_fail()?))
    }
}

/// Computes again, a page of agents at a time; the next page is read while one is computed. With `post`
/// an agent whose lines differ is booked anew.
///
/// # Errors
/// If the database is not available, or corrections cannot be posted.
pub async fn recompute(
    db: &Db,
    agency: Option<AgencyId>,
    post: bool,
    now: DateTime<Utc>,
    mut step: impl FnMut(&Recomputed),
) -> Result<Recomputed, BookFault> {
    let mut all = Recomputed::default();
    let mut next = read_page(db, None, agency).await?;
    while let Some(page) = next {
        let after = page.last;
        let computing = tokio::task::spawn_blocking(move || page.compare());
        let (read, compared) = tokio::join!(read_page(db, Some(after), agency), computing);
        next = read?;
        let compared = compared?;
        let differing: BTreeSet<AgentId> = compared.differences.iter().map(|d| d.agent).collect();
        all.add(compared);
        if post {
            for agent in differing {
                let mut tx = db.begin(Scope::Platform).await?;
                let booked = rebook(&mut tx, &BTreeSet::from([agent]), now).await?;
                tx.commit().await?;
                all.posted += booked.entries as u64;
            }
        }
        step(&all);
    }
    let mut tx = db.begin(Scope::Platform).await?;
    let open = commissions::backlog(&mut tx).await?;
    all.waiting = open.pending + open.waiting;
    Ok(all)
}

impl Recomputed {
    fn add(&mut self, page: Self) {
        self.agents += page.agents;
        self.events += page.events;
        self.lines += page.lines;
        self.differing += page.differing;
        let room = MOST.saturating_sub(self.differences.len());
        self.differences.extend(page.differences.into_iter().take(room));
        let room = MOST.saturating_sub(self.unusable.len());
        self.unusable.extend(page.unusable.into_iter().take(room));
    }
}

/// Some agents with all that their commissions follow from.
struct Page {
    last: AgentId,
    agents: u64,
    events: Vec<EventRow>,
    groups: HashMap<GroupId, Group>,
    plans: Plans,
    posted: HashMap<CommissionEventId, HashMap<AccountId, i64>>,
}

async fn read_page(
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
    let events = commissions::events_of_agents(&mut tx, &own).await?;
    let groups = commissions::of_agents(&mut tx, &own).await?;
    let posted = commissions::posted_for(&mut tx, &own).await?;
    let agencies = events.iter().map(|row| row.event.agency).collect();
    let booked_under = groups.iter().map(|g| g.key.plan).collect::<Vec<_>>();
    // Its own transaction: it may have to write the standard plan.
    let mut plain = db.begin(Scope::Platform).await?;
    let of = own.iter().copied().collect();
    let plans = Plans::load(&mut plain, &agencies, &of, booked_under).await?;
    plain.commit().await?;
    let groups = groups.into_iter().map(|g| (g.id, g)).collect();
    Ok(Some(Page { last, agents: own.len() as u64, events, groups, plans, posted }))
}

impl Page {
    /// What the events come to, against what the ledger holds.
    fn compare(mut self) -> Recomputed {
        let mut found = Recomputed { agents: self.agents, ..Recomputed::default() };
        let counts = |row: &EventRow| matches!(row.state, EventState::Booked | EventState::Refused);
        self.events.retain(|row| counts(row) || row.event.is_decision());
        let conversions: HashMap<CommissionEventId, GroupId> = self
            .events
            .iter()
            .filter(|row| row.event.kind == EventKind::Converted)
            .filter_map(|row| Some((row.event.id, row.group.or_else(|| self.placed(&row.event))?)))
            .collect();
        let mut decisions: HashMap<AgentId, Vec<CommissionEvent>> = HashMap::new();
        let mut parts: HashMap<GroupId, Vec<CommissionEvent>> = HashMap::new();
        for row in std::mem::take(&mut self.events) {
            let event = row.event;
            if event.is_decision() {
                decisions.entry(event.agent).or_default().push(event);
                continue;
            }
            found.events += 1;
            let root = event.of.unwrap_or(event.id);
            if let Some(group) = conversions.get(&root) {
                parts.entry(*group).or_default().push(event);
            }
        }
        for (id, events) in parts {
            self.compare_group(id, events, &decisions, &mut found);
        }
        // What is left was booked for events that come to nothing, or are not there.
        for (event, held) in std::mem::take(&mut self.posted) {
            let none = differs(&Default::default(), Some(&held));
            found.note(none.into_iter().map(|d| (self.last, event, d)));
        }
        found
    }

    /// An event that was refused before it had a group.
    fn placed(&self, event: &CommissionEvent) -> Option<GroupId> {
        self.plans.place(event).ok().map(|key| key.id())
    }

    fn compare_group(
        &mut self,
        id: GroupId,
        mut events: Vec<CommissionEvent>,
        decisions: &HashMap<AgentId, Vec<CommissionEvent>>,
        found: &mut Recomputed,
    ) {
        let Some(conversion) = events.iter().find(|e| e.kind == EventKind::Converted) else {
            return;
        };
        let agent = conversion.agent;
        let key = match self.groups.get(&id) {
            Some(group) => Ok(group.key),
            None => self.plans.place(conversion),
        };
        events.extend(decisions.get(&agent).into_iter().flatten().cloned());
        let rules = key.and_then(|key| self.plans.rules(&key).map(|plan| (key, plan)));
        let lines = rules.and_then(|(_, plan)| evaluate(plan, &events).map_err(|f| f.to_string()));
        let lines = match lines {
            Ok(evaluation) => evaluation.lines,
            Err(why) => {
                found.unusable.push(format!("{agent}: {why}"));
                return;
            }
        };
        found.lines += lines.len() as u64;
        for line in lines {
            let held = self.posted.remove(&line.event);
            let differs = differs(&wanted(&line), held.as_ref());
            found.note(differs.into_iter().map(|d| (agent, line.event, d)));
        }
    }
}

impl Recomputed {
    fn note(
        &mut self,
        all: impl Iterator<Item = (AgentId, CommissionEventId, (AccountId, i64, i64))>,
    ) {
        for (agent, event, (account, computed, booked)) in all {
            self.differing += 1;
            if self.differences.len() < MOST {
                self.differences.push(Difference { agent, event, account, computed, booked });
            }
        }
    }
}
