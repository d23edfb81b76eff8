//! What workers, schedulers and operators do, and how often.

use super::reference::{Model, PARTITIONS, WORKERS};
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

/// What a worker says of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    Complete,
    /// The same in the job's own transaction.
    Commit,
    GiveUp,
    Retry,
    Snooze,
    Fail,
    GiveBack,
}

/// Numbers of jobs and claims are taken modulo what there is; a claim is counted from the latest.
#[derive(Clone, Debug)]
pub enum Op {
    Enqueue {
        partition: usize,
        priority: i16,
        later: bool,
        key: Option<usize>,
        replace: bool,
    },
    /// A job, and one that waits for it.
    Chain {
        partition: usize,
        later: bool,
        ends_are_enough: bool,
    },
    Claim {
        worker: usize,
        partition: usize,
        take: usize,
        alone: bool,
    },
    Settle {
        claim: usize,
        result: Result,
    },
    Renew {
        claim: usize,
    },
    /// The lease of the job runs out.
    Lapse(usize),
    Die(usize),
    Cancel(usize),
    Revive(usize),
    Discard(usize),
    /// The time comes at which the job is due.
    ComeDue(usize),
    Promote,
    /// The job's deadline passes, and the scheduler comes by.
    Expire(usize),
    Pause(bool),
    PausePartition(usize, bool),
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::new()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Op> {
        let job = || any::<prop::sample::Index>().prop_map(|i| i.index(1000));
        // Mostly what was claimed lately, now and then a claim that is long void.
        let claim = || prop_oneof![6 => 0..3_usize, 1 => 3..40_usize];
        let result = || {
            prop_oneof![
                2 => Just(Result::Complete),
                1 => Just(Result::Commit),
                1 => Just(Result::GiveUp),
                3 => Just(Result::Retry),
                3 => Just(Result::Snooze),
                2 => Just(Result::Fail),
                2 => Just(Result::GiveBack),
            ]
        };
        let key = || prop::option::of(0..3_usize);
        prop_oneof![
            5 => (0..PARTITIONS, 0..2_i16, any::<bool>(), key(), any::<bool>()).prop_map(
                |(partition, priority, later, key, replace)| Op::Enqueue {
                    partition, priority, later, key, replace,
                }),
            2 => (0..PARTITIONS, prop::bool::weighted(0.2), any::<bool>()).prop_map(
                |(partition, later, ends_are_enough)| Op::Chain { partition, later, ends_are_enough }),
            12 => (0..WORKERS, 0..PARTITIONS, 1..4_usize, any::<bool>()).prop_map(
                |(worker, partition, take, alone)| Op::Claim { worker, partition, take, alone }),
            10 => (claim(), result()).prop_map(|(claim, result)| Op::Settle { claim, result }),
            1 => claim().prop_map(|claim| Op::Renew { claim }),
            6 => job().prop_map(Op::Lapse),
            1 => (0..WORKERS).prop_map(Op::Die),
            2 => job().prop_map(Op::Cancel),
            4 => job().prop_map(Op::Revive),
            2 => job().prop_map(Op::Discard),
            4 => job().prop_map(Op::ComeDue),
            2 => Just(Op::Promote),
            1 => job().prop_map(Op::Expire),
            1 => prop::bool::weighted(0.3).prop_map(Op::Pause),
            1 => (0..PARTITIONS, prop::bool::weighted(0.3))
                .prop_map(|(partition, paused)| Op::PausePartition(partition, paused)),
        ]
        .boxed()
    }

    fn apply(state: Self, op: &Op) -> Self {
        state.step(op)
    }
}
