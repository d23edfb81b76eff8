//! A walk that goes every way of `transitions()`, so that the table has none that is not there.

use super::ops::{Op, Result};
use super::reference::Model;
use super::{AgainstSql, RUNTIME, Real, World};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use std::collections::BTreeSet;
use switchyard_queue::{JobState, Transition, transitions};

/// A walk that somebody planned.
struct Walk {
    model: Model,
    real: Option<Real>,
    went: BTreeSet<Transition>,
}

impl Walk {
    fn go(&mut self, ops: impl IntoIterator<Item = Op>) -> &mut Self {
        for op in ops {
            self.model = Model::apply(self.model.clone(), &op);
            let real = self.real.take().expect("a step that failed ends the test");
            let real = AgainstSql::apply(real, &self.model, op);
            AgainstSql::check_invariants(&real, &self.model);
            self.real = Some(real);
            self.went.extend(self.model.went.iter().copied());
        }
        self
    }

    /// A new job, by itself.
    fn new_job(&mut self, later: bool) -> usize {
        self.keyed(later, None);
        self.model.jobs.len() - 1
    }

    fn keyed(&mut self, later: bool, key: Option<usize>) -> &mut Self {
        self.go([Op::Enqueue { partition: 0, priority: 0, later, key, replace: true }])
    }

    fn chain(&mut self, later: bool) -> (usize, usize) {
        self.go([Op::Chain { partition: 0, later, ends_are_enough: false }]);
        (self.model.jobs.len() - 2, self.model.jobs.len() - 1)
    }

    fn assert_at(&self, n: usize, state: JobState) {
        assert_eq!(self.model.jobs[n].state, state, "the plan of the walk is wrong");
    }
}

const CLAIM: Op = Op::Claim { worker: 0, partition: 0, take: 1, alone: false };
const ALONE: Op = Op::Claim { worker: 1, partition: 0, take: 1, alone: true };

fn settle(result: Result) -> Op {
    Op::Settle { claim: 0, result }
}

#[test]
fn every_way_of_the_table_is_gone() {
    let model = Model::new();
    let real = RUNTIME.block_on(Real::begin((World::new(), 0)));
    let mut walk = Walk { model, real: Some(real), went: BTreeSet::new() };
    walk.go([Op::Cancel(0), Op::Cancel(1)]);

    let n = walk.new_job(false);
    walk.go([Op::Discard(n), Op::Revive(n), Op::Expire(n), Op::Cancel(n)]);
    for results in [
        vec![Result::Complete],
        vec![Result::GiveUp],
        vec![Result::Fail],
        vec![Result::GiveBack, Result::Commit],
    ] {
        let n = walk.new_job(false);
        walk.go(results.into_iter().flat_map(|result| [CLAIM, settle(result)]));
        walk.go([Op::Cancel(n)]);
    }
    // Later, and due by an operator or by the scheduler; retried and snoozed; put aside from there.
    for later in [Op::Cancel as fn(usize) -> Op, Op::Discard, Op::Expire] {
        let n = walk.new_job(true);
        walk.go([later(n), Op::Cancel(n)]);
        let n = walk.new_job(true);
        walk.go([Op::Revive(n), CLAIM, settle(Result::Snooze)]);
        walk.assert_at(n, JobState::Scheduled);
        walk.go([Op::ComeDue(n), Op::Promote, CLAIM, settle(Result::Retry), Op::Revive(n)]);
        walk.go([CLAIM, settle(Result::Retry), Op::ComeDue(n), Op::Promote]);
        walk.go([CLAIM, settle(Result::Snooze)]);
        walk.assert_at(n, JobState::Retryable);
        walk.go([later(n), Op::Cancel(n)]);
    }
    walk.keyed(false, Some(0)).keyed(true, Some(0)).keyed(false, Some(0));
    let n = walk.model.jobs.len() - 1;
    walk.go([Op::Cancel(n)]);

    let (child, _) = walk.chain(false);
    walk.go([CLAIM, settle(Result::Complete), Op::Cancel(child)]);
    let (child, _) = walk.chain(true);
    walk.go([CLAIM, settle(Result::Complete)]);
    walk.assert_at(child, JobState::Scheduled);
    walk.go([Op::Cancel(child)]);
    let (child, parent) = walk.chain(false);
    walk.go([Op::Expire(child), Op::Cancel(child), Op::Cancel(parent)]);
    let (child, parent) = walk.chain(false);
    walk.go([Op::Cancel(parent)]);
    walk.assert_at(child, JobState::Cancelled);

    // Three lone crashes; what becomes of who is put aside for it.
    for end in [Op::Cancel as fn(usize) -> Op, Op::Discard] {
        let n = walk.new_job(false);
        for _ in 0..2 {
            walk.go([ALONE, Op::Lapse(n), ALONE, Op::Lapse(n), ALONE, Op::Die(1), CLAIM]);
            walk.assert_at(n, JobState::Quarantined);
            walk.go([Op::Revive(n)]);
        }
        walk.go([ALONE, Op::Lapse(n), ALONE, Op::Lapse(n), ALONE, Op::Lapse(n), CLAIM]);
        walk.go([end(n), Op::Cancel(n)]);
    }
    let n = walk.new_job(false);
    walk.go([CLAIM, Op::Cancel(n), settle(Result::GiveBack)]);
    let n = walk.new_job(false);
    walk.go([CLAIM, Op::Discard(n), Op::Lapse(n), CLAIM]);
    walk.assert_at(n, JobState::Cancelled);

    assert_eq!(walk.went, transitions().iter().copied().collect(), "left: gone, right: listed");
    AgainstSql::teardown(walk.real.take().unwrap(), walk.model);
}
