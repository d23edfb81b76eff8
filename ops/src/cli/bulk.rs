//! `jobs search` and `bulk`: find jobs anywhere, and do one thing to all of them.

use super::args::{Bulk, BulkStart, FilterArgs, Global, JobsSearch};
use super::jobs::{away, instant, row};
use super::load;
use super::output::{Failure, Output, table};
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use serde_json::json;
use switchyard_store::jobs::bulk::{self, Action, BulkOp, BulkRefusal};
use switchyard_store::jobs::{self, Filter};

const COLUMNS: [&str; 7] = ["JOB", "KIND", "STATE", "ATTEMPT", "DUE", "QUEUE", "ERROR"];

/// Goes on until the page is full or everything was looked at: nobody waits for a screen here.
pub(super) async fn search(base: &Base, args: &JobsSearch, output: Output) -> Result<(), Failure> {
    let filter = filter(&args.filter)?;
    let limit = u32::from(args.limit);
    let (mut rows, mut cursor) = (Vec::new(), args.after);
    loop {
        let missing = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        let found = jobs::search(&base.db, &filter, cursor, missing).await.map_err(away)?;
        rows.extend(found.rows);
        cursor = found.next;
        if cursor.is_none() || rows.len() >= limit as usize {
            break;
        }
    }
    let next = cursor.map(|c| c.to_string());
    output.answer(&json!({ "jobs": rows, "next": next }), || {
        let cells: Vec<_> = rows.iter().map(row).collect();
        let more = next.map(|n| format!("\n\nmore: --after {n}")).unwrap_or_default();
        table(&COLUMNS, &cells) + &more
    });
    Ok(())
}

pub(super) async fn run(global: &Global, command: &Bulk, output: Output) -> Result<(), Failure> {
    let config = load(global, Vec::new(), Needs { database: true, ..Needs::default() })?;
    let base = Base::open(config)?;
    let ended = match command {
        Bulk::Start(args) => start(&base, args, output).await,
        Bulk::Show { operation } => told(bulk::find(&base.db, *operation).await, output),
        Bulk::Stop { operation } => told(bulk::stop(&base.db, *operation).await, output),
        Bulk::Undo { operation } => told(bulk::undo(&base.db, *operation, "cli").await, output),
        Bulk::List => list(&base, output).await,
    };
    base.close().await;
    ended
}

async fn start(base: &Base, args: &BulkStart, output: Output) -> Result<(), Failure> {
    let filter = filter(&args.filter)?;
    let action = match args.action.as_str() {
        "retry" => Action::Retry,
        "cancel" => Action::Cancel,
        "discard" => Action::Discard,
        _ => Action::Move {
            queue: args.to_queue.clone(),
            partition: args.to_partition.clone(),
            priority: args.to_priority,
        },
    };
    if !args.dry_run {
        return told(bulk::start(&base.db, &action, &filter, "cli").await, output);
    }
    let dry = bulk::dry_run(&base.db, &action, &filter).await.map_err(refused)?;
    output.answer(&dry, || {
        let cells: Vec<_> = dry.sample.iter().map(row).collect();
        let least = if dry.exact { "" } else { "at least " };
        format!(
            "{} would act on {least}{} jobs\n\n{}",
            dry.action,
            dry.count,
            table(&COLUMNS, &cells)
        )
    });
    Ok(())
}

async fn list(base: &Base, output: Output) -> Result<(), Failure> {
    let ops = bulk::list(&base.db, 100).await.map_err(away)?;
    let cells = |o: &BulkOp| {
        vec![
            o.id.to_string(),
            o.action.clone(),
            o.state.clone(),
            progress(o),
            o.skipped.values().sum::<i64>().to_string(),
            instant(o.created_at),
            o.by.clone(),
        ]
    };
    output.answer(&json!({ "operations": ops }), || {
        let rows: Vec<_> = ops.iter().map(cells).collect();
        table(&["OPERATION", "ACTION", "STATE", "DONE", "SKIPPED", "STARTED", "BY"], &rows)
    });
    Ok(())
}

fn told(result: Result<BulkOp, BulkRefusal>, output: Output) -> Result<(), Failure> {
    let op = result.map_err(refused)?;
    output.answer(&op, || {
        let filter: Vec<String> =
            op.filter.pairs().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let skipped: Vec<String> =
            op.skipped.iter().map(|(why, n)| format!("{why}: {n}")).collect();
        let optional = |t: Option<_>| t.map_or_else(|| "-".to_owned(), instant);
        let text = |t: Option<String>| t.unwrap_or_else(|| "-".to_owned());
        let facts = [
            ("operation", op.id.to_string()),
            ("action", op.action.clone()),
            ("filter", filter.join(" ")),
            ("state", op.state.clone()),
            ("done", progress(&op)),
            ("skipped", if skipped.is_empty() { "0".to_owned() } else { skipped.join(", ") }),
            ("started", instant(op.created_at)),
            ("ended", optional(op.finished_at)),
            ("undo of", text(op.undo_of.map(|id| id.to_string()))),
            ("undone by", text(op.undone_by.map(|id| id.to_string()))),
            ("error", text(op.error.clone())),
        ];
        let lines: Vec<String> =
            facts.iter().map(|(name, value)| format!("{name:<10} {value}")).collect();
        lines.join("\n")
    });
    Ok(())
}

fn progress(op: &BulkOp) -> String {
    let least = if op.total_exact { "" } else { "at least " };
    op.total.map_or_else(|| op.done.to_string(), |total| format!("{} of {least}{total}", op.done))
}

fn filter(args: &FilterArgs) -> Result<Filter, Failure> {
    args.filter().map_err(|e| Failure::Usage(Fault::new("filter", e)))
}

fn refused(refusal: BulkRefusal) -> Failure {
    let what = refusal.to_string();
    match refusal {
        BulkRefusal::NotFound => Fault::new("not_found", what)
            .remedy("`switchyard bulk list` names those that there are")
            .into(),
        BulkRefusal::Unfit(_) => Failure::Usage(Fault::new("unfit", what)),
        BulkRefusal::WrongState(_) => Fault::new("wrong_state", what).into(),
        BulkRefusal::Store(e) => away(e).into(),
    }
}
