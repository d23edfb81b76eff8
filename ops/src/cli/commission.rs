//! `commission`: recompute, close, audit, explain.

use super::args::{Commission, Global};
use super::jobs::{away, instant};
use super::load;
use super::output::{Failure, Output, table};
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use chrono::{NaiveDate, Utc};
use serde_json::{Value, json};
use switchyard_catalog::{BookFault, CloseFault, ClosePeriod, recompute};
use switchyard_domain::{AgencyId, LeadId};
use switchyard_store::Scope;
use switchyard_store::ledger::{self, Entry, Figure, HeadSeen};

pub(super) async fn run(
    global: &Global,
    command: &Commission,
    output: Output,
) -> Result<(), Failure> {
    let needs = Needs { database: true, secret_key: false };
    let base = Base::open(load(global, Vec::new(), needs)?)?;
    let ended = match command {
        Commission::Recompute { agency, post } => again(&base, *agency, *post, output).await,
        Commission::Close { agency, month } => close(&base, *agency, *month, output).await,
        Commission::Audit { root } => audit(&base, root, output).await,
        Commission::Explain { lead } => explain(&base, *lead, output).await,
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
            let ids = [d.agent.to_string(), d.event.to_string(), d.account.0.to_string()];
            ids.into_iter().chain([d.computed.to_string(), d.booked.to_string()]).collect()
        });
        let rows: Vec<Vec<String>> = cells.collect();
        let head = format!(
            "{} agents, {} events, {} lines; {} differ; {} entries posted; {} events wait",
            found.agents, found.events, found.lines, found.differing, found.posted, found.waiting
        );
        let unusable: String =
            found.unusable.iter().map(|why| format!("\nnot computed: {why}")).collect();
        match rows.is_empty() {
            true => head + &unusable,
            false => {
                let columns = ["AGENT", "EVENT", "ACCOUNT", "COMPUTED", "BOOKED"];
                format!("{head}{unusable}\n\n{}", table(&columns, &rows))
            }
        }
    });
    let sound = (found.differing == 0 || post) && found.unusable.is_empty();
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

async fn explain(base: &Base, lead: LeadId, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let entries = ledger::of_lead(&mut tx, lead).await.map_err(away)?;
    let mut told = Vec::with_capacity(entries.len());
    for entry in entries {
        let place = ledger::head_of(&mut tx, entry.id).await.map_err(away)?;
        told.push((entry, place));
    }
    tx.rollback().await.map_err(away)?;
    if told.is_empty() {
        let what = format!("nothing was booked for the lead {lead}");
        return Err(Fault::new("not_found", what).remedy("look whether it converted").into());
    }
    let view: Vec<Value> =
        told.iter().map(|(entry, place)| json!({ "entry": entry, "position": place })).collect();
    output.answer(&view, || {
        let all: Vec<String> = told.iter().map(|(entry, place)| in_words(entry, *place)).collect();
        all.join("\n\n")
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
    let line = &entry.explanation["line"];
    for words in [&line["sentence"], &line["arithmetic"]].into_iter().filter_map(Value::as_str) {
        text.push_str(&format!("\n{words}"));
    }
    text
}

fn not_booked(fault: BookFault) -> Failure {
    match fault {
        BookFault::Store(e) => away(e).into(),
        other => Fault::new("not_booked", other.to_string()).into(),
    }
}
