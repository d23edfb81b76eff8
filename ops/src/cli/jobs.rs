//! `jobs`: list, search, show, why, retry, cancel, discard, errors.

use super::args::{Global, JobArg, JobShow, Jobs, JobsList};
use super::output::{Failure, Output, table};
use super::{bulk, errors, load};
use crate::compose::Base;
use crate::config::Needs;
use crate::{Fault, database_help};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use switchyard_store::jobs::{self, AttemptRow, JobDetail, JobFilter, JobRow, Refusal, Why};
use switchyard_store::{StoreFault, sealing};

pub(super) async fn run(global: &Global, command: &Jobs, output: Output) -> Result<(), Failure> {
    let config = load(global, Vec::new(), Needs { database: true, ..Needs::default() })?;
    let base = Base::open(config)?;
    let ended = match command {
        Jobs::List(args) => list(&base, args, output).await,
        Jobs::Search(args) => bulk::search(&base, args, output).await,
        Jobs::Show(args) => show(&base, args, output).await,
        Jobs::Why(job) => why(&base, job, output).await,
        Jobs::Retry(job) => acted(jobs::retry(&base.db, job.job).await, "is due now", output),
        Jobs::Cancel(job) => {
            acted(jobs::cancel(&base.db, job.job).await, "is cancelled, or asked to stop", output)
        }
        Jobs::Discard(job) => {
            let done = "is a dead letter, or asked to stop";
            acted(jobs::discard(&base.db, job.job).await, done, output)
        }
        Jobs::Errors(args) => errors::run(&base, args, output).await,
    };
    base.close().await;
    ended
}

async fn list(base: &Base, args: &JobsList, output: Output) -> Result<(), Failure> {
    let filter = JobFilter {
        state: args.state,
        kind: args.kind.clone(),
        queue: args.queue.clone(),
        stuck: args.stuck,
        before: args.before,
        limit: u32::from(args.limit),
        ..JobFilter::default()
    };
    let rows = jobs::list(&base.db, &filter).await.map_err(away)?;
    output.answer(&json!({ "jobs": rows }), || {
        let cells: Vec<_> = rows.iter().map(row).collect();
        table(&["JOB", "KIND", "STATE", "ATTEMPT", "DUE", "QUEUE", "ERROR"], &cells)
    });
    Ok(())
}

async fn show(base: &Base, args: &JobShow, output: Output) -> Result<(), Failure> {
    let mut detail = jobs::show(&base.db, args.job).await.map_err(missing)?;
    if args.reveal {
        let job = args.job;
        let args = sealing::reveal(&base.db, job).await.map_err(missing)?;
        // Before the answer goes out: who looked, and at what.
        let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
        tracing::warn!(job = %job, kind = detail.row.kind, user, "arguments were revealed");
        detail.args = args;
    }
    output.answer(&detail, || told(&detail));
    Ok(())
}

async fn why(base: &Base, job: &JobArg, output: Output) -> Result<(), Failure> {
    let why = jobs::why(&base.db, job.job).await.map_err(missing)?;
    output.answer(&why, || explained(&why));
    Ok(())
}

fn explained(why: &Why) -> String {
    let head = format!("{} {} ({}): {}", why.kind, why.job, why.state, why.verdict.title());
    let reasons = why.reasons.iter();
    let lines = reasons.map(|r| format!("\n{:<18} {}\n  -> {}", r.code(), r.message(), r.remedy()));
    head + &lines.collect::<String>()
}

fn acted(result: Result<JobRow, Refusal>, done: &str, output: Output) -> Result<(), Failure> {
    let row = result.map_err(refused)?;
    output.answer(&json!({ "job": row }), || format!("{} {done}", row.id));
    Ok(())
}

pub(super) fn row(job: &JobRow) -> Vec<String> {
    let error = job.error.as_deref().and_then(|e| e.lines().next()).unwrap_or_default();
    vec![
        job.id.to_string(),
        job.kind.clone(),
        state(job),
        format!("{}/{}", job.attempt, job.max_attempts),
        instant(job.run_at),
        job.queue.clone(),
        error.chars().take(60).collect(),
    ]
}

/// The state, how far it is, and whether that is too long ago.
fn state(job: &JobRow) -> String {
    let share = job.progress.map(|f| format!(" {:.0} %", (f * 100.0).floor())).unwrap_or_default();
    let stuck = if job.stuck_since.is_some() { ", stuck" } else { "" };
    format!("{}{share}{stuck}", job.state)
}

fn progress(job: &JobRow) -> String {
    match (&job.progress_note, job.progress_at, job.stuck_since) {
        (Some(note), Some(at), _) => format!("{note} ({})", instant(at)),
        (.., Some(since)) => format!("silent since {}", instant(since)),
        _ => "-".to_owned(),
    }
}

fn told(detail: &JobDetail) -> String {
    let job = &detail.row;
    let none = || "-".to_owned();
    let optional = |t: Option<DateTime<Utc>>| t.map_or_else(none, instant);
    let text = |t: &Option<String>| t.clone().unwrap_or_else(none);
    let named = |t: &String| if t.is_empty() { none() } else { t.clone() };
    let facts = [
        ("job", job.id.to_string()),
        ("kind", job.kind.clone()),
        ("state", state(job)),
        ("progress", progress(job)),
        ("queue", format!("{} {}", job.queue, job.partition)),
        ("priority", job.priority.to_string()),
        ("limit key", named(&job.limit_key)),
        ("unique key", text(&job.unique_key)),
        ("tenant", job.tenant.map_or_else(none, |t| t.to_string())),
        ("timeout", format!("{} s", f64::from(job.timeout_ms) / 1000.0)),
        ("worker", job.worker.map_or_else(none, |w| w.0.to_string())),
        ("attempts", format!("{} of {}, {} crashes", job.attempt, job.max_attempts, job.crashes)),
        ("created", instant(job.created_at)),
        ("due", instant(job.run_at)),
        ("deadline", optional(job.deadline)),
        ("started", optional(job.started_at)),
        ("finished", optional(job.finished_at)),
        ("workflow", job.workflow.map_or_else(none, |w| w.to_string())),
        ("request", text(&job.request_id)),
        ("trace", text(&job.trace)),
        ("error", text(&job.error)),
        ("arguments", detail.args.to_string()),
    ];
    let lines: Vec<String> =
        facts.iter().map(|(name, value)| format!("{name:<10} {}", value.trim_end())).collect();
    let attempts: Vec<_> = detail.attempts.iter().map(attempt).collect();
    let head = ["ATTEMPT", "WORKER", "STARTED", "ENDED", "OUTCOME", "ERROR"];
    format!("{}\n\n{}", lines.join("\n"), table(&head, &attempts))
}

fn attempt(a: &AttemptRow) -> Vec<String> {
    vec![
        a.attempt.to_string(),
        a.worker.map(|w| w.to_string()).unwrap_or_default(),
        a.started_at.map(instant).unwrap_or_default(),
        instant(a.ended_at),
        a.outcome.clone(),
        a.error.clone().unwrap_or_default().replace('\n', ": "),
    ]
}

pub(super) fn instant(t: DateTime<Utc>) -> String {
    t.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn missing(e: StoreFault) -> Failure {
    match e {
        StoreFault::NotFound => refused(Refusal::NotFound),
        other => away(other).into(),
    }
}

pub(super) fn away(e: StoreFault) -> Fault {
    match e {
        StoreFault::Sealed(fault) => Fault::new("sealed", fault.to_string()),
        e if e.constraint() == Some("released_first") => {
            Fault::new("not_released", "this system was restored and is not released")
                .remedy("`switchyard release` lets all queues go on")
        }
        e => database_help::fault("database", "the database did not answer as it should", e),
    }
}

fn refused(refusal: Refusal) -> Failure {
    let what = refusal.to_string();
    let fault = match refusal {
        Refusal::NotFound => Fault::new("not_found", what),
        Refusal::WrongState(_) => Fault::new("wrong_state", what),
        Refusal::KeyHeld(_) => Fault::new("key_held", what),
        Refusal::Store(e) => away(e),
    };
    fault.into()
}
