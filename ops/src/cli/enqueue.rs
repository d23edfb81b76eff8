//! `enqueue`: one job by kind and JSON, or many from a file. Both are the documents that HTTP takes, and
//! are checked as those are.

use super::args::{Enqueue, Global};
use super::load;
use super::output::{Failure, Output};
use crate::compose::Base;
use crate::config::{Needs, duration};
use crate::{Fault, database_help};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use switchyard_api::Kinds;
use switchyard_api::orders::{self, MOST_JOBS, NewJobRequest};
use switchyard_queue::{Enqueued, NewJob, Placement, TraceContext};
use switchyard_store::{Db, Scope, StoreFault};

/// Faults of a file that are told at once.
const MOST_FAULTS: usize = 20;

pub(super) async fn enqueue(
    global: &Global,
    args: &Enqueue,
    output: Output,
) -> Result<(), Failure> {
    let kinds = switchyard_catalog::registry();
    // What is wrong with the line or the file is told before anything is connected.
    let jobs = match &args.file {
        Some(file) => from_file(file, &kinds)?,
        None => vec![request(args)?.into_job(&kinds).map_err(|e| usage("arguments", e))?],
    };
    let config = load(global, Vec::new(), Needs { database: true, ..Needs::default() })?;
    let base = Base::open(config)?;
    let placed = place(&base.db, &kinds, jobs).await;
    base.close().await;
    let placed = placed.map_err(fault)?;
    match placed.as_slice() {
        [one] if args.file.is_none() => output.answer(&Answer::of(one), || told(one)),
        all => output
            .answer(&json!({ "jobs": all.iter().map(Answer::of).collect::<Vec<_>>() }), || {
                all.iter().map(told).collect::<Vec<_>>().join("\n")
            }),
    }
    Ok(())
}

/// What became of one job.
#[derive(Serialize)]
struct Answer {
    id: String,
    inserted: bool,
    outcome: &'static str,
}

impl Answer {
    fn of(done: &Enqueued) -> Self {
        Self { id: done.id.to_string(), inserted: done.inserted(), outcome: done.what.as_str() }
    }
}

fn told(done: &Enqueued) -> String {
    let note = match done.what {
        Placement::Inserted => "",
        Placement::Standing => " (stands already, under the same unique key)",
        Placement::Replaced => " (stood already, under the same unique key, and was changed)",
    };
    format!("{}{note}", done.id)
}

/// Enqueues all of them in one transaction.
async fn place(db: &Db, kinds: &dyn Kinds, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreFault> {
    let mut jobs = orders::secret(db, kinds, jobs).await?;
    // Each command is a request of its own, or the dashboard would show them all as one.
    let request = jobs.first().map(|job| format!("cli-{}", job.id));
    let trace = TraceContext::new_root();
    jobs = jobs.into_iter().map(|j| j.caused_by(Some(trace), request.as_deref())).collect();
    let mut tx = db.begin(Scope::Platform).await?;
    let placed = tx.enqueue_all(jobs).await?;
    tx.commit().await?;
    Ok(placed)
}

fn fault(e: StoreFault) -> Fault {
    match e {
        StoreFault::Sealed(fault) => Fault::new("sealed", fault.to_string()),
        e => database_help::fault("database", "nothing was enqueued", e),
    }
}

fn usage(code: &'static str, what: String) -> Failure {
    Failure::Usage(Fault::new(code, what))
}

/// What the command line asks for, as a document.
fn request(args: &Enqueue) -> Result<NewJobRequest, Failure> {
    let value: Value = serde_json::from_str(&args.args)
        .map_err(|e| usage("arguments", format!("the arguments are no JSON: {e}")))?;
    let time = |code, text: &Option<String>| match text {
        Some(text) => whole_seconds(code, text).map(Some),
        None => Ok(None),
    };
    let timeout = time("timeout", &args.timeout)?.map(|s| u32::try_from(s).unwrap_or(u32::MAX));
    Ok(NewJobRequest {
        kind: args.kind.clone().unwrap_or_default(),
        args: value,
        delay_seconds: time("delay", &args.delay)?.unwrap_or_default(),
        run_at: args.at,
        queue: args.queue.clone(),
        partition: args.partition.clone(),
        limit_key: args.limit_key.clone(),
        priority: args.priority,
        max_attempts: args.max_attempts,
        timeout_seconds: timeout,
        deadline_seconds: time("deadline", &args.deadline)?,
        unique_key: args.unique_key.clone(),
        unique_for_seconds: time("unique_for", &args.unique_for)?,
        unique_until: args.unique_until,
        replace_args: args.replace_args,
        replace_run_at: args.replace_run_at,
        tenant: args.tenant,
    })
}

fn whole_seconds(code: &'static str, text: &str) -> Result<u64, Failure> {
    let what =
        || usage(code, format!("`{text}` is no duration of whole seconds: write 90s, 5m or 2h"));
    let time = duration(text).filter(|d| d.subsec_nanos() == 0).ok_or_else(what)?;
    Ok(time.as_secs())
}

/// The jobs of a file, a document a line; empty lines are stepped over.
fn from_file(file: &Path, kinds: &dyn Kinds) -> Result<Vec<NewJob>, Failure> {
    let text = read(file)?;
    let (mut jobs, mut faults) = (Vec::new(), Vec::new());
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (n, line) in lines {
        let asked = serde_json::from_str::<NewJobRequest>(line).map_err(|e| unread(&e));
        match asked.and_then(|job| job.into_job(kinds)) {
            Ok(job) => jobs.push(job),
            Err(why) => faults.push(format!("line {}: {why}", n + 1)),
        }
        if faults.len() == MOST_FAULTS {
            break;
        }
    }
    if !faults.is_empty() {
        let what = format!("nothing was enqueued:\n{}", faults.join("\n"));
        return Err(usage("jobs", what));
    }
    if !(1..=MOST_JOBS).contains(&jobs.len()) {
        let what = format!("the file holds {} jobs: 1 to {MOST_JOBS} go together", jobs.len());
        let fault = Fault::new("jobs", what).remedy("divide it, `split -l 10000` for one");
        return Err(Failure::Usage(fault));
    }
    Ok(jobs)
}

/// What is wrong with a line, which serde takes for the first of a document.
fn unread(e: &serde_json::Error) -> String {
    let (said, place) = (e.to_string(), format!(" at line {} column {}", e.line(), e.column()));
    said.strip_suffix(&place).unwrap_or(&said).to_owned()
}

/// A file's text; `-` is the standard input.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(file).map(|all| text = all)
    };
    read.map_err(|e| {
        let what = format!("{} cannot be read", file.display());
        Failure::Usage(Fault::new("file", what).caused_by(e))
    })?;
    Ok(text)
}
