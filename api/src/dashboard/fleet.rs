//! Workers and schedules.

use super::assets::Asset;
use super::data::Data;
use super::error::{OpsError, Screen};
use super::format::When;
use super::jobs::missing;
use super::live::Hub;
use super::session::back;
use super::shell::{Notice, Shell, page};
use crate::Api;
use crate::auth::{Caller, WorkersManage, WorkersRead};
use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use std::str::FromStr;
use std::sync::Arc;
use switchyard_queue::JobId;
use switchyard_store::jobs::{self, WorkerRow};
use switchyard_store::schedules::{self, ScheduleRow};

/// A worker's row.
struct WorkerView {
    id: i64,
    name: String,
    state: &'static str,
    running: usize,
    /// What can be done with it: the verb, and the word on the button.
    act: Option<(&'static str, &'static str)>,
    version: String,
    queues: String,
    kinds: String,
    started: When,
    ended: Option<When>,
}

impl WorkerView {
    fn new(row: &WorkerRow, data: &Data, now: DateTime<Utc>) -> Self {
        Self {
            id: row.id,
            name: format!("{}:{}", row.host, row.pid),
            state: match (row.died_at, row.stopped_at) {
                (Some(_), _) => "died",
                (_, Some(_)) => "stopped",
                _ if row.quiet => "quiet",
                _ => "alive",
            },
            running: data.workers.iter().find(|w| w.id == row.id).map_or(0, |w| w.running),
            act: row.is_live().then_some(match row.quiet {
                true => ("resume", "Let it claim"),
                false => ("quiet", "Quiet"),
            }),
            version: row.version.clone(),
            queues: row.queues.join(", "),
            kinds: row.kinds.join(", "),
            started: When::new(row.started_at, now),
            ended: row.died_at.or(row.stopped_at).map(|at| When::new(at, now)),
        }
    }
}

#[derive(Template)]
#[template(path = "workers.html")]
struct Workers {
    shell: Shell,
    rows: Vec<WorkerView>,
    unserved: Vec<&'static str>,
}

/// `GET /ops/workers`
pub(super) async fn workers(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<WorkersRead>,
    shell: Shell,
) -> Screen {
    let data = hub.data().await?;
    let rows = jobs::workers(&api.db).await?;
    let kinds = api.registry.kinds();
    page(&Workers {
        rows: rows.iter().map(|w| WorkerView::new(w, &data, shell.now)).collect(),
        unserved: kinds.iter().map(|k| k.kind).filter(|k| data.unserved(k)).collect(),
        shell: shell.at("/ops/workers"),
    })
}

/// `POST /ops/workers/{worker}/{verb}`: `quiet` or `resume`.
pub(super) async fn steer(
    State(api): State<Api>,
    _: Caller<WorkersManage>,
    headers: HeaderMap,
    Path((worker, verb)): Path<(i64, String)>,
) -> Screen {
    let quiet = match verb.as_str() {
        "quiet" => true,
        "resume" => false,
        _ => return Err(OpsError::not_found("Workers can be quieted and resumed.")),
    };
    jobs::quiet(&api.db, worker, quiet).await.map_err(|e| missing(e, "No such worker lives."))?;
    let word = if quiet { "finishes what it has and claims no more" } else { "claims again" };
    let notice = Notice::done(format!("Worker {worker} {word}."));
    Ok(back("/ops/workers", &notice, &headers))
}

/// A schedule's row.
struct ScheduleView {
    name: String,
    cron: String,
    tz: String,
    kind: String,
    unserved: bool,
    policy: &'static str,
    paused: bool,
    last: Option<When>,
    last_job: Option<JobId>,
    next: Option<When>,
}

impl ScheduleView {
    fn new(row: ScheduleRow, last_job: Option<JobId>, data: &Data, now: DateTime<Utc>) -> Self {
        let next = if row.paused { None } else { next_fire(&row.cron, &row.tz, now) };
        Self {
            unserved: data.unserved(&row.kind),
            policy: match row.policy.as_str() {
                "once" => "one makes up for all",
                "all" => "every one is made up for",
                _ => "left out",
            },
            paused: row.paused,
            last: row.last_fire.map(|at| When::new(at, now)),
            last_job,
            next: next.map(|at| When::new(at, now)),
            name: row.name,
            cron: row.cron,
            tz: row.tz,
            kind: row.kind,
        }
    }
}

/// When a cron line fires next, meant in its time zone.
fn next_fire(cron: &str, tz: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let schedule = cron::Schedule::from_str(cron).ok()?;
    let tz: chrono_tz::Tz = tz.parse().ok()?;
    schedule.after(&now.with_timezone(&tz)).next().map(|at| at.with_timezone(&Utc))
}

#[derive(Template)]
#[template(path = "schedules.html")]
struct Schedules {
    shell: Shell,
    rows: Vec<ScheduleView>,
}

/// `GET /ops/schedules`
pub(super) async fn schedules(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<WorkersRead>,
    shell: Shell,
) -> Screen {
    let data = hub.data().await?;
    let (_, found) = schedules::list(&api.db).await?;
    let mut rows = Vec::with_capacity(found.len());
    for row in found {
        let firing = schedules::firings(&api.db, &row.name, 1).await?;
        let job = firing.first().map(|f| JobId(f.job_id));
        rows.push(ScheduleView::new(row, job, &data, shell.now));
    }
    page(&Schedules { rows, shell: shell.at("/ops/schedules") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::next_fire;

    #[test]
    fn the_next_firing_is_in_the_schedule_s_zone() {
        let now = "2026-07-01T10:30:00Z".parse().unwrap();
        let warsaw = next_fire("0 0 13 * * *", "Europe/Warsaw", now).unwrap();
        assert_eq!(warsaw.to_rfc3339(), "2026-07-01T11:00:00+00:00");
        assert_eq!(next_fire("nonsense", "UTC", now), None);
        assert_eq!(next_fire("0 0 13 * * *", "Mars/Olympus", now), None);
    }
}
