//! `commission.recompute`: computes all commissions again from the events and holds them against the
//! ledger. What differs raises an alarm; corrections are posted where somebody asks for them.

mod page;

use crate::commission_batch::{BookFault, rebook};
use crate::commission_entries::differs;
use crate::fault::OrFail;
use crate::{Platform, alarms, queues};
use chrono::{DateTime, Utc};
use page::{Compared, read, read_page};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use switchyard_queue::{Context, Job, JobError, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::backups::alarms::{Severity, Wrong};
use switchyard_store::commissions::{self, PlanId};
use switchyard_store::ledger::{AccountId, EntryId};
use switchyard_store::{Db, Scope};

/// Events that are held in memory at once, but at least one agent's.
const PAGE: i64 = 10_000;
/// Differences that are listed; more are only counted.
const MOST: usize = 1000;
/// What the keys of these alarms begin with.
const ALARMS: &str = "commissions.";

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
    /// Whose; `None`: an entry that is nobody's.
    pub agent: Option<AgentId>,
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

/// A lifetime that is evaluated under another version of its plan than the one of its first deal: deals
/// came out of order before the first one chose. Posting puts it right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WrongVersion {
    /// Whose.
    pub agent: AgentId,
    /// Of which plan.
    pub plan: PlanId,
    /// The version that it stands under.
    pub stands: i32,
    /// The version of its first deal.
    pub first: i32,
}

impl WrongVersion {
    /// The lifetime, in words.
    #[must_use]
    pub fn what(&self) -> String {
        format!("the lifetime of agent {} under plan {}", self.agent, self.plan.0)
    }
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
    /// Events that wait for their booking, or for their conversion. An agent of whom a decision waits is left
    /// out.
    pub waiting: i64,
    /// Differences, at most 1,000.
    pub differences: Vec<Difference>,
    /// Lifetimes under a wrong version of their plan, at most 1,000.
    pub versions: Vec<WrongVersion>,
    /// How many there are of both.
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
        let wrong = found.wrong(self.post);
        // What one agency's books hold says nothing of the others'; who asked for it reads the job.
        if self.agency.is_none() {
            let mut tx = db.begin_job(cx.job()).await.or_fail()?;
            alarms::keep(&mut tx, cx, ALARMS, &wrong).await?;
            tx.commit().await.or_fail()?;
        }
        match wrong.into_iter().find(|w| w.severity == Severity::Critical) {
            // A dead letter: somebody has to look, and trying again finds the same.
            Some(wrong) => Err(JobError::permanent(wrong.text)),
            None => Ok(Outcome::DoneWith(serde_json::to_value(&found).or_fail()?)),
        }
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
    let mut nobodys = Compared::default();
    for (entry, amounts) in commissions::posted_for_nobody(&mut tx, agency).await? {
        let all_of_it = differs(&BTreeMap::new(), Some(&amounts));
        nobodys.note(None, None, Some(entry), all_of_it);
    }
    if post {
        all.left += nobodys.found.differing;
    }
    all.add(nobodys.found);
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
    /// What people are to be told of.
    fn wrong(&self, posted: bool) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut tell = |key: &str, severity, text| {
            wrong.push(Wrong { key: format!("{ALARMS}{key}"), severity, text });
        };
        if posted && self.left > 0 {
            let text = format!(
                "{} differences between the ledger and the events are left after posting; look with \
                 `switchyard commission recompute`, and `switchyard commission explain` tells of each",
                self.left
            );
            tell("differ", Severity::Critical, text);
        } else if self.differing > 0 && !posted {
            let line = self.differences.first().map(Difference::what);
            let first = line.or_else(|| self.versions.first().map(WrongVersion::what));
            let first = first.map(|what| format!(", the first at {what}"));
            let text = format!(
                "the ledger differs from the events in {} places{}; look with `switchyard commission \
                 recompute`, then post corrections with --post",
                self.differing,
                first.unwrap_or_default()
            );
            tell("differ", Severity::Critical, text);
        }
        if let Some(first) = self.unusable.first() {
            let text = format!(
                "commissions cannot be computed again from the events, the first of {first}; `switchyard \
                 commission recompute` lists all, `switchyard plans` shows and adds versions"
            );
            tell("unusable", Severity::Warning, text);
        }
        wrong
    }

    fn add(&mut self, page: Self) {
        self.agents += page.agents;
        self.events += page.events;
        self.lines += page.lines;
        self.differing += page.differing;
        let room = MOST.saturating_sub(self.differences.len());
        self.differences.extend(page.differences.into_iter().take(room));
        let room = MOST.saturating_sub(self.versions.len());
        self.versions.extend(page.versions.into_iter().take(room));
        let room = MOST.saturating_sub(self.unusable.len());
        self.unusable.extend(page.unusable.into_iter().take(room));
    }
}
