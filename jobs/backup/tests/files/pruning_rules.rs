//! Which backups stay, on histories that a generator makes up.

use crate::kit::{at, differential, full, increment, source};
use chrono::TimeDelta;
use proptest::prelude::*;
use std::sync::Arc;
use switchyard_backup::model::{BackupId, Kind, Lsn, Manifest};
use switchyard_backup::prune::{Policy, decide};
use switchyard_backup::shelf::SNAPSHOT_LSN;
use switchyard_backup::{Shelf, Target};

#[derive(Clone, Debug)]
enum Step {
    Increment,
    /// One whose manifest is lost: a gap.
    LostIncrement,
    Full,
    Differential,
    SchemaChange,
    SlotLost,
    Failover,
}

fn step() -> impl Strategy<Value = (Step, i64)> {
    let step = prop_oneof![
        12 => Just(Step::Increment),
        1 => Just(Step::LostIncrement),
        4 => Just(Step::Full),
        2 => Just(Step::Differential),
        1 => Just(Step::SchemaChange),
        1 => Just(Step::SlotLost),
        1 => Just(Step::Failover),
    ];
    // Up to half a day goes by.
    (step, 1i64..720)
}

fn policy() -> impl Strategy<Value = Policy> {
    (0u32..12, 0u32..4, 0u32..8, 0u32..4, 0u32..3, 0u32..2).prop_map(
        |(window_days, last, daily, weekly, monthly, yearly)| Policy {
            window_days,
            last,
            daily,
            weekly,
            monthly,
            yearly,
        },
    )
}

/// What a run over some weeks leaves behind. The second value is its end, in minutes.
fn history(steps: &[(Step, i64)]) -> (Vec<Manifest>, i64) {
    let (mut now, mut lsn, mut slot, mut schema, mut timeline) = (0i64, 100u64, 1, 0, 1);
    let mut reached = lsn;
    let mut newest_full: Option<Manifest> = None;
    let mut all = Vec::new();
    for (step, minutes) in steps {
        now += minutes;
        lsn += 100;
        let made = match step {
            Step::Increment | Step::LostIncrement => {
                let made = increment(now, &format!("a/{slot}"), reached, lsn);
                reached = lsn;
                Some(made).filter(|_| matches!(step, Step::Increment))
            }
            Step::Full => Some(full(now, lsn)),
            Step::Differential => newest_full.as_ref().map(|full| differential(now, full, reached)),
            Step::SchemaChange => {
                schema += 1;
                None
            }
            Step::SlotLost => {
                slot += 1;
                reached = lsn;
                None
            }
            Step::Failover => {
                timeline += 1;
                slot += 1;
                reached = lsn;
                None
            }
        };
        let Some(mut made) = made else { continue };
        made.source = source(&schema.to_string());
        made.source.timeline = timeline;
        // A differential is made only over what its full backup leads to.
        if let (Kind::Differential { to, .. }, Some(full)) = (&made.kind, &newest_full) {
            let before = Shelf::of(all.iter().cloned().map(Arc::new));
            let chain = before.chain_for(&Target::Newest);
            let leads = chain.is_ok_and(|c| c.full.id == full.id && c.end() == *to);
            if !leads || made.source != full.source {
                continue;
            }
        }
        if let Kind::Full { start, .. } = made.kind {
            let taken = Lsn(start.0 + 5).to_string();
            made.notes.insert(SNAPSHOT_LSN.to_owned(), taken);
            newest_full = Some(made.clone());
        }
        all.push(made);
    }
    (all, now)
}

fn shelf<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Shelf {
    Shelf::of(manifests.into_iter().cloned().map(Arc::new))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn whatever_is_kept_can_be_restored_and_so_can_every_moment_of_the_window(
        steps in prop::collection::vec(step(), 1..120),
        policy in policy(),
        later in 0i64..20_000,
    ) {
        let (all, end) = history(&steps);
        let now = at(end + later);
        let before = shelf(&all);
        let decision = decide(&before, &policy, now);
        let kept: Vec<Manifest> = decision.kept.iter().map(|k| (*k.manifest).clone()).collect();
        prop_assert_eq!(kept.len() + decision.dropped.len(), all.len());
        let after = shelf(&kept);

        for manifest in &kept {
            let target = Target::Backup(manifest.id.clone());
            if before.chain_for(&target).is_ok() {
                prop_assert!(after.chain_for(&target).is_ok(), "{} was kept for nothing", manifest.id);
            }
        }
        let newest = |shelf: &Shelf| shelf.chain_for(&Target::Newest).ok().map(|c| (c.covers(), c.end()));
        prop_assert_eq!(newest(&before), newest(&after));

        let window = now - TimeDelta::days(i64::from(policy.window_days));
        for manifest in &all {
            let Kind::Incremental { to, .. } = manifest.kind else { continue };
            for moment in [manifest.covers, manifest.covers - TimeDelta::seconds(50)] {
                let target = Target::Time(moment);
                if moment >= window && before.chain_for(&target).is_ok() {
                    prop_assert!(after.chain_for(&target).is_ok(), "{}", target);
                }
            }
            let target = Target::Lsn(Lsn(to.0 - 1));
            if manifest.covers >= window && before.chain_for(&target).is_ok() {
                prop_assert!(after.chain_for(&target).is_ok(), "{}", target);
            }
        }
        let again = decide(&after, &policy, now);
        prop_assert_eq!(again.dropped, vec![], "a second run finds nothing more");

        // Stopped after any deletion, what is left serves as well.
        for stopped in 0..decision.dropped.len().min(40) {
            let gone: Vec<_> = decision.dropped[..stopped].iter().map(|d| &d.manifest.id).collect();
            let left = shelf(all.iter().filter(|m| !gone.contains(&&m.id)));
            prop_assert_eq!(newest(&left), newest(&after));
        }
    }
}

#[test]
fn grandfather_father_and_son_are_kept_and_nothing_else() {
    // A full backup a day at noon for 800 days, from 1 January 2026.
    let day = |n: u64| full(i64::try_from(n).unwrap() * 1440 + 720, n * 100);
    let all: Vec<Manifest> = (0..800).map(day).collect();
    let policy = Policy { window_days: 0, last: 3, daily: 7, weekly: 4, monthly: 6, yearly: 3 };
    let decision = decide(&shelf(&all), &policy, at(800 * 1440));
    let kept: Vec<String> =
        decision.kept.iter().map(|k| k.manifest.covers.format("%Y-%m-%d").to_string()).collect();
    let expected = [
        "2026-12-31",
        "2027-10-31",
        "2027-11-30",
        "2027-12-31",
        "2028-01-31",
        "2028-02-20",
        "2028-02-27",
        "2028-02-29",
        "2028-03-04",
        "2028-03-05",
        "2028-03-06",
        "2028-03-07",
        "2028-03-08",
        "2028-03-09",
        "2028-03-10",
    ];
    let days: Vec<&str> = kept.iter().map(String::as_str).collect();
    assert_eq!(days, expected[..], "the last days, Sundays, ends of months, ends of years");
    assert!(decision.kept.iter().all(|k| !k.reasons.is_empty()));
}

#[test]
fn increments_go_with_the_full_backup_before_the_window() {
    // A full backup every 100 minutes, an increment every 10, over ten days; the window is one day.
    let mut all = Vec::new();
    for n in 0..1440u64 {
        let minutes = i64::try_from(n).unwrap() * 10;
        if n.is_multiple_of(10) {
            all.push(full(minutes, n * 10 + 5));
        }
        all.push(increment(minutes + 1, "a/1", n * 10, n * 10 + 10));
    }
    let policy = Policy { window_days: 1, last: 1, daily: 0, weekly: 0, monthly: 0, yearly: 0 };
    let decision = decide(&shelf(&all), &policy, at(14_400));
    let fulls: Vec<i64> = decision
        .kept
        .iter()
        .filter(|k| matches!(k.manifest.kind, Kind::Full { .. }))
        .map(|k| (k.manifest.began - at(0)).num_minutes())
        .collect();
    // The one before the window (12,960 minutes) and the newest.
    assert_eq!(fulls, [12_900, 14_300]);
    let increments = decision.kept.len() - 2;
    assert_eq!(increments, 150, "from the full backup before the window on");
}

#[test]
fn a_clock_that_jumped_ahead_and_came_back_costs_no_backup_of_the_newest_state() {
    let year = 365 * 1440;
    // While it was ahead; the slot was lost, and its successor's log begins with the clock set right.
    let ahead = [full(year, 100), increment(year + 10, "a/1", 100, 200)];
    let back = [full(30, 300), increment(40, "a/2", 300, 400), increment(50, "a/2", 400, 500)];
    let all: Vec<Manifest> = ahead.iter().chain(&back).cloned().collect();
    let policy = Policy { window_days: 0, last: 1, daily: 0, weekly: 0, monthly: 0, yearly: 0 };
    // By the right clock, and by one that is ahead again.
    for now in [at(60), at(year + 20)] {
        let decision = decide(&shelf(&all), &policy, now);
        let kept: Vec<_> = decision.kept.iter().map(|k| &k.manifest.id).collect();
        assert!(back.iter().all(|m| kept.contains(&&m.id)), "{now}: {kept:?}");
        let left = shelf(decision.kept.iter().map(|k| &*k.manifest));
        let newest = left.chain_for(&Target::Newest).unwrap();
        assert_eq!((&newest.full.id, newest.end()), (&back[0].id, Lsn(500)), "{now}");
    }
}

#[test]
fn an_empty_archive_and_one_without_a_full_backup_lose_nothing() {
    assert!(decide(&shelf(&[]), &Policy::default(), at(0)).dropped.is_empty());
    let increments: Vec<Manifest> = (0..5)
        .map(|n| increment(i64::try_from(n).unwrap() * 10, "a/1", n * 10, n * 10 + 10))
        .collect();
    let decision = decide(&shelf(&increments), &Policy::default(), at(1_000_000));
    assert!(decision.dropped.is_empty());
}

#[test]
fn a_policy_of_nothing_keeps_the_newest() {
    let all = [full(0, 1), full(10, 2), full(20, 3)];
    let none = Policy { window_days: 0, last: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 };
    let decision = decide(&shelf(&all), &none, at(1_000_000));
    let kept: Vec<_> = decision.kept.iter().map(|k| k.manifest.id.clone()).collect();
    assert_eq!(kept, [all[2].id.clone()]);
}

#[test]
fn of_two_full_backups_of_one_second_the_one_that_began_later_is_the_newest() {
    let mut newer = full(0, 2);
    newer.began += TimeDelta::milliseconds(700);
    let mut older = full(0, 1);
    older.id = BackupId::new(older.began, 1);
    assert!(older.id > newer.id, "their names are the wrong way round");
    let all = [newer.clone(), older];
    assert_eq!(shelf(&all).newest_full().map(|full| &full.id), Some(&newer.id));
    let none = Policy { window_days: 0, last: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0 };
    let decision = decide(&shelf(&all), &none, at(1_000_000));
    let kept: Vec<_> = decision.kept.iter().map(|k| &k.manifest.id).collect();
    assert_eq!(kept, [&newer.id]);
}
