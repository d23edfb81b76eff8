//! `commission`: recompute, close, audit, explain, unbooked; `record` and `proof` stand below.

mod proof;
mod record;

use super::args::{Commission, Global};
use super::jobs::{away, instant};
use super::load;
use super::output::{Failure, Output, table};
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use chrono::{NaiveDate, Utc};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_catalog::{BookFault, CloseFault, ClosePeriod, recompute};
use switchyard_domain::AgencyId;
use switchyard_domain::commission::Booked;
use switchyard_store::Scope;
use switchyard_store::commissions::{self, EventRow, EventState, UnbookedFilter};
use switchyard_store::ledger::{self, Entry, Figure, HeadSeen};
use switchyard_store::payouts::entries_about;
use uuid::Uuid;

pub(super) async fn run(
    global: &Global,
    command: &Commission,
    output: Output,
) -> Result<(), Failure> {
    // Whoever checks a proof has no database.
    if let Commission::VerifyProof { file, root } = command {
        return proof::verify(file, root.as_ref(), output);
    }
    let needs = Needs { database: true, ..Needs::default() };
    let base = Base::open(load(global, Vec::new(), needs)?)?;
    let ended = match command {
        Commission::Recompute { agency, post } => again(&base, *agency, *post, output).await,
        Commission::Close { agency, month } => close(&base, *agency, *month, output).await,
        Commission::Audit { root } => audit(&base, root, output).await,
        Commission::Explain { id } => explain(&base, *id, output).await,
        Commission::Unbooked { state, agency, limit } => {
            unbooked(&base, *state, *agency, i64::from(*limit), output).await
        }
        Commission::Record(args) => record::record(&base, args, output).await,
        Commission::Prove { entry, size, out } => {
            proof::prove(&base, *entry, *size, out.as_deref(), output).await
        }
        Commission::VerifyProof { file, root } => proof::verify(file, root.as_ref(), output),
    };
    base.close().await;
    ended
}

async fn again(
    base: &Base,
    agency: Option<AgencyId>,
    post: bool,
    output: Output,
) -> Result<(), Failure> {
    let found = recompute(&base.db, agency, post, Utc::now(), |_| {}).await.map_err(not_booked)?;
    output.answer(&found, || {
        let cells = found.differences.iter().map(|d| {
            let agent = d.agent.map_or_else(|| "nobody".to_owned(), |agent| agent.to_string());
            let ids = [agent, d.what(), d.account.0.to_string()];
            ids.into_iter().chain([d.computed.to_string(), d.booked.to_string()]).collect()
        });
        let rows: Vec<Vec<String>> = cells.collect();
        let head = format!(
            "{} agents, {} events, {} lines; {} differ; {} entries posted, {} differences left; {} events \
             wait",
            found.agents,
            found.events,
            found.lines,
            found.differing,
            found.posted,
            if post { found.left } else { found.differing },
            found.waiting
        );
        let versions = found.versions.iter().map(|v| {
            let (what, stands, first) = (v.what(), v.stands, v.first);
            format!("\n{what} stands under version {stands}; its first deal has version {first}")
        });
        let unusable = found.unusable.iter().map(|why| format!("\nnot computed: {why}"));
        let beside: String = versions.chain(unusable).collect();
        match rows.is_empty() {
            true => head + &beside,
            false => {
                let columns = ["AGENT", "WHAT", "ACCOUNT", "COMPUTED", "BOOKED"];
                format!("{head}{beside}\n\n{}", table(&columns, &rows))
            }
        }
    });
    let left = if post { found.left } else { found.differing };
    let sound = left == 0 && found.unusable.is_empty();
    if sound { Ok(()) } else { Err(Failure::Said(1)) }
}

async fn close(
    base: &Base,
    agency: AgencyId,
    month: NaiveDate,
    output: Output,
) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let closed = ClosePeriod::close(&mut tx, agency, month, Utc::now()).await;
    let closed = closed.map_err(|fault| match fault {
        CloseFault::Store(e) => Failure::from(away(e)),
        CloseFault::NotOver(_) => Failure::Usage(Fault::new("not_over", fault.to_string())),
    })?;
    if base.config.payouts.mail_statements {
        let jobs = closed.statements().map_err(|e| away(e.into()))?;
        tx.enqueue_all(jobs).await.map_err(away)?;
    }
    let closed = closed.period;
    tx.commit().await.map_err(away)?;
    output.answer(&closed, || {
        let rows: Vec<Vec<String>> = closed.figures.iter().map(figure).collect();
        let head = ["ACCOUNT", "OWNER", "CURRENCY", "OPENING", "GOT", "GAVE", "CLOSING"];
        format!("{} is closed\n\n{}", closed.month.format("%Y-%m"), table(&head, &rows))
    });
    Ok(())
}

fn figure(f: &Figure) -> Vec<String> {
    let owner = f.owner.map_or_else(|| f.owner_kind.clone(), |id| format!("{} {id}", f.owner_kind));
    let amounts = [f.opening, f.got, f.gave, f.closing].map(|n| n.to_string());
    [f.kind.to_string(), owner, f.currency.clone()].into_iter().chain(amounts).collect()
}

async fn audit(base: &Base, roots: &[(u64, [u8; 32])], output: Output) -> Result<(), Failure> {
    let key = base.db.head_key().map(|key| key.public());
    let seen: Vec<HeadSeen> =
        roots.iter().map(|(size, root)| HeadSeen { size: *size, root: *root }).collect();
    let report = ledger::audit(&base.db, key, &seen, |_| {}).await.map_err(away)?;
    output.answer(&report, || {
        let mut text = format!(
            "{} entries and {} signed heads audited: {}",
            report.entries,
            report.heads,
            if report.found == 0 {
                "nothing was changed".to_owned()
            } else {
                format!("{} findings", report.found)
            }
        );
        for finding in &report.findings {
            text.push_str(&format!("\n{}", json!(finding)));
        }
        text
    });
    if report.found == 0 { Ok(()) } else { Err(Failure::Said(1)) }
}

async fn explain(base: &Base, id: Uuid, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let mut told = Vec::new();
    for entry in entries_about(&mut tx, id).await.map_err(away)? {
        let entry = ledger::entry(&mut tx, entry).await.map_err(away)?;
        let place = ledger::head_of(&mut tx, entry.id).await.map_err(away)?;
        told.push((entry, place));
    }
    let events = commissions::about(&mut tx, id).await.map_err(away)?;
    tx.rollback().await.map_err(away)?;
    if told.is_empty() && events.is_empty() {
        let what = format!("nothing is known of {id}");
        let remedy = "name a lead that converted, an event of a commission, or an entry";
        return Err(Fault::new("not_found", what).remedy(remedy).into());
    }
    let entries = told.iter().map(|(entry, place)| json!({ "entry": entry, "position": place }));
    let view: Vec<Value> = entries.chain(events.iter().map(event_view)).collect();
    output.answer(&view, || {
        let entries = told.iter().map(|(entry, place)| in_words(entry, *place));
        let all: Vec<String> = entries.chain(events.iter().map(event_in_words)).collect();
        all.join("\n\n")
    });
    Ok(())
}

fn event_view(row: &EventRow) -> Value {
    json!({ "event": row.event, "state": row.state, "reason": row.reason })
}

fn event_in_words(row: &EventRow) -> String {
    let (event, kind) = (&row.event, row.event.kind.word().as_str());
    format!("{kind} {} on {}\n{}", event.id, instant(event.occurred_at), row.in_words())
}

/// Lists what is not booked, each with the reason.
async fn unbooked(
    base: &Base,
    state: Option<EventState>,
    agency: Option<AgencyId>,
    limit: i64,
    output: Output,
) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let filter = UnbookedFilter { state, agency, older_than: Duration::ZERO, limit };
    let found = commissions::unbooked(&mut tx, &filter).await.map_err(away)?;
    tx.rollback().await.map_err(away)?;
    let view: Vec<Value> = found
        .iter()
        .map(|(row, at)| {
            let mut view = event_view(row);
            view["received_at"] = json!(at);
            view
        })
        .collect();
    output.answer(&view, || {
        let row = |(row, at): &(EventRow, chrono::DateTime<Utc>)| {
            vec![
                row.event.id.to_string(),
                row.event.kind.word().as_str().to_owned(),
                row.state.to_string(),
                instant(*at),
                row.event.agent.to_string(),
                row.reason.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        match rows.is_empty() {
            true => "every event is booked".to_owned(),
            false => table(&["EVENT", "WHAT", "STATE", "RECORDED", "AGENT", "REASON"], &rows),
        }
    });
    Ok(())
}

fn in_words(entry: &Entry, place: Option<u64>) -> String {
    let place =
        place.map_or_else(|| "not yet in the log".to_owned(), |n| format!("place {n} of the log"));
    let mut text = format!(
        "{} {} on {}, booked {} for {} ({place})\n",
        entry.kind,
        entry.id.0,
        instant(entry.occurred_at),
        instant(entry.booked_at),
        entry.period.format("%Y-%m")
    );
    let rows: Vec<Vec<String>> = entry
        .postings
        .iter()
        .map(|p| vec![json!(p.owner).to_string(), p.kind.to_string(), p.amount.to_string()])
        .collect();
    text.push_str(&table(&["OWNER", "ACCOUNT", "AMOUNT"], &rows));
    if let Some(told) = Booked::read(&entry.explanation, entry.occurred_at, entry.period) {
        for words in [Some(told.sentence), told.arithmetic].into_iter().flatten() {
            text.push_str(&format!("\n{words}"));
        }
    }
    text
}

fn not_booked(fault: BookFault) -> Failure {
    match fault {
        BookFault::Store(e) => away(e).into(),
        other => Fault::new("not_booked", other.to_string()).into(),
    }
}
