//! Making the firings of the cron table.

use crate::calendar::Calendar;
use crate::catch_up::{self, MOST};
use crate::trouble::{Trouble, chain};
use crate::{Planned, SchedulerConfig};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::time::Duration;
use switchyard_queue::{NewJob, ScheduleSpec, TraceContext};
use switchyard_store::schedules::{self, ScheduleRow, Stretch};
use switchyard_store::{Db, Result};
use tokio_util::sync::CancellationToken;

/// A firing that came a moment early by our clock is asked about again after this long.
const SHORTEST: Duration = Duration::from_millis(2);

/// A schedule that could be read.
#[derive(Clone)]
pub(crate) struct Line {
    spec: ScheduleSpec,
    calendar: Calendar,
    job: NewJob,
}

impl Line {
    /// # Errors
    /// A sentence about what is wrong with it.
    pub(crate) fn of(planned: Planned) -> std::result::Result<Self, String> {
        let Planned { spec, job } = planned;
        let calendar = Calendar::parse(spec.cron, spec.tz)
            .map_err(|e| format!("schedule `{}`: {e}", spec.name))?;
        Ok(Self { spec, calendar, job })
    }

    /// As it is written into the cron table: without arguments that are secret. Jobs are made from what
    /// the program has, not from there.
    fn shown(&self) -> ScheduleSpec {
        let mut spec = self.spec.clone();
        if self.job.encrypted {
            spec.args = serde_json::json!({ "$sealed": true });
        }
        spec
    }
}

/// Brings the stored table up to date, then makes firings until `term` ends.
pub(crate) async fn run(
    db: Db,
    lines: Vec<Line>,
    config: SchedulerConfig,
    term: CancellationToken,
) {
    let work = async {
        let mut trouble = Trouble::new("read the cron table");
        let specs: Vec<ScheduleSpec> = lines.iter().map(Line::shown).collect();
        let specs: Vec<&ScheduleSpec> = specs.iter().collect();
        while let Err(fault) = schedules::sync(&db, &specs).await {
            tokio::time::sleep(trouble.again(&fault)).await;
        }
        let mut lines: Vec<_> =
            lines.iter().map(|l| (l, Trouble::new("fire a schedule"))).collect();
        loop {
            let pause = match round(&db, &mut lines, &config).await {
                Ok(next) => {
                    trouble.over();
                    next.clamp(SHORTEST, config.tick)
                }
                Err(fault) => trouble.again(&fault),
            };
            tokio::time::sleep(pause).await;
        }
    };
    term.run_until_cancelled(work).await;
}

/// One look at the table; gives the time until the next firing. The database's clock rules.
async fn round(
    db: &Db,
    lines: &mut [(&Line, Trouble)],
    config: &SchedulerConfig,
) -> Result<Duration> {
    let (now, rows) = schedules::list(db).await?;
    let rows: HashMap<&str, &ScheduleRow> = rows.iter().map(|r| (r.name.as_str(), r)).collect();
    let mut next = config.tick;
    for (line, trouble) in lines {
        // Gone: a leader with another program removed it. Its own round is its own business.
        let Some(row) = rows.get(line.spec.name).filter(|row| !row.paused) else { continue };
        match fire(db, line, row, now, config.grace).await {
            Ok(()) => trouble.over(),
            // One schedule's trouble is not the others'.
            Err(fault) if !fault.is_transient() => {
                tracing::debug!(schedule = line.spec.name, error = chain(&fault), "not fired");
                trouble.again(&fault);
            }
            Err(fault) => return Err(fault),
        }
        if let Some(at) = line.calendar.next(now) {
            next = next.min((at - now).to_std().unwrap_or_default());
        }
    }
    Ok(next)
}

async fn fire(
    db: &Db,
    line: &Line,
    row: &ScheduleRow,
    now: DateTime<Utc>,
    grace: Duration,
) -> Result<()> {
    let cursor = row.cursor();
    let due = line.calendar.between(cursor, now, MOST);
    let Some(&until) = due.last() else { return Ok(()) };
    let found = due.len();
    let fires = catch_up::choose(line.spec.missed, due, now, grace);
    let name = line.spec.name;
    if fires.len() < found {
        let left_out = found - fires.len();
        tracing::warn!(
            schedule = name,
            left_out,
            policy = line.spec.missed.as_str(),
            "firings were missed"
        );
    }
    // Nobody asked for these jobs, so a trace begins here.
    let job = NewJob { trace: Some(TraceContext::new_root()), ..line.job.clone() };
    let stretch = Stretch { name, cursor, fires: &fires, until };
    for at in schedules::fire(db, &stretch, &job).await? {
        let lag = (now - at).to_std().unwrap_or_default();
        metrics::counter!("switchyard_schedule_fires_total", "schedule" => name).increment(1);
        metrics::histogram!("switchyard_schedule_lag_seconds", "schedule" => name).record(lag);
        // Some do every few seconds; `switchyard schedules` shows the last ones.
        tracing::debug!(schedule = name, due = %at, "fired");
    }
    Ok(())
}
