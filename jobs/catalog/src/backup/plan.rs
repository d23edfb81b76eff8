//! What is due when. Everything follows from the runs that were written down, so any process may ask,
//! and what was missed while the system was off is made up for at once, once.

use super::{
    Backups, CopyBackups, ProveRestore, PruneBackups, TakeDifferential, TakeFull, TakeIncremental,
    VerifyBackups, drill,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;
use switchyard_queue::{Job, NewJob, Options};
use switchyard_store::backups::runs::{self, Run, RunKind, RunState};
use switchyard_store::{Result, Tx};
use uuid::Uuid;

/// How often what runs.
#[derive(Clone, Copy, Debug)]
pub struct Cadence {
    /// Between two increments.
    pub incremental: Duration,
    /// Between two differentials.
    pub differential: Duration,
    /// Between two full backups.
    pub full: Duration,
    /// Between two drills, if no full backup asks for one earlier.
    pub drill: Duration,
    /// Between two readings of the whole archive.
    pub verify: Duration,
    /// Up to so much later than the interval says.
    pub jitter: Duration,
}

/// Retention is looked after this often.
const PRUNE: Duration = Duration::from_secs(24 * 3600);
/// What failed for good is tried anew after this, or after its interval if that is shorter.
const AGAIN: Duration = Duration::from_secs(300);
/// The same for what reads the whole archive, and finds tomorrow what it found today: people mend it.
const MUCH_LATER: Duration = Duration::from_secs(6 * 3600);
/// A drill that came to no answer, because a server was away say: a proof a day is promised.
const LATER: Duration = Duration::from_secs(3600);
/// What is stamped further ahead than this was stamped by a clock that came back since.
const AHEAD: TimeDelta = TimeDelta::minutes(1);
/// Runs that are looked at to find the last failure of a kind.
const RECENT: u16 = 50;

/// A run that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Next {
    /// What.
    pub kind: RunKind,
    /// The run of its kind that succeeded last; nil: none has.
    pub after: Uuid,
    /// When; in the past if it was missed.
    pub at: DateTime<Utc>,
}

/// What is known of the runs of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The last that succeeded: which, when it began and when it ended.
    succeeded: Option<(Uuid, DateTime<Utc>, DateTime<Utc>)>,
    /// When the last one failed, if that was after the last success, and whether it came to an answer
    /// then, which was that something is wrong.
    failed: Option<(DateTime<Utc>, bool)>,
    /// Of drills: the newest full backup is still to be compared with the one before it, and can be.
    owed: bool,
}

impl Seen {
    fn began(&self) -> Option<DateTime<Utc>> {
        self.succeeded.map(|(_, began, _)| began)
    }

    fn ended(&self) -> Option<DateTime<Utc>> {
        self.succeeded.map(|(.., ended)| ended)
    }
}

/// What a system can do beside plain backups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abilities {
    /// It can read what it writes: drills and differentials.
    pub(super) reads: bool,
    /// It has a second archive.
    pub(super) copies: bool,
}

/// Every run that is due next, by the runs so far.
pub(super) fn next(
    cadence: &Cadence,
    can: Abilities,
    seen: &HashMap<RunKind, Seen>,
    now: DateTime<Utc>,
) -> Vec<Next> {
    let of = |kind| seen.get(&kind).copied().unwrap_or_default();
    let full = of(RunKind::Full);
    let mut due = Vec::new();
    let mut add = |kind: RunKind, base: Option<DateTime<Utc>>, every: Duration| {
        let seen = of(kind);
        let after = seen.succeeded.map_or(Uuid::nil(), |(id, ..)| id);
        // A run of the future tells of a clock that was ahead.
        let base = base.map(|base| base.min(now));
        let mut at = base.map_or(now, |base| base + span(every + jitter(cadence.jitter, after)));
        if let Some((failed, found)) = seen.failed.filter(|(failed, _)| *failed <= now + AHEAD) {
            at = at.max(failed + span(again(kind, found).min(every)));
        }
        due.push(Next { kind, after, at });
    };
    add(RunKind::Full, full.began(), cadence.full);
    // Everything else begins with a full backup.
    let Some((_, full_began, full_ended)) = full.succeeded else { return due };
    let increment = of(RunKind::Incremental).began().unwrap_or(full_began);
    add(RunKind::Incremental, Some(increment), cadence.incremental);
    add(RunKind::Prune, Some(of(RunKind::Prune).began().unwrap_or(full_began)), PRUNE);
    if can.reads {
        let differential =
            of(RunKind::Differential).began().map_or(full_began, |d| d.max(full_began));
        add(RunKind::Differential, Some(differential), cadence.differential);
        let verify = of(RunKind::Verify).began().unwrap_or(full_began);
        add(RunKind::Verify, Some(verify), cadence.verify);
        // Each full backup is proven at once, and compared as soon as an increment goes beyond it.
        let owed = of(RunKind::Drill).owed;
        let drill = of(RunKind::Drill).began().filter(|began| *began >= full_ended && !owed);
        add(RunKind::Drill, drill, cadence.drill);
    }
    if can.copies {
        let newest = [RunKind::Full, RunKind::Incremental, RunKind::Differential];
        let newest = newest.into_iter().filter_map(|k| of(k).ended()).max();
        if of(RunKind::Copy).began() <= newest {
            add(RunKind::Copy, None, cadence.incremental);
        }
    }
    due
}

/// How long after a failure a kind is tried anew.
fn again(kind: RunKind, found: bool) -> Duration {
    match kind {
        RunKind::Drill if !found => LATER,
        RunKind::Verify | RunKind::Drill | RunKind::Prune => MUCH_LATER,
        _ => AGAIN,
    }
}

fn span(d: Duration) -> TimeDelta {
    TimeDelta::from_std(d).unwrap_or(TimeDelta::days(36_500))
}

/// The same for the same run, so that whoever asks gets the same time.
fn jitter(most: Duration, after: Uuid) -> Duration {
    // A UUIDv7 ends with 62 random bits.
    let random = u32::try_from(after.as_u128() & 0xFFFF_FFFF).unwrap_or_default();
    most.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// What is known of each kind.
fn seen(latest: &[Run], recent: &[Run]) -> HashMap<RunKind, Seen> {
    let mut seen: HashMap<RunKind, Seen> = HashMap::new();
    for run in latest {
        let ended = run.finished_at.unwrap_or(run.began_at);
        seen.entry(run.kind).or_default().succeeded = Some((run.id, run.began_at, ended));
    }
    let full = seen.get(&RunKind::Full).and_then(Seen::ended);
    for run in recent.iter().filter(|r| r.state == RunState::Failed) {
        let of = seen.entry(run.kind).or_default();
        // A drill of what there was before the newest full backup says nothing of that.
        let outdated = run.kind == RunKind::Drill && full.is_some_and(|full| run.began_at < full);
        if !outdated && of.began().is_none_or(|began| began < run.began_at) {
            let failed = run.finished_at.map(|at| (at, run.evidence.is_some()));
            of.failed = of.failed.max(failed);
        }
    }
    seen.entry(RunKind::Drill).or_default().owed = drill::owed(latest);
    seen
}

/// Reads what is due next, by the clock that runs are stamped with.
pub(super) async fn read(tx: &mut Tx, backups: &Backups) -> Result<Vec<Next>> {
    let now = runs::clock(tx).await?;
    let latest = runs::latest(tx).await?;
    let recent = runs::list(tx, None, None, RECENT).await?;
    let can =
        Abilities { reads: backups.vault.keys.can_read(), copies: backups.vault.second.is_some() };
    Ok(next(&backups.cadence, can, &seen(&latest, &recent), now))
}

/// The job of a run, at its time. While one that follows the same run stands, it is that one.
pub(super) fn job(next: &Next) -> std::result::Result<NewJob, serde_json::Error> {
    let Next { after, at, .. } = *next;
    let options = Options::new().unique_by(after).run_at(at).replace_run_at();
    let (after, asked_by) = (Some(after), None);
    match next.kind {
        RunKind::Full => of(&TakeFull { after, asked_by }, options),
        RunKind::Incremental => of(&TakeIncremental { after, asked_by }, options),
        RunKind::Differential => of(&TakeDifferential { after, asked_by }, options),
        RunKind::Drill => of(&ProveRestore { after, asked_by }, options),
        RunKind::Prune => of(&PruneBackups { after, asked_by }, options),
        RunKind::Copy => of(&CopyBackups { after, asked_by }, options),
        RunKind::Verify | RunKind::Restore => {
            of(&VerifyBackups { after, asked_by, backup: None }, options)
        }
    }
}

fn of<J: Job>(job: &J, options: Options) -> std::result::Result<NewJob, serde_json::Error> {
    NewJob::with_options(job, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MINUTE: Duration = Duration::from_secs(60);

    fn cadence() -> Cadence {
        Cadence {
            incremental: 10 * MINUTE,
            differential: 60 * MINUTE,
            full: 24 * 60 * MINUTE,
            drill: 20 * 60 * MINUTE,
            verify: 7 * 24 * 60 * MINUTE,
            jitter: MINUTE,
        }
    }

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn done(began: i64, ended: i64) -> Seen {
        Seen { succeeded: Some((Uuid::from_u128(7), at(began), at(ended))), ..Seen::default() }
    }

    const ALL: Abilities = Abilities { reads: true, copies: false };

    fn due(seen: &[(RunKind, Seen)], now: i64) -> HashMap<RunKind, DateTime<Utc>> {
        let seen = seen.iter().copied().collect();
        next(&cadence(), ALL, &seen, at(now)).into_iter().map(|n| (n.kind, n.at)).collect()
    }

    #[test]
    fn nothing_comes_before_the_first_full_backup_and_that_comes_at_once() {
        let due = due(&[], 5);
        assert_eq!(due.len(), 1);
        assert_eq!(due[&RunKind::Full], at(5));
    }

    #[test]
    fn a_full_backup_is_proven_at_once_and_increments_count_from_its_beginning() {
        let due = due(&[(RunKind::Full, done(0, 3))], 4);
        assert_eq!(due[&RunKind::Drill], at(4));
        let increment = due[&RunKind::Incremental];
        assert!(increment >= at(10) && increment <= at(11), "{increment}");
    }

    #[test]
    fn what_was_missed_is_due_once_and_in_the_past() {
        let seen = [(RunKind::Full, done(0, 3)), (RunKind::Incremental, done(10, 10))];
        let due = due(&seen, 500);
        assert!(due[&RunKind::Incremental] <= at(21));
    }

    #[test]
    fn a_proof_of_this_full_backup_holds_for_its_interval() {
        let seen = [(RunKind::Full, done(0, 3)), (RunKind::Drill, done(4, 6))];
        let due = due(&seen, 10);
        assert!(due[&RunKind::Drill] >= at(4 + 20 * 60));
    }

    #[test]
    fn what_failed_for_good_is_not_tried_in_a_storm() {
        let failed = Seen { failed: Some((at(30), false)), ..done(0, 0) };
        let due = due(&[(RunKind::Full, done(0, 3)), (RunKind::Incremental, failed)], 30);
        assert_eq!(due[&RunKind::Incremental], at(35));
    }

    #[test]
    fn what_reads_the_whole_archive_and_finds_a_fault_is_not_run_all_day() {
        let after = |kind, found| {
            let failed = Seen { failed: Some((at(90), found)), ..Seen::default() };
            due(&[(RunKind::Full, done(-20_000, 3)), (kind, failed)], 90)[&kind]
        };
        for kind in [RunKind::Verify, RunKind::Drill, RunKind::Prune] {
            assert_eq!(after(kind, true), at(90 + 360), "{kind}");
        }
        // One that got no answer is not the last word on the day's proof.
        assert_eq!(after(RunKind::Drill, false), at(90 + 60));
        // A shorter interval is kept to.
        let short = Cadence { verify: 60 * MINUTE, ..cadence() };
        let failed = Seen { failed: Some((at(90), true)), ..Seen::default() };
        let seen = HashMap::from([(RunKind::Full, done(0, 3)), (RunKind::Verify, failed)]);
        let due = next(&short, ALL, &seen, at(90));
        assert!(due.iter().any(|n| n.kind == RunKind::Verify && n.at == at(150)), "{due:?}");
    }

    #[test]
    fn a_drill_that_failed_before_the_newest_full_backup_does_not_hold_up_its_proof() {
        let failed = Run { evidence: Some(json!({})), ..run(RunKind::Drill, RunState::Failed, 10) };
        let full = run(RunKind::Full, RunState::Succeeded, 20);
        let of = |full: &Run, failed: &Run| {
            let seen = seen(std::slice::from_ref(full), std::slice::from_ref(failed));
            let due = next(&cadence(), ALL, &seen, at(30));
            due.iter().find(|n| n.kind == RunKind::Drill).map(|n| n.at)
        };
        assert_eq!(of(&full, &failed), Some(at(30)));
        let failed = Run { began_at: at(25), finished_at: Some(at(26)), ..failed };
        assert_eq!(of(&full, &failed), Some(at(26 + 360)));
    }

    #[test]
    fn a_run_that_began_in_the_future_does_not_put_off_the_next_one_until_then() {
        let year = 365 * 24 * 60;
        let seen = [(RunKind::Full, done(0, 3)), (RunKind::Incremental, done(year, year))];
        let due = due(&seen, 30);
        assert!(due[&RunKind::Incremental] <= at(30 + 11), "{due:?}");
        let failed = Seen { failed: Some((at(year), true)), ..Seen::default() };
        let due = self::due(&[(RunKind::Full, done(0, 3)), (RunKind::Verify, failed)], 30);
        assert!(due[&RunKind::Verify] <= at(3 + 7 * 24 * 60 + 1), "{due:?}");
    }

    #[test]
    fn a_full_backup_that_can_be_compared_now_is() {
        let drill = |owed| Seen { owed, ..done(4, 6) };
        let of = |owed| due(&[(RunKind::Full, done(0, 3)), (RunKind::Drill, drill(owed))], 20);
        assert!(of(false)[&RunKind::Drill] > at(20));
        assert_eq!(of(true)[&RunKind::Drill], at(20));
    }

    fn run(kind: RunKind, state: RunState, began: i64) -> Run {
        Run { kind, state, ..crate::backup::sample::run(kind, at(began), at(began + 1)) }
    }

    #[test]
    fn jitter_stays_below_its_bound_and_is_the_same_for_the_same_run() {
        for _ in 0..100 {
            let id = Uuid::now_v7();
            assert!(jitter(MINUTE, id) <= MINUTE);
            assert_eq!(jitter(MINUTE, id), jitter(MINUTE, id));
        }
    }
}
