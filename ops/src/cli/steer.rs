//! `queues` and `workers`: look at them, pause and resume, quiet.

use super::args::{Global, QueueArg, Queues, Workers};
use super::jobs::away;
use super::load;
use super::output::{Failure, Output, table};
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use serde_json::json;
use std::time::Duration;
use switchyard_queue::JobState;
use switchyard_store::jobs::{self, Drained, QueueSummary, WorkerRow};
use switchyard_store::{Db, StoreFault};

pub(super) async fn queues(
    global: &Global,
    command: &Queues,
    output: Output,
) -> Result<(), Failure> {
    let base = open(global)?;
    let ended = match command {
        Queues::List => list_queues(&base.db, output).await,
        Queues::Pause(queue) => pause(&base.db, queue, true, output).await,
        Queues::Resume(queue) => pause(&base.db, queue, false, output).await,
        Queues::Weight { queue, weight } => weigh(&base.db, queue, *weight, output).await,
        Queues::Drain { what, wait } => drain(&base.db, what, *wait, output).await,
    };
    base.close().await;
    ended
}

pub(super) async fn workers(
    global: &Global,
    command: &Workers,
    output: Output,
) -> Result<(), Failure> {
    let base = open(global)?;
    let ended = match command {
        Workers::List => list_workers(&base.db, output).await,
        Workers::Quiet { worker } => quiet(&base.db, *worker, true, output).await,
        Workers::Resume { worker } => quiet(&base.db, *worker, false, output).await,
    };
    base.close().await;
    ended
}

pub(super) fn open(global: &Global) -> Result<Base, Failure> {
    let config = load(global, Vec::new(), Needs { database: true, ..Needs::default() })?;
    Ok(Base::open(config)?)
}

async fn list_queues(db: &Db, output: Output) -> Result<(), Failure> {
    let all = jobs::queues(db).await.map_err(away)?;
    let cells = |q: &QueueSummary| {
        let n = |state| q.counts.get(&state).copied().unwrap_or_default().to_string();
        let paused = if q.paused { "yes".to_owned() } else { q.held.join(", ") };
        vec![
            q.queue.clone(),
            if paused.is_empty() { "-".to_owned() } else { paused },
            q.weight.to_string(),
            n(JobState::Available),
            n(JobState::Running),
            n(JobState::Retryable),
            n(JobState::Discarded),
            q.oldest_waiting
                .map_or_else(|| "-".to_owned(), |d| format!("{:.1} s", d.as_secs_f64())),
        ]
    };
    output.answer(&json!({ "queues": all }), || {
        let columns = [
            "QUEUE",
            "PAUSED",
            "WEIGHT",
            "AVAILABLE",
            "RUNNING",
            "RETRYABLE",
            "DISCARDED",
            "OLDEST",
        ];
        table(&columns, &all.iter().map(cells).collect::<Vec<_>>())
    });
    Ok(())
}

async fn pause(db: &Db, arg: &QueueArg, paused: bool, output: Output) -> Result<(), Failure> {
    let done = match &arg.partition {
        Some(partition) => jobs::pause_partition(db, &arg.queue, partition, paused).await,
        None => jobs::pause(db, &arg.queue, paused).await,
    };
    done.map_err(no_queue)?;
    let told = json!({ "queue": arg.queue, "partition": arg.partition, "paused": paused });
    output.answer(&told, || {
        let what = match &arg.partition {
            Some(partition) => format!("partition {partition} of {}", arg.queue),
            None => arg.queue.clone(),
        };
        format!("{what} {}", if paused { "is paused" } else { "goes on" })
    });
    Ok(())
}

async fn weigh(db: &Db, queue: &str, weight: u16, output: Output) -> Result<(), Failure> {
    jobs::weigh(db, queue, weight).await.map_err(no_queue)?;
    output.answer(&json!({ "queue": queue, "weight": weight }), || {
        format!("{queue} has weight {weight}; workers take it in within a second")
    });
    Ok(())
}

async fn drain(db: &Db, arg: &QueueArg, wait: Duration, output: Output) -> Result<(), Failure> {
    let what = match &arg.partition {
        Some(partition) => Drained::Partition { queue: &arg.queue, partition },
        None => Drained::Queue(&arg.queue),
    };
    let answer = json!({ "queue": arg.queue, "partition": arg.partition });
    super::drain::drain(db, what, wait, no_queue, answer, output).await
}

async fn list_workers(db: &Db, output: Output) -> Result<(), Failure> {
    let all = jobs::workers(db).await.map_err(away)?;
    let cells = |w: &WorkerRow| {
        let state = match (w.died_at, w.stopped_at) {
            (Some(_), _) => "died",
            (_, Some(_)) => "stopped",
            _ if w.quiet => "quiet",
            _ => "alive",
        };
        let name = format!("{}:{}", w.host, w.pid);
        vec![w.id.to_string(), name, state.to_owned(), w.version.clone(), w.queues.join(", ")]
    };
    output.answer(&json!({ "workers": all }), || {
        let rows: Vec<_> = all.iter().map(cells).collect();
        table(&["WORKER", "PROCESS", "STATE", "VERSION", "QUEUES"], &rows)
    });
    Ok(())
}

async fn quiet(db: &Db, worker: i64, quiet: bool, output: Output) -> Result<(), Failure> {
    let named = |e| unknown(e, "no such worker lives", "switchyard workers list");
    jobs::quiet(db, worker, quiet).await.map_err(named)?;
    output.answer(&json!({ "worker": worker, "quiet": quiet }), || {
        let does = if quiet { "finishes what it has and claims no more" } else { "claims again" };
        format!("worker {worker} {does}")
    });
    Ok(())
}

fn no_queue(fault: StoreFault) -> Fault {
    unknown(fault, "there never was a job in such a queue", "switchyard queues list")
}

pub(super) fn unknown(fault: StoreFault, what: &str, look: &str) -> Fault {
    match fault {
        StoreFault::NotFound => {
            Fault::new("not_found", what).remedy(format!("`{look}` names those that there are"))
        }
        other => away(other),
    }
}
