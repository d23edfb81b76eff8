//! The jobs of the storm, the network and the clocks.

use switchyard_queue::{Job, NewJob, Options};
use switchyard_tests::chaos::{Commit, Effect, Sleep};

/// In a partition of the queue.
pub fn job(job: &impl Job, partition: &str) -> NewJob {
    NewJob::with_options(job, Options::new().partition(partition)).unwrap()
}

/// A third of the jobs each: sleeps, effects, commits.
pub fn mixed(n: u32, ms: u64) -> NewJob {
    let lane = (n % 5).to_string();
    match n % 3 {
        0 => job(&Sleep { n, ms }, &lane),
        1 => job(&Effect { n, ms }, &lane),
        _ => job(&Commit { n, ms }, &lane),
    }
}
