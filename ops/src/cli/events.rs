//! `events`: list, show, replay.

use super::args::{Events, EventsList, EventsReplay, Global};
use super::jobs::{away, instant};
use super::output::{Failure, Output, table};
use super::portals::{cause, named, who};
use super::{leads as leads_cli, load};
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use switchyard_catalog::replay::{self, EventReplay};
use switchyard_catalog::{line, preview_range};
use switchyard_domain::{EventId, FieldFault};
use switchyard_store::events::{self, Event, EventFilter, Range};
use switchyard_store::leads::{self, LeadFilter};
use switchyard_store::replays::{self, Replay};
use switchyard_store::{Scope, StoreFault};

/// How often a replay is looked at while it runs.
const LOOK: Duration = Duration::from_millis(200);
/// After this long without a sign of a worker somebody should be told.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(global: &Global, command: &Events, output: Output) -> Result<(), Failure> {
    let needs = Needs { database: true, ..Needs::default() };
    let base = Base::open(load(global, Vec::new(), needs)?)?;
    let ended = match command {
        Events::List(args) => list(&base, args, output).await,
        Events::Show { event } => show(&base, *event, output).await,
        Events::Replay(args) => match args.event {
            Some(event) => replay_one(&base, event, args.dry_run, output).await,
            None => replay_range(&base, args, output).await,
        },
    };
    base.close().await;
    ended
}

async fn list(base: &Base, args: &EventsList, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let portal = match &args.portal {
        Some(code) => Some(named(&mut tx, code).await?.id),
        None => None,
    };
    let (state, since, before) = (args.state, args.since, args.before);
    let filter = EventFilter { portal, state, since, before, limit: i64::from(args.limit) };
    let all = events::list(&mut tx, &filter).await.map_err(away)?;
    tx.rollback().await.map_err(away)?;
    let views: Vec<Value> = all.iter().map(view).collect();
    output.answer(&json!({ "events": views }), || {
        let row = |e: &Event| {
            let reason = e.reasons.first().map(|r| r.code.clone()).unwrap_or_default();
            vec![
                e.id.to_string(),
                instant(e.received_at),
                e.portal_code.clone(),
                e.state.to_string(),
                reason,
                e.lead.map(|l| l.to_string()).unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        table(&["EVENT", "CAME", "PORTAL", "STATE", "REASON", "LEAD"], &rows)
    });
    Ok(())
}

fn view(e: &Event) -> Value {
    json!({
        "id": e.id,
        "portal": e.portal_code,
        "received_at": e.received_at,
        "state": e.state,
        "reasons": e.reasons,
        "portal_version": e.portal_version,
        "processed_at": e.processed_at,
        "lead_id": e.lead,
        "remote_addr": e.remote_addr,
        "request_id": e.request_id,
        "url": e.url,
        "body_bytes": e.body_bytes,
    })
}

async fn show(base: &Base, id: EventId, output: Output) -> Result<(), Failure> {
    use base64::Engine;
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let (event, headers, body) = events::get(&mut tx, id).await.map_err(|e| missing(e, id))?;
    let filter = LeadFilter { event: Some(id), limit: 1000, ..LeadFilter::default() };
    let mut made = leads::list(&mut tx, &filter).await.map_err(away)?;
    made.sort_by_key(|l| l.ordinal);
    tx.rollback().await.map_err(away)?;
    let codes = HashMap::from([(event.portal, event.portal_code.clone())]);
    let mut answer = view(&event);
    answer["headers"] = headers.clone();
    // As it came where that can be written as text, else in base64.
    match std::str::from_utf8(&body) {
        Ok(text) => answer["body"] = json!(text),
        Err(_) => {
            answer["body_base64"] = json!(base64::engine::general_purpose::STANDARD.encode(&body));
        }
    }
    answer["leads"] = made.iter().map(|l| leads_cli::view(l, &codes)).collect();
    output.answer(&answer, || {
        let dash = || "-".to_owned();
        let facts = [
            ("event", event.id.to_string()),
            ("portal", event.portal_code.clone()),
            ("came", instant(event.received_at)),
            ("from", event.remote_addr.clone().unwrap_or_else(dash)),
            ("url", event.url.clone().unwrap_or_else(dash)),
            ("state", event.state.to_string()),
            ("judged", event.processed_at.map_or_else(dash, instant)),
            ("by version", event.portal_version.map_or_else(dash, |v| v.to_string())),
            ("lead", event.lead.map_or_else(dash, |l| l.to_string())),
        ];
        let mut lines: Vec<String> = facts.iter().map(|(k, v)| format!("{k:<10} {v}")).collect();
        lines.extend(event.reasons.iter().map(reason));
        lines.extend(made.iter().map(|l| format!("lead {:<5} {} ({})", l.ordinal, l.id, l.state)));
        let headers = serde_json::to_string_pretty(&headers).unwrap_or_default();
        format!("{}\n\n{headers}\n\n{}", lines.join("\n"), String::from_utf8_lossy(&body))
    });
    Ok(())
}

fn reason(f: &FieldFault) -> String {
    format!("{:<10} {}: {}", f.code, f.field, f.message)
}

fn missing(e: StoreFault, id: EventId) -> Fault {
    match e {
        StoreFault::NotFound => Fault::new("not_found", format!("there is no event {id}"))
            .remedy("`switchyard events list` names the latest"),
        e => away(e),
    }
}

async fn replay_one(
    base: &Base,
    id: EventId,
    dry_run: bool,
    output: Output,
) -> Result<(), Failure> {
    let told = if dry_run {
        replay::preview(&base.db, id).await.map_err(|e| missing(e, id))?
    } else {
        let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
        let told = line::replay(&mut tx, id, &cause()).await.map_err(|e| missing(e, id))?;
        tx.commit().await.map_err(away)?;
        told
    };
    let mut answer = serde_json::to_value(&told).unwrap_or_default();
    answer["dry_run"] = json!(dry_run);
    answer["differs"] = json!(told.differs());
    output.answer(&answer, || people(&told, dry_run));
    Ok(())
}

fn people(told: &EventReplay, dry_run: bool) -> String {
    let mut lines = Vec::new();
    lines.push(match (told.left, told.differs(), dry_run) {
        (Some(why), ..) => format!("{} was left alone: {why}", told.event),
        (_, false, _) => format!("{} stands as today's mapping says; nothing changes", told.event),
        (_, _, true) => format!("{} would change ({} -> {})", told.event, told.state, told.becomes),
        _ => format!("{} is changed ({} -> {})", told.event, told.state, told.becomes),
    });
    for lead in &told.leads {
        let id = lead.lead.map(|l| l.to_string()).unwrap_or_default();
        lines.push(format!("  lead {} {id}: {}", lead.ordinal, lead.change.as_str()));
        let field = |f: &switchyard_domain::changes::FieldChange| {
            format!("    {:<16} {} -> {}", f.field, f.before, f.after)
        };
        lines.extend(lead.fields.iter().map(field));
    }
    lines.extend(told.reasons.iter().map(|f| format!("  {}", reason(f))));
    lines.join("\n")
}

async fn replay_range(base: &Base, args: &EventsReplay, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let portal = match &args.portal {
        Some(code) => Some(named(&mut tx, code).await?.id),
        None => None,
    };
    let to = match args.to {
        Some(to) => to,
        None => events::now(&mut tx).await.map_err(away)?,
    };
    let range = Range { portal, from: args.from, to, state: args.state };
    if args.dry_run && !args.detach {
        // Nothing is written, so no worker is needed.
        tx.rollback().await.map_err(away)?;
        let done = preview_range(&base.db, &range, &who()).await.map_err(away)?;
        told(&done, output);
        return Ok(());
    }
    let asked = line::replay_range(&mut tx, &range, args.dry_run, &who(), &cause()).await;
    let asked = asked.map_err(away)?;
    tx.commit().await.map_err(away)?;
    if args.detach {
        told(&asked, output);
        return Ok(());
    }
    let done = wait(base, asked).await?;
    told(&done, output);
    Ok(())
}

/// Looks at a replay until it is done.
async fn wait(base: &Base, asked: Replay) -> Result<Replay, Failure> {
    let (since, mut warned) = (tokio::time::Instant::now(), false);
    loop {
        let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
        let now = replays::get(&mut tx, asked.id).await.map_err(away)?;
        tx.rollback().await.map_err(away)?;
        if now.finished_at.is_some() {
            return Ok(now);
        }
        if !warned && now.counts.is_empty() && since.elapsed() > PATIENCE {
            tracing::warn!(
                replay = %asked.id,
                "no worker has begun with it; start `switchyard work`, or leave with Ctrl-C: it waits in the queue"
            );
            warned = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn told(replay: &Replay, output: Output) {
    output.answer(replay, || {
        let count = |name: &str| replay.counts.get(name).copied().unwrap_or_default();
        let head = match (replay.finished_at.is_some() || replay.id.is_nil(), replay.dry_run) {
            (false, _) => {
                format!("replay {} waits for a worker, {} events", replay.id, replay.total)
            }
            (true, true) => format!(
                "{} events, {} would change; nothing was written",
                count("events"),
                count("events_changed")
            ),
            (true, false) => {
                format!("{} events, {} changed", count("events"), count("events_changed"))
            }
        };
        let mut lines = vec![head];
        let leads = replay.counts.iter().filter(|(name, _)| name.starts_with("leads_"));
        lines.extend(leads.map(|(name, n)| format!("  {:<16} {n}", name.replace('_', " "))));
        lines.extend(replay.changes.iter().map(change));
        lines.join("\n")
    });
}

/// One changed event as it was kept.
fn change(event: &Value) -> String {
    let text = |v: &Value, name: &str| {
        v.get(name)
            .map_or_else(String::new, |v| v.as_str().map_or_else(|| v.to_string(), Into::into))
    };
    let mut lines = vec![format!(
        "\n{} ({} -> {})",
        text(event, "event"),
        text(event, "state"),
        text(event, "becomes")
    )];
    for lead in event.get("leads").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("  lead {}: {}", text(lead, "ordinal"), text(lead, "change")));
        for f in lead.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let (before, after) = (text(f, "before"), text(f, "after"));
            lines.push(format!("    {:<16} {before} -> {after}", text(f, "field")));
        }
    }
    lines.join("\n")
}
