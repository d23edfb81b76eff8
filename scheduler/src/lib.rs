//! The scheduler: any number of processes run it, one of them leads. The leader makes the firings
//! of the cron table, each exactly once, and does the engine's periodic maintenance.

mod calendar;
mod catch_up;
mod chores;
mod fire;
mod lead;
mod trouble;

use calendar::Calendar;
use chrono::{DateTime, Utc};
use fire::Line;
use std::collections::HashSet;
use std::time::Duration;
use switchyard_queue::{NewJob, ScheduleSpec};
use switchyard_store::Db;
use switchyard_store::maintenance::KeepDays;
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
    /// Days for which finished jobs are kept; attempts, failures and firings as the standard class.
    pub keep_days: KeepDays,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            campaign_interval: Duration::from_secs(1),
            tick: Duration::from_secs(1),
            grace: Duration::from_secs(60),
            keep_days: KeepDays::default(),
        }
    }
}

/// Runs until `shutdown` fires, and never errs: what fails is logged and tried again. Lines of the
/// table that cannot be read are logged and left out; [`check`] finds them beforehand.
///
/// A firing is made once over any number of processes. Firings that nobody was there to make
/// follow their schedule's [`switchyard_queue::MissedPolicy`], at most 1,000 at once.
pub async fn run(
    db: Db,
    schedules: Vec<Planned>,
    config: SchedulerConfig,
    shutdown: CancellationToken,
) {
    let mut lines = Vec::new();
    for planned in schedules {
        match Line::of(planned) {
            Ok(line) => lines.push(line),
            Err(e) => tracing::error!(error = e, "a schedule is left out: mend its definition"),
        }
    }
    lead::run(db, lines, config, shutdown).await;
}

/// What is wrong with a cron table, a sentence each; nothing if it will do.
#[must_use]
pub fn check(schedules: &[ScheduleSpec]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut names = HashSet::new();
    for spec in schedules {
        if !names.insert(spec.name) {
            faults.push(format!("schedule `{}` is there twice", spec.name));
        }
        if let Err(e) = Calendar::parse(spec.cron, spec.tz) {
            faults.push(format!("schedule `{}`: {e}", spec.name));
        }
    }
    faults
}

/// When a schedule fires next after `after`; never, if the answer is none.
///
/// # Errors
/// A sentence about what is wrong with the expression or the time zone.
pub fn next_fire(
    cron: &str,
    tz: &str,
    after: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, String> {
    Ok(Calendar::parse(cron, tz)?.next(after))
}
