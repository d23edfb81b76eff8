//! `commission.recompute`: computes all commissions again from the events and holds them against the
//! ledger.

use crate::commission_batch::{BookFault, rebook};
use crate::commission_entries::{differs, wanted};
use crate::commission_plans::Plans;
use crate::fault::OrFail;
use crate::{Platform, queues};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use switchyard_domain::commission::{CommissionEvent, EventKind, evaluate};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use switchyard_queue::{Context, Job, JobError, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::commissions::{self, EventRow, EventState, Group, GroupId, PostedFor};
use switchyard_store::ledger::{AccountId, EntryId};
use switchyard_store::{Db, Result, Scope, Tx};

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
    /// The event; `None`: an entry that names none.
    pub event: Option<CommissionEventId>,
    /// That entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryId>,
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
    /// Differences that are there after posting: no event of a group explains them, so people have to look.
    pub left: u64,
    /// Groups whose plan cannot be used any more, each with the reason, at most 1,000.
    pub unusable: Vec<String>,
}

impl Difference {
    /// The event or the entry, in words.
    #[must_use]
    pub fn what(&self) -> String {
        match (self.event, self.entry) {
            (Some(event), _) => format!("event {event}"),
            (None, Some(entry)) => format!("entry {}", entry.0),
            (None, None) => "an unknown entry".to_owned(),
        }
    }
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
        if self.post && found.left > 0 {
            return Err(JobError::permanent(format!(
                "{} differences between the ledger and the events are left after posting; look with \
                 `switchyard commission recompute`, and `switchyard commission explain` tells of each",
                found.left
            )));
        }
        if found.differing > 0 && !self.post {
            let first = found.differences.first().map(|d| format!(", the first at {}", d.what()));
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
        let Compared { found, differing } = compared?;
        all.add(found);
        if post {
            for agent in differing {
                let mut tx = db.begin(Scope::Platform).await?;
                let booked = rebook(&mut tx, &BTreeSet::from([agent]), now).await?;
                tx.commit().await?;
                all.posted += booked.entries as u64;
                all.left += left(db, agent).await?;
            }
        }
        step(&all);
    }
    let mut tx = db.begin(Scope::Platform).await?;
    let open = commissions::backlog(&mut tx).await?;
    all.waiting = open.pending + open.waiting;
    Ok(all)
}

/// Differences of an agent as they are now.
async fn left(db: &Db, agent: AgentId) -> Result<u64, BookFault> {
    let mut tx = db.begin(Scope::Platform).await?;
    commissions::freeze(&mut tx).await?;
    let page = read(db, &mut tx, agent, &[agent]).await?;
    Ok(tokio::task::spawn_blocking(move || page.compare()).await?.found.differing)
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
    posted: PostedFor,
}

/// What a page came to.
struct Compared {
    found: Recomputed,
    /// Every agent with a difference, also where not all are listed.
    differing: BTreeSet<AgentId>,
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
    Ok(Some(read(db, &mut tx, last, &own).await?))
}

/// All of these agents, as one moment has it.
async fn read(db: &Db, tx: &mut Tx, last: AgentId, own: &[AgentId]) -> Result<Page> {
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
    fn compare(mut self) -> Compared {
        let found = Recomputed { agents: self.agents, ..Recomputed::default() };
        let mut to = Compared { found, differing: BTreeSet::new() };
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
            to.found.events += 1;
            let root = event.of.unwrap_or(event.id);
            if let Some(group) = conversions.get(&root) {
                parts.entry(*group).or_default().push(event);
            }
        }
        for (id, events) in parts {
            self.compare_group(id, events, &decisions, &mut to);
        }
        // What is left was booked for events that come to nothing, or are not there.
        let PostedFor { events, loose } = std::mem::take(&mut self.posted);
        for (event, posting) in events {
            to.note(
                posting.agent,
                Some(event),
                None,
                differs(&BTreeMap::new(), Some(&posting.amounts)),
            );
        }
        for (entry, posting) in loose {
            to.note(
                posting.agent,
                None,
                Some(entry),
                differs(&BTreeMap::new(), Some(&posting.amounts)),
            );
        }
        to
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
        to: &mut Compared,
    ) {
        let conversions = events.iter().filter(|e| e.kind == EventKind::Converted);
        let Some(conversion) = conversions.min_by_key(|e| (e.occurred_at, e.id)) else {
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
            to.note(agent, Some(line.event), None, differing);
        }
    }
}

impl Compared {
    fn note(
        &mut self,
        agent: AgentId,
        event: Option<CommissionEventId>,
        entry: Option<EntryId>,
        differing: Vec<(AccountId, i64, i64)>,
    ) {
        for (account, computed, booked) in differing {
            self.differing.insert(agent);
            self.found.differing += 1;
            if self.found.differences.len() < MOST {
                let difference = Difference { agent, event, entry, account, computed, booked };
                self.found.differences.push(difference);
            }
        }
    }
}
