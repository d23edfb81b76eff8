//! `enqueue`: one job by kind and JSON, checked against the kind's own type.

use super::args::{Enqueue, Global};
use super::load;
use super::output::{Failure, Output};
use crate::compose::Base;
use crate::config::{Needs, duration};
use crate::{Fault, database_help};
use serde_json::{Value, json};
use switchyard_queue::{NewJob, Placement, TraceContext};
use switchyard_store::limits::LimitScope;
use switchyard_store::{Scope, StoreFault};

pub(super) async fn enqueue(
    global: &Global,
    args: &Enqueue,
    output: Output,
) -> Result<(), Failure> {
    // What is wrong with the line is told before anything is connected.
    let job = job(args)?;
    let config = load(global, Vec::new(), Needs { database: true, secret_key: false })?;
    let base = Base::open(config)?;
    let fault = |e| match e {
        StoreFault::Sealed(fault) => Fault::new("sealed", fault.to_string()),
        e => database_help::fault("database", "the job could not be written", e),
    };
    let mut tx = base.db.begin(Scope::Platform).await.map_err(fault)?;
    let done = tx.enqueue(job).await.map_err(fault)?;
    tx.commit().await.map_err(fault)?;
    base.close().await;
    let what = done.what.as_str();
    let answer = json!({ "id": done.id, "inserted": done.inserted(), "outcome": what });
    output.answer(&answer, || {
        let note = match done.what {
            Placement::Inserted => "",
            Placement::Standing => " (stands already, under the same unique key)",
            Placement::Replaced => " (stood already, under the same unique key, and was changed)",
        };
        format!("{}{note}", done.id)
    });
    Ok(())
}

fn job(args: &Enqueue) -> Result<NewJob, Failure> {
    let usage = |code, what: String| Failure::Usage(Fault::new(code, what));
    let value: Value = serde_json::from_str(&args.args)
        .map_err(|e| usage("arguments", format!("the arguments are no JSON: {e}")))?;
    let mut job = switchyard_catalog::registry()
        .parse(&args.kind, value)
        .map_err(|e| usage("arguments", e))?;
    let time = |code, text: &str| {
        let what = || usage(code, format!("`{text}` is no duration: write 90s, 5m or 2h"));
        duration(text).ok_or_else(what)
    };
    if let Some(text) = &args.deadline {
        job.deadline = Some(time("deadline", text)?);
    }
    if let Some(text) = &args.delay {
        job.delay = Some(time("delay", text)?);
        job.run_at = None;
    }
    if let Some(priority) = args.priority {
        job.priority = priority;
    }
    if let Some(key) = &args.limit_key {
        let scope = LimitScope::named(None, None, false, Some(key.clone()));
        scope.map_err(|e| usage("limit_key", e.to_string()))?;
        job.limit_key.clone_from(key);
    }
    // Each command is a request of its own, or the dashboard would show them all as one.
    let request = format!("cli-{}", job.id);
    Ok(job.caused_by(Some(TraceContext::new_root()), Some(&request)))
}
