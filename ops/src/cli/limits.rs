//! `limits` and `kinds`: what may run at once and how fast, and which kinds are not run at all.

use super::args::{Global, Kinds, LimitFor, LimitSet, Limits};
use super::drain;
use super::jobs::{away, instant};
use super::output::{Failure, Output, table};
use super::steer::{open, unknown};
use crate::Fault;
use crate::config::written_duration;
use serde_json::json;
use std::time::Duration;
use switchyard_queue::JobState;
use switchyard_store::jobs::{self, Drained, KindSummary};
use switchyard_store::limits::{self, LimitRefusal, LimitRow, LimitScope};
use switchyard_store::{Db, StoreFault};

/// Limits that are listed; those of partitions that came from a pattern may be many.
const MOST_LISTED: u32 = 1000;

pub(super) async fn limits(
    global: &Global,
    command: &Limits,
    output: Output,
) -> Result<(), Failure> {
    let base = open(global)?;
    let ended = match command {
        Limits::List => list_limits(&base.db, output).await,
        Limits::Set(limit) => set(&base.db, limit, output).await,
        Limits::Remove(what) => remove(&base.db, what, output).await,
    };
    base.close().await;
    ended
}

pub(super) async fn kinds(global: &Global, command: &Kinds, output: Output) -> Result<(), Failure> {
    let base = open(global)?;
    let ended = match command {
        Kinds::List => list_kinds(&base.db, output).await,
        Kinds::Pause { kind } => pause(&base.db, kind, true, output).await,
        Kinds::Resume { kind } => pause(&base.db, kind, false, output).await,
        Kinds::Drain { kind, wait } => {
            let (what, answer) = (Drained::Kind(kind), json!({ "kind": kind }));
            drain::drain(&base.db, what, *wait, no_kind, answer, output).await
        }
    };
    base.close().await;
    ended
}

async fn list_limits(db: &Db, output: Output) -> Result<(), Failure> {
    let all = limits::list(db, MOST_LISTED).await.map_err(away)?;
    output.answer(&json!({ "limits": all }), || {
        let columns = ["LIMIT OF", "RUNNING", "MAX", "RATE", "BURST", "NEXT START"];
        table(&columns, &all.iter().map(row).collect::<Vec<_>>())
    });
    Ok(())
}

fn row(limit: &LimitRow) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let pattern = if limit.from_pattern { " (from the pattern)" } else { "" };
    vec![
        format!("{}{pattern}", limit.scope),
        limit.running.to_string(),
        or_none(limit.max_running.map(|n| n.to_string())),
        or_none(limit.rate.map(|r| r.to_string())),
        or_none(limit.rate.map(|r| r.burst.to_string())),
        limit.next_start.map_or_else(|| "now".to_owned(), instant),
    ]
}

async fn set(db: &Db, limit: &LimitSet, output: Output) -> Result<(), Failure> {
    let scope = scope(&limit.what)?;
    let rate = limit.rate.map(|r| r.bursting(limit.burst));
    limits::set(db, &scope, limit.max_running, rate).await.map_err(refused)?;
    let told = json!({ "limit": scope, "max_running": limit.max_running, "rate": rate });
    output.answer(&told, || {
        let most = limit.max_running.map(|n| format!("at most {n} running at once"));
        let rate = rate.map(|r| format!("at most {r} starts, {} of them at once", r.burst));
        let both: Vec<String> = most.into_iter().chain(rate).collect();
        format!("{scope}: {}", both.join(", "))
    });
    Ok(())
}

async fn remove(db: &Db, what: &LimitFor, output: Output) -> Result<(), Failure> {
    let scope = scope(what)?;
    let none = "there is no such limit, or it comes from the one for each partition: remove that, or \
                set one for this partition";
    limits::remove(db, &scope).await.map_err(|e| unknown(e, none, "switchyard limits list"))?;
    output.answer(&json!({ "removed": scope }), || format!("no limit any more of {scope}"));
    Ok(())
}

fn scope(what: &LimitFor) -> Result<LimitScope, Failure> {
    let LimitFor { queue, partition, each_partition, key } = what;
    let (queue, partition) = (queue.clone(), partition.clone());
    LimitScope::named(queue, partition, *each_partition, key.clone()).map_err(refused)
}

fn refused(refusal: LimitRefusal) -> Failure {
    match refusal {
        LimitRefusal::Store(fault) => away(fault).into(),
        wrong => {
            let remedy = "`switchyard limits set --help` names what can be limited, and how";
            Failure::Usage(Fault::new("limit", wrong.to_string()).remedy(remedy))
        }
    }
}

async fn list_kinds(db: &Db, output: Output) -> Result<(), Failure> {
    let registry = switchyard_catalog::registry();
    let known = |k: KindSummary| {
        let info = registry.kinds().find(|i| i.kind == k.kind);
        k.known_as(info)
    };
    let all = jobs::kinds(db).await.map_err(away)?;
    let all: Vec<KindSummary> = all.into_iter().map(known).collect();
    output.answer(&json!({ "kinds": all }), || {
        let columns = [
            "KIND",
            "QUEUE",
            "PAUSED",
            "DECLARED",
            "TIMEOUT",
            "ATTEMPTS",
            "DEADLINE",
            "RETENTION",
            "STUCK AFTER",
            "ENCRYPTED",
            "AVAILABLE",
            "RUNNING",
            "RETRYABLE",
            "DISCARDED",
        ];
        table(&columns, &all.iter().map(kind_row).collect::<Vec<_>>())
    });
    Ok(())
}

fn kind_row(k: &KindSummary) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let n = |state| k.counts.get(&state).copied().unwrap_or_default().to_string();
    let time = |s: f64| written_duration(Duration::try_from_secs_f64(s).unwrap_or_default());
    let rules = k.rules.as_ref();
    vec![
        k.kind.clone(),
        or_none(k.queue.clone()),
        if k.paused { "yes" } else { "-" }.to_owned(),
        k.declared_at.map_or_else(|| "by no worker".to_owned(), instant),
        or_none(rules.map(|r| time(r.timeout_seconds))),
        or_none(rules.map(|r| r.max_attempts.to_string())),
        or_none(rules.and_then(|r| r.deadline_seconds).map(time)),
        or_none(rules.map(|r| r.retention.to_owned())),
        or_none(rules.and_then(|r| r.stuck_after_seconds).map(time)),
        if rules.is_some_and(|r| r.encrypted) { "yes" } else { "-" }.to_owned(),
        n(JobState::Available),
        n(JobState::Running),
        n(JobState::Retryable),
        n(JobState::Discarded),
    ]
}

async fn pause(db: &Db, kind: &str, paused: bool, output: Output) -> Result<(), Failure> {
    jobs::pause_kind(db, kind, paused).await.map_err(no_kind)?;
    output.answer(&json!({ "kind": kind, "paused": paused }), || {
        let what = if paused { "is paused" } else { "goes on" };
        format!("{kind} {what}; workers take it in within a second")
    });
    Ok(())
}

fn no_kind(fault: StoreFault) -> Fault {
    unknown(fault, "no worker ever declared such a kind", "switchyard kinds list")
}
