//! The queue's tables: enqueue, claim, settle, presence, inspection, maintenance.
//!
//! Two rules hold everywhere. A statement that changes a job's state appends the counter deltas of
//! that change, so counters and jobs commit together. A statement that locks several jobs either
//! takes them in the order of their ids or skips what is locked, so no two of them can deadlock.
//!
//! And one for plans: a list is never joined with a table, see [`plans`].

mod claim;
pub(crate) mod coalesce;
pub mod effects;
pub(crate) mod enqueue;
mod job_store;
pub mod jobs;
pub(crate) mod kinds;
pub(crate) mod lanes;
pub mod limits;
pub(crate) mod line;
pub mod maintenance;
mod parking;
mod plans;
mod presence;
mod progress;
pub mod sealing;
pub(crate) mod settle;
mod uniques;
pub mod workflows;

pub use job_store::PgJobStore;

/// First keys of the advisory locks (the two-integer space, which sqlx's migrator does not use).
/// 1398231890 (`0x5357_5352`) is taken by `engine.ensure_slices`.
pub(crate) mod locks {
    /// With a worker's number: held by that worker for as long as it lives.
    pub(crate) const WORKER: i32 = 0x5357_574b;
    /// With 0: held for one statement by whoever looks for dead workers.
    pub(crate) const REAPER: i32 = 0x5357_5250;
    /// Held for one statement by whoever folds: with 0 the counters, with 1 the failures.
    pub(crate) const FOLD: i32 = 0x5357_464f;
    /// With a limit's number: held by whoever claims under it, until the claim is committed.
    pub(crate) const LIMIT: i32 = 0x5357_4c54;
    /// With 0: held by the scheduler that leads, for as long as it does.
    pub(crate) const LEADER: i32 = 0x5357_4c44;
    /// With the number of a sort of runs: held by whoever runs a backup of that sort.
    pub(crate) const BACKUP: i32 = 0x5357_424b;
}

/// Seconds for PostgreSQL: durations beyond a century mean "never" and must not overflow an
/// interval.
pub(crate) fn seconds(d: std::time::Duration) -> f64 {
    const CENTURY: f64 = 3_155_760_000.0;
    d.as_secs_f64().min(CENTURY)
}
