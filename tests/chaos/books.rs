//! The tables after a storm, held against what the witness heard.

use crate::herd::Herd;
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;
use switchyard_queue::{Job, JobId};
use switchyard_tests::chaos::{Commit, Effect, Sleep};
use uuid::Uuid;

/// The figures of one storm.
pub struct Found {
    /// Jobs that were enqueued.
    pub accepted: usize,
    /// Those that were done.
    pub completed: usize,
    /// Those that are in no table any more.
    pub lost: usize,
    /// Calls that came a second time.
    pub called_twice: usize,
    /// Jobs that were put aside as if they took their workers down.
    pub quarantined: i64,
    /// Effects that a kill interrupted: their jobs were cancelled, as in doubt.
    pub unknown: usize,
    /// Runs that the store refused, all of them in workers that were killed or frozen.
    pub refused: usize,
    /// Jobs that were begun more than once.
    pub begun_again: usize,
    starts: HashMap<u32, usize>,
    /// From the kill of a worker until its job ran again, the shortest first.
    pub resumed: Vec<Duration>,
    /// What must not be.
    faults: Vec<String>,
}

/// How many jobs are to run or running; those put aside are not.
pub async fn open(owner: &mut PgConnection) -> anyhow::Result<i64> {
    let open = "select count(*) from engine.jobs where stage < 2 and kind like 'chaos.%'
                and kind <> 'chaos.note'";
    Ok(sqlx::query_scalar(open).fetch_one(owner).await?)
}

/// One finished job.
struct Ended {
    kind: String,
    /// JobState's number: 8 completed, 9 cancelled.
    outcome: i16,
    error: Option<String>,
}

struct Tables {
    history: HashMap<Uuid, Ended>,
    /// Effects by key: their state, and the job and fence of the intent or result.
    effects: BTreeMap<String, (String, Uuid, i64)>,
    /// Claims that ended because their worker vanished, and in which process that was.
    crashes: HashMap<(Uuid, i64), u32>,
    /// What the commits wrote, by the job's number.
    notes: BTreeMap<u32, i64>,
    /// In quarantine.
    quarantined: i64,
    /// In no state to run and not in history.
    left: BTreeSet<Uuid>,
    faults: Vec<String>,
}

impl Tables {
    async fn read(owner: &mut PgConnection) -> anyhow::Result<Self> {
        let mut faults = Vec::new();
        let rows: Vec<(Uuid, String, i16, Option<String>)> = sqlx::query_as(
            "select id, kind, outcome, error from engine.job_history where kind like 'chaos.%'",
        )
        .fetch_all(&mut *owner)
        .await?;
        let mut history = HashMap::new();
        for (id, kind, outcome, error) in rows {
            if history.insert(id, Ended { kind, outcome, error }).is_some() {
                faults.push(format!("job {id} ended twice"));
            }
        }
        let left: Vec<(Uuid, String, i16, Option<String>)> = sqlx::query_as(
            "select id, kind, stage, last_error from engine.jobs
             where kind like 'chaos.%' and kind <> 'chaos.note'",
        )
        .fetch_all(&mut *owner)
        .await?;
        faults.extend(left.iter().map(|l| format!("put aside or left: {l:?}")));
        // See the stages in migration 0001.
        let quarantined = left.iter().filter(|l| l.2 == 4).count() as i64;
        let left = left.into_iter().map(|l| l.0).collect();
        let effects: Vec<(String, String, Uuid, i64)> =
            sqlx::query_as("select key, state, job_id, fence from engine.effects")
                .fetch_all(&mut *owner)
                .await?;
        let crashes: Vec<(Uuid, i64, i32)> = sqlx::query_as(
            "select a.job_id, a.fence, w.pid from engine.job_attempts a
             join engine.workers w on w.id = a.worker where a.outcome = 'crash'",
        )
        .fetch_all(&mut *owner)
        .await?;
        let notes: Vec<(i32, i64)> = sqlx::query_as(
            "select (args->>'n')::int, count(*) from engine.jobs where kind = 'chaos.note' group by 1",
        )
        .fetch_all(&mut *owner)
        .await?;
        Ok(Self {
            history,
            effects: effects.into_iter().map(|(key, s, id, fence)| (key, (s, id, fence))).collect(),
            crashes: crashes.into_iter().map(|(id, f, pid)| ((id, f), pid as u32)).collect(),
            notes: notes.into_iter().map(|(n, count)| (n as u32, count)).collect(),
            quarantined,
            left,
            faults,
        })
    }

    /// What does not fit about one job. `calls`: how often its call came to the socket. `far`: claims
    /// of its that a process had which may have lost the database without dying.
    fn misfits(&self, n: u32, id: JobId, calls: u32, far: &[i64]) -> Option<String> {
        let Some(ended) = self.history.get(&id.0) else { return Some("lost".to_owned()) };
        let completed = ended.outcome == 8;
        let effect = self.effects.get(&Effect::key(n));
        let state = effect.map(|(state, ..)| state.as_str());
        let fits = match ended.kind.as_str() {
            Sleep::KIND => completed,
            Commit::KIND => completed && self.notes.get(&n) == Some(&1),
            Effect::KIND if completed => state == Some("done") && calls == 1,
            // In doubt. That must be some kill's doing, or the network's: the attempt that had the
            // intent vanished, or heard no more of the database.
            Effect::KIND => {
                let vanished = |id: &Uuid, fence: &i64| {
                    self.crashes.contains_key(&(*id, *fence)) || far.contains(fence)
                };
                let interrupted = effect.is_some_and(|(_, id, fence)| vanished(id, fence));
                state == Some("unknown") && calls <= 1 && interrupted
            }
            _ => false,
        };
        let Ended { kind, outcome, error } = ended;
        (!fits).then(|| {
            let notes = self.notes.get(&n);
            format!("{kind} {outcome} {error:?}, effect {effect:?}, {calls} calls, notes {notes:?}")
        })
    }
}

/// Counts everything. `jobs`: what was accepted, by the test's number.
pub async fn audit(herd: &Herd, jobs: &BTreeMap<u32, JobId>) -> anyhow::Result<Found> {
    let mut tables = Tables::read(&mut herd.test.owner().await).await?;
    let heard = herd.witness.heard();
    let mut faults = std::mem::take(&mut tables.faults);
    faults.extend(heard.faults.iter().cloned());
    let mut far: HashMap<u32, Vec<i64>> = HashMap::new();
    for run in heard.runs.iter().filter(|r| herd.far.contains(&r.pid)) {
        far.entry(run.n).or_default().push(run.fence);
    }
    for (n, id) in jobs {
        let calls = heard.calls.get(n).copied().unwrap_or_default();
        let far = far.get(n).map_or(&[][..], Vec::as_slice);
        faults.extend(tables.misfits(*n, *id, calls, far).map(|fault| format!("job {n}: {fault}")));
    }
    let known: BTreeSet<Uuid> = jobs.values().map(|id| id.0).collect();
    let ours = |claim: &(Uuid, i64)| known.contains(&claim.0);
    let robbed =
        tables.crashes.iter().filter(|(claim, pid)| ours(claim) && !heard.harmed.contains(pid));
    faults.extend(robbed.map(|(claim, pid)| format!("{claim:?} was taken from {pid}, alive")));
    let strangers = tables.history.keys().filter(|id| !known.contains(id));
    faults.extend(strangers.map(|id| format!("nobody enqueued {id}")));

    let count = |outcome| tables.history.values().filter(|e| e.outcome == outcome).count();
    let gone = |id: &&Uuid| !tables.history.contains_key(*id) && !tables.left.contains(*id);
    let starts_of = heard.starts_of_all();
    let mut resumed = heard.resumed.clone();
    resumed.sort_unstable();
    Ok(Found {
        accepted: jobs.len(),
        completed: count(8),
        lost: known.iter().filter(gone).count(),
        called_twice: heard.calls.values().filter(|calls| **calls > 1).count(),
        quarantined: tables.quarantined,
        unknown: count(9),
        refused: heard.runs.iter().filter(|r| r.refused).count(),
        begun_again: heard.begun_again(),
        starts: starts_of,
        resumed,
        faults,
    })
}

impl Found {
    /// How often a job was begun.
    pub fn starts(&self, n: u32) -> usize {
        self.starts.get(&n).copied().unwrap_or_default()
    }

    /// Fails if anything was lost, done twice, or put aside.
    pub fn judge(&self) {
        let some = &self.faults[..self.faults.len().min(10)];
        assert!(some.is_empty(), "{} faults, among them {some:#?}", self.faults.len());
        assert_eq!(self.accepted, self.completed + self.unknown);
    }

    /// How long the jobs of killed workers lay, at this share of them; milliseconds.
    pub fn at(&self, share: f64) -> u128 {
        let index = (self.resumed.len().max(1) - 1) as f64 * share;
        self.resumed.get(index.round() as usize).map_or(0, Duration::as_millis)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, completed, unknown, refused, begun_again, resumed, faults, .. } = self;
        write!(
            f,
            "accepted {accepted}, completed {completed}, in doubt {unknown}, begun more than once \
             {begun_again}, late results refused {refused}, faults {}; {} jobs of killed workers \
             ran again after {} ms (median), {} ms (99 %)",
            faults.len(),
            resumed.len(),
            self.at(0.5),
            self.at(0.99),
        )
    }
}
