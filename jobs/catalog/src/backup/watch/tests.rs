//! Every alarm: when it comes, how grave it is, and that it does not come without a reason.

use super::*;
use crate::backup::sample::run;
use crate::backup::{Cadence, Promise};
use secrecy::SecretString;
use serde_json::json;
use std::sync::Arc;
use switchyard_backup::keys::Identity;
use switchyard_backup::prune::Policy;
use switchyard_backup::source::SourceConfig;
use switchyard_backup::{Keys, Vault};
use switchyard_providers::archive::Directory;

const MINUTE: Duration = Duration::from_secs(60);
const HOURS: i64 = 60;

fn backups(reads: bool) -> Backups {
    let url = SecretString::from("postgres://nobody@localhost/none".to_owned());
    let identities = reads.then(Identity::generate);
    Backups {
        source: SourceConfig::new(url.clone()),
        source_url: url.clone(),
        vault: Vault::new(Arc::new(Directory::new("none")), Keys::new().identities(identities)),
        cadence: Cadence {
            incremental: 10 * MINUTE,
            differential: 60 * MINUTE,
            full: 24 * 60 * MINUTE,
            drill: 20 * 60 * MINUTE,
            verify: 7 * 24 * 60 * MINUTE,
            jitter: Duration::ZERO,
        },
        promise: Promise { rpo: 15 * MINUTE, rto: 30 * MINUTE, wal_alarm: 1 << 30 },
        policy: Policy::default(),
        scratch: url,
        standby: None,
    }
}

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
}

/// A backup that was taken at a minute.
fn taken(kind: RunKind, minute: i64) -> Run {
    Run { covers: Some(at(minute)), ..run(kind, at(minute), at(minute)) }
}

/// A drill that compared a full backup at a minute.
fn drill(minute: i64, compared: i64) -> Run {
    let compared = json!({ "full": "b", "at": at(compared), "out_of_reach": null });
    Run {
        evidence: Some(json!({ "compared": compared })),
        ..run(RunKind::Drill, at(minute), at(minute))
    }
}

fn failed(kind: RunKind, evidence: Option<serde_json::Value>) -> Run {
    let error = Some("it broke".to_owned());
    Run { state: RunState::Failed, error, evidence, ..run(kind, at(0), at(0)) }
}

/// What there is, and the alarms that follow: key and severity.
struct Case<'a> {
    what: &'a str,
    latest: Vec<Run>,
    recent: Vec<Run>,
    figures: Figures,
    awaited: Option<DateTime<Utc>>,
    now: i64,
    reads: bool,
}

impl Default for Case<'_> {
    /// All is well.
    fn default() -> Self {
        let (full, increment) = (taken(RunKind::Full, 0), taken(RunKind::Incremental, 90));
        Self {
            what: "all is well",
            latest: vec![full, increment, drill(20, 20)],
            recent: Vec::new(),
            figures: Figures { rto: Some(60.0), increment_p99: Some(5.0), ..Figures::default() },
            awaited: None,
            now: 95,
            reads: true,
        }
    }
}

fn alarms(case: &Case<'_>) -> Vec<(String, Severity)> {
    let backups = backups(case.reads);
    let look = Look {
        backups: &backups,
        latest: &case.latest,
        recent: &case.recent,
        figures: case.figures,
        awaited: case.awaited,
        now: at(case.now),
    };
    look.all().into_iter().map(|w| (w.key, w.severity)).collect()
}

fn holds(case: &Case<'_>, expected: &[(&str, Severity)]) {
    let expected: Vec<_> = expected.iter().map(|(k, s)| (format!("backup.{k}"), *s)).collect();
    assert_eq!(alarms(case), expected, "{}", case.what);
}

#[test]
fn what_could_be_lost() {
    let c = Case::default;
    holds(&c(), &[]);
    holds(&Case { what: "it is late", now: 103, ..c() }, &[("rpo", Severity::Warning)]);
    holds(&Case { what: "it is broken", now: 106, ..c() }, &[("rpo", Severity::Critical)]);
    let slow = Figures { increment_p99: Some(400.0), ..c().figures };
    let what = "increments take too long for the promise";
    holds(&Case { what, figures: slow, ..c() }, &[("rpo", Severity::Warning)]);
}

#[test]
fn how_long_a_restore_takes() {
    let took = |minutes: f64| Case {
        what: "a restore's time",
        figures: Figures { rto: Some(minutes * 60.0), ..Case::default().figures },
        ..Case::default()
    };
    holds(&took(24.0), &[]);
    holds(&took(25.0), &[("rto", Severity::Warning)]);
    holds(&took(31.0), &[("rto", Severity::Critical)]);
}

/// Backups as they should be, and a drill of `drilled` that knows of a comparison of `compared`.
fn later(now: i64, drilled: i64, compared: i64) -> Case<'static> {
    let latest = vec![
        taken(RunKind::Full, now - HOURS),
        taken(RunKind::Incremental, now - 1),
        drill(drilled, compared),
    ];
    Case { what: "the proof's age", latest, now, ..Case::default() }
}

#[test]
fn whether_a_restore_was_proven() {
    let now = 100 * HOURS;
    holds(&later(now, now - 24 * HOURS, now - 10), &[]);
    holds(&later(now, now - 24 * HOURS - 1, now - 10), &[("proof", Severity::Critical)]);
    let mut never = later(now, now, now);
    never.latest.pop();
    never.latest[0].began_at = at(now - 23 * HOURS);
    holds(&never, &[]);
    never.latest[0].began_at = at(now - 25 * HOURS);
    holds(&never, &[("proof", Severity::Critical)]);
    never.reads = false;
    holds(&never, &[("proof", Severity::Critical)]);
}

#[test]
fn whether_old_backups_and_increments_make_the_new_one() {
    let now = 100 * HOURS;
    holds(&later(now, now - 5, now - 48 * HOURS), &[]);
    holds(&later(now, now - 5, now - 48 * HOURS - 1), &[("proof", Severity::Critical)]);
    let mut never = later(now, now - 5, 0);
    never.latest[2].evidence = Some(json!({ "compared": null }));
    holds(&never, &[]);
    never.latest[0].began_at = at(now - 49 * HOURS);
    holds(&never, &[("proof", Severity::Critical)]);
}

#[test]
fn a_first_full_backup_that_does_not_come() {
    let none = |since| Case {
        what: "none yet",
        latest: vec![],
        awaited: Some(at(since)),
        ..Case::default()
    };
    holds(&none(95 - 60), &[]);
    holds(&none(95 - 61), &[("none", Severity::Critical)]);
    holds(&Case { awaited: Some(at(0)), ..Case::default() }, &[]);
}

#[test]
fn a_backup_of_the_future() {
    let ahead = |minute| Case {
        what: "a clock that was ahead",
        recent: vec![taken(RunKind::Incremental, 90), taken(RunKind::Incremental, minute)],
        ..Case::default()
    };
    holds(&ahead(96), &[]);
    holds(&ahead(97), &[("clock", Severity::Warning)]);
}

#[test]
fn runs_that_fail() {
    let of = |recent| Case { what: "failures", recent, ..Case::default() };
    let one = || failed(RunKind::Verify, None);
    holds(&of(vec![one()]), &[("failed.verify", Severity::Warning)]);
    holds(&of(vec![one(), one(), one()]), &[("failed.verify", Severity::Critical)]);
    holds(&of(vec![run(RunKind::Verify, at(0), at(0)), one(), one()]), &[]);
    // A migration came: that is no failure, and hides none.
    let wants = || failed(RunKind::Incremental, Some(json!({ "full_needed": "a migration" })));
    holds(&of(vec![wants(), wants(), wants()]), &[]);
    let hidden = vec![wants(), failed(RunKind::Incremental, None)];
    holds(&of(hidden), &[("failed.incremental", Severity::Warning)]);
}

#[test]
fn how_the_slot_is() {
    let of = |status: &str, retained_bytes, has_full| {
        let health = SlotHealth {
            slot: Some("s".to_owned()),
            wal_status: status.to_owned(),
            retained_bytes,
            lag_bytes: 0,
            safe_bytes: None,
            active: false,
        };
        judge(&health, 1 << 30, has_full).map(|w| (w.key, w.severity))
    };
    let alarm = |severity| Some(("backup.slot".to_owned(), severity));
    for (status, retained, has_full, expected) in [
        ("reserved", 1 << 30, true, None),
        ("extended", 1 << 30, true, None),
        ("reserved", (1 << 30) + 1, true, alarm(Severity::Warning)),
        ("unreserved", 0, true, alarm(Severity::Critical)),
        ("lost", 0, true, alarm(Severity::Critical)),
        ("missing", 0, true, alarm(Severity::Critical)),
        // Before the first full backup there is none.
        ("missing", 0, false, None),
    ] {
        assert_eq!(of(status, retained, has_full), expected, "{status}, {retained}, {has_full}");
    }
}

#[tokio::test]
async fn archives_and_a_source_that_do_not_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_the_way = folder.path().join("file");
    std::fs::write(&in_the_way, "x").expect("a file");
    let good = || Arc::new(Directory::new(folder.path().join("archive")));
    let bad = || Arc::new(Directory::new(&in_the_way));
    let keys = |w: Vec<Wrong>| w.into_iter().map(|w| (w.key, w.severity)).collect::<Vec<_>>();
    let with = |vault| Backups { vault, ..backups(true) };
    assert_eq!(keys(archive(&with(Vault::new(good(), Keys::new()))).await), []);
    let first = archive(&with(Vault::new(bad(), Keys::new()))).await;
    assert_eq!(keys(first), [("backup.archive".to_owned(), Severity::Critical)]);
    let second = with(Vault::new(good(), Keys::new()).with_second(bad()));
    assert_eq!(keys(archive(&second).await), [("backup.second".to_owned(), Severity::Critical)]);

    let nobody = SecretString::from("postgres://nobody@127.0.0.1:1/none".to_owned());
    let away = Backups { source: SourceConfig::new(nobody), ..backups(true) };
    let told = health(&away).await.expect_err("nobody answers");
    assert_eq!((told.key.as_str(), told.severity), ("backup.source", Severity::Critical));
}
