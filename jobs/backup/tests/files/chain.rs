//! Which backups restore a moment.

use crate::kit::{at, differential, full, increment, source};
use chrono::TimeDelta;
use std::sync::Arc;
use switchyard_backup::model::{Lsn, Manifest};
use switchyard_backup::shelf::SNAPSHOT_LSN;
use switchyard_backup::{BackupFault, Chain, Shelf, Target};

fn shelf(manifests: &[Manifest]) -> Shelf {
    Shelf::of(manifests.iter().cloned().map(Arc::new))
}

fn names(chain: &Chain) -> Vec<String> {
    chain.manifests().map(|m| m.id.to_string()).collect()
}

fn ids(manifests: &[&Manifest]) -> Vec<String> {
    manifests.iter().map(|m| m.id.to_string()).collect()
}

/// The sentence of a fault that says what can be restored.
fn refused(shelf: &Shelf, target: &Target) -> String {
    match shelf.chain_for(target) {
        Err(fault @ BackupFault::OutOfReach { .. }) => fault.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Increments of ten minutes and 100 bytes each: the first ends at 100.
fn log(slot: &str, from: i64, count: i64) -> Vec<Manifest> {
    (from..from + count)
        .map(|n| {
            let begin = u64::try_from(n).unwrap() * 100;
            increment((n + 1) * 10, slot, begin, begin + 100)
        })
        .collect()
}

#[test]
fn a_moment_is_restored_from_the_newest_full_backup_before_it_and_no_more_increments_than_needed() {
    let (first, second) = (full(5, 50), full(35, 350));
    let mut all = log("a/1", 0, 8);
    all.extend([first.clone(), second.clone()]);
    let shelf = shelf(&all);
    let chain = shelf.chain_for(&Target::Newest).unwrap();
    assert_eq!(names(&chain), ids(&[&second, &all[3], &all[4], &all[5], &all[6], &all[7]]));
    assert_eq!((chain.start(), chain.end()), (Lsn(350), Lsn(800)));
    assert_eq!(chain.covers(), all[7].covers);
    // At 45 minutes: the second full one, and the increments that end at 40 and 50.
    let chain = shelf.chain_for(&Target::Time(at(45))).unwrap();
    assert_eq!(names(&chain), ids(&[&second, &all[3], &all[4]]));
    // At 33 minutes the second one had not been taken.
    let chain = shelf.chain_for(&Target::Time(at(33))).unwrap();
    assert_eq!(names(&chain), ids(&[&first, &all[0], &all[1], &all[2], &all[3]]));
    // To the moment of an increment, nothing after it.
    let chain = shelf.chain_for(&Target::Time(all[5].covers)).unwrap();
    assert_eq!(chain.increments.last().unwrap().id, all[5].id);
}

#[test]
fn after_the_clock_was_put_back_the_newest_state_is_that_of_the_log() {
    // Taken while the server's clock was a year ahead; then it came back, and the slot was made anew.
    let mut ahead = log("a/1", 0, 3);
    ahead.push(full(5, 50));
    for manifest in &mut ahead {
        manifest.began += TimeDelta::days(365);
        manifest.covers += TimeDelta::days(365);
    }
    let mut all = log("a/2", 4, 2);
    let second = full(45, 450);
    all.push(second.clone());
    all.extend(ahead.iter().cloned());
    let chain = shelf(&all).chain_for(&Target::Newest).unwrap();
    assert_eq!(names(&chain), ids(&[&second, &all[0], &all[1]]));
    // Of another server the position says nothing.
    for manifest in &mut all[..3] {
        manifest.source.system = "1".to_owned();
    }
    assert_eq!(shelf(&all).chain_for(&Target::Newest).unwrap().full.id, ahead[3].id);
}

#[test]
fn a_full_backup_alone_is_a_chain_and_so_is_every_backup_by_its_name() {
    let (first, mut all) = (full(5, 50), log("a/1", 0, 3));
    let middle = differential(22, &first, 200);
    all.extend([first.clone(), middle.clone()]);
    let shelf = shelf(&all);
    let of = |m: &Manifest| shelf.chain_for(&Target::Backup(m.id.clone())).unwrap();
    assert_eq!(names(&of(&first)), ids(&[&first]));
    assert_eq!(names(&of(&middle)), ids(&[&first, &middle]));
    assert_eq!(names(&of(&all[0])), ids(&[&first, &all[0]]));
    assert_eq!(of(&all[2]).end(), Lsn(300));
    assert_eq!(of(&first).start(), Lsn(50));
    let unknown = Target::Backup(full(99, 1).id);
    assert!(refused(&shelf, &unknown).contains("there is no such backup"));
}

#[test]
fn the_newest_differential_that_is_not_past_the_target_stands_for_the_increments_before_it() {
    let (first, mut all) = (full(5, 50), log("a/1", 0, 6));
    let early = differential(21, &first, 200);
    let late = differential(51, &first, 500);
    all.extend([first.clone(), early.clone(), late.clone()]);
    let shelf = shelf(&all);
    let chain = |target| shelf.chain_for(&target).unwrap();
    assert_eq!(names(&chain(Target::Newest)), ids(&[&first, &late, &all[5]]));
    assert_eq!(names(&chain(Target::Time(at(35)))), ids(&[&first, &early, &all[2], &all[3]]));
    assert_eq!(chain(Target::Time(at(35))).start(), Lsn(200));
    assert_eq!(names(&chain(Target::Time(at(15)))), ids(&[&first, &all[0], &all[1]]));
    assert_eq!(names(&chain(Target::Lsn(Lsn(500)))), ids(&[&first, &late]));
    assert_eq!(
        names(&chain(Target::Lsn(Lsn(499)))),
        ids(&[&first, &early, &all[2], &all[3], &all[4]])
    );
}

#[test]
fn a_differential_serves_when_the_increments_before_it_are_gone() {
    let (first, log) = (full(5, 50), log("a/1", 0, 6));
    let late = differential(51, &first, 500);
    let all = [first.clone(), late.clone(), log[5].clone()];
    let chain = shelf(&all).chain_for(&Target::Newest).unwrap();
    assert_eq!(names(&chain), ids(&[&first, &late, &log[5]]));
}

#[test]
fn a_gap_is_told_with_what_can_be_restored() {
    let (first, mut all) = (full(5, 50), log("a/1", 0, 6));
    let missing = all.remove(3);
    all.push(first.clone());
    let shelf = shelf(&all);
    let told = refused(&shelf, &Target::Time(at(55)));
    assert!(
        told.contains("the increments from 0/12C to 0/190 of the slot a/1 are missing"),
        "{told}"
    );
    assert!(told.contains("from 2026-01-01T00:05:02.000Z to 2026-01-01T00:30:02.000Z"), "{told}");
    let told = refused(&shelf, &Target::Backup(all[4].id.clone()));
    assert!(told.contains("without a gap"), "{told}");
    // The newest is what there is without a gap, and with the missing one all of it.
    assert_eq!(shelf.chain_for(&Target::Newest).unwrap().end(), Lsn(300));
    all.push(missing);
    assert_eq!(self::shelf(&all).chain_for(&Target::Newest).unwrap().end(), Lsn(600));
}

#[test]
fn what_is_too_early_or_too_late_is_told_with_what_can_be_restored() {
    let (first, mut all) = (full(5, 50), log("a/1", 0, 2));
    all.push(first);
    let told = refused(&shelf(&all), &Target::Time(at(4)));
    assert!(told.contains("no full backup was taken before that"), "{told}");
    let told = refused(&shelf(&all), &Target::Time(at(60)));
    assert!(told.contains("the newest increment ends before that"), "{told}");
    assert!(told.contains("to 2026-01-01T00:20:02.000Z"), "{told}");
    let told = refused(&shelf(&[]), &Target::Newest);
    assert!(told.contains("switchyard backup now full"), "{told}");
}

#[test]
fn increments_of_another_slot_schema_database_or_timeline_do_not_follow() {
    let first = full(5, 50);
    let changed = |change: &dyn Fn(&mut Manifest)| {
        let mut all = log("a/1", 0, 4);
        all[2..].iter_mut().for_each(change);
        all.push(first.clone());
        shelf(&all)
    };
    let cases: [(&str, Shelf); 3] = [
        ("the schema was changed", changed(&|m| m.source = source("b"))),
        ("of another database", changed(&|m| m.source.system = "1".to_owned())),
        ("another timeline", changed(&|m| m.source.timeline = 2)),
    ];
    for (reason, shelf) in cases {
        assert_eq!(shelf.chain_for(&Target::Newest).unwrap().end(), Lsn(200), "{reason}");
        let told = refused(&shelf, &Target::Time(at(35)));
        assert!(told.contains(reason), "{told}");
    }
    // A slot that was lost and made again.
    let mut all = log("a/1", 0, 2);
    all.extend(log("a/2", 2, 2));
    all.push(first);
    assert_eq!(shelf(&all).chain_for(&Target::Newest).unwrap().end(), Lsn(200));
    // A full backup after it goes on with it.
    let second = full(25, 250);
    all.push(second.clone());
    let chain = shelf(&all).chain_for(&Target::Newest).unwrap();
    assert_eq!((chain.full.id.clone(), chain.end()), (second.id, Lsn(400)));
}

#[test]
fn a_position_is_restored_from_a_full_backup_that_was_surely_taken_before_it() {
    let mut all = log("a/1", 0, 6);
    let (first, mut second) = (full(5, 50), full(25, 250));
    all.extend([first.clone(), second.clone()]);
    let of = |all: &[Manifest], lsn| {
        shelf(all).chain_for(&Target::Lsn(Lsn(lsn))).unwrap().full.id.clone()
    };
    // That the second one's snapshot was taken before 300 is known by the increment after it.
    assert_eq!(of(&all, 299), first.id);
    assert_eq!(of(&all, 300), second.id);
    // Noted, it is known exactly.
    second.notes.insert(SNAPSHOT_LSN.to_owned(), "0/104".to_owned());
    *all.last_mut().unwrap() = second.clone();
    assert_eq!(of(&all, 260), second.id);
    assert_eq!(of(&all, 259), first.id);
}

#[test]
fn the_windows_are_those_in_which_every_moment_can_be_restored() {
    let mut all = log("a/1", 0, 2);
    all.extend(log("a/2", 5, 2));
    all.extend([full(5, 50), full(12, 120), full(52, 520), full(200, 9000)]);
    let shelf = shelf(&all);
    let windows = shelf.windows();
    let seconds = TimeDelta::seconds(2);
    let spans: Vec<_> = windows.iter().map(|w| (w.from - seconds, w.to - seconds)).collect();
    assert_eq!(spans, [(at(5), at(20)), (at(52), at(70)), (at(200), at(200))]);
}

#[test]
fn an_increment_that_leads_nowhere_ends() {
    // Such as one whose log went backwards, from a server whose disk was set back.
    let all = [full(5, 50), increment(10, "a/1", 0, 100), increment(20, "a/1", 100, 100)];
    assert_eq!(shelf(&all).chain_for(&Target::Newest).unwrap().end(), Lsn(100));
    let all = [full(5, 50), increment(10, "a/1", 0, 100), increment(20, "a/1", 100, 20)];
    shelf(&all).chain_for(&Target::Newest).unwrap();
}
