//! `leads`: list and show, note and convert.

use super::args::{Global, Leads, LeadsConvert, LeadsList};
use super::jobs::{away, instant};
use super::load;
use super::output::{Failure, Output, table};
use super::portals::named;
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use serde_json::{Value, json};
use std::collections::HashMap;
use switchyard_catalog::lead_work::{self, Actor, Deal, WorkFault};
use switchyard_catalog::line::Cause;
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{LeadId, PortalId, StandardLead, normalise};
use switchyard_store::leads::{self, FollowUp, Lead, LeadFilter, Note, Sale};
use switchyard_store::{Scope, StoreFault, portals};

/// Leads of one statement.
const PAGE: u32 = 1000;

pub(super) async fn run(global: &Global, command: &Leads, output: Output) -> Result<(), Failure> {
    let needs = Needs { database: true, ..Needs::default() };
    let base = Base::open(load(global, Vec::new(), needs)?)?;
    let ended = match command {
        Leads::List(args) => list(&base, args, output).await,
        Leads::Show { lead } => show(&base, *lead, output).await,
        Leads::Note { lead, text } => note(&base, *lead, text, output).await,
        Leads::Convert(args) => convert(&base, args, output).await,
    };
    base.close().await;
    ended
}

async fn list(base: &Base, args: &LeadsList, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let portal = match &args.portal {
        Some(code) => Some(named(&mut tx, code).await?.id),
        None => None,
    };
    let codes = codes(&mut tx).await?;
    let (mut all, mut before) = (Vec::new(), args.before);
    loop {
        let missing = args.limit - u32::try_from(all.len()).unwrap_or(args.limit);
        let limit = missing.min(PAGE);
        let filter = LeadFilter {
            state: args.state,
            portal,
            event: args.event,
            before,
            limit: i64::from(limit),
            ..LeadFilter::default()
        };
        let page = leads::list(&mut tx, &filter).await.map_err(away)?;
        before = page.last().map(|l| l.id);
        let full = page.len() == limit as usize;
        all.extend(page);
        if !full || all.len() >= args.limit as usize {
            break;
        }
    }
    tx.rollback().await.map_err(away)?;
    let views: Vec<Value> = all.iter().map(|l| view(l, &codes)).collect();
    output.answer(&views, || {
        let row = |l: &Lead| {
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            let name = format!("{} {}", text(&l.data.first_name), text(&l.data.last_name));
            vec![
                l.id.to_string(),
                l.state.to_string(),
                codes.get(&l.portal).cloned().unwrap_or_default(),
                name.trim().to_owned(),
                text(&l.data.email),
                text(&l.data.phone),
                instant(l.created_at),
            ]
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        table(&["LEAD", "STATE", "PORTAL", "NAME", "E-MAIL", "PHONE", "STORED"], &rows)
    });
    Ok(())
}

async fn codes(tx: &mut switchyard_store::Tx) -> Result<HashMap<PortalId, String>, Failure> {
    let all = portals::list(tx).await.map_err(away)?;
    Ok(all.into_iter().map(|p| (p.id, p.code)).collect())
}

/// The standard lead, all fields, with what the platform knows of it.
pub(super) fn view(lead: &Lead, codes: &HashMap<PortalId, String>) -> Value {
    let mut view = json!({
        "id": lead.id,
        "state": lead.state,
        "event_id": lead.event,
        "ordinal": lead.ordinal,
        "portal": codes.get(&lead.portal),
        "agency_id": lead.agency,
        "duplicate_of": lead.duplicate_of,
        "merges": lead.merges,
        "fetch_url": lead.fetch_url,
        "fetch_error": lead.fetch_error,
        "created_at": lead.created_at,
        "updated_at": lead.updated_at,
    });
    if let (Value::Object(view), Ok(Value::Object(data))) =
        (&mut view, serde_json::to_value(&lead.data))
    {
        view.extend(data);
    }
    view
}

/// The fields that are set, as people read them.
pub(super) fn fields(lead: &StandardLead) -> Vec<(String, String)> {
    let Ok(Value::Object(members)) = serde_json::to_value(lead) else { return Vec::new() };
    let empty = |v: &Value| match v {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let text = |v: Value| match v {
        Value::String(text) => text,
        other => other.to_string(),
    };
    members.into_iter().filter(|(_, v)| !empty(v)).map(|(k, v)| (k, text(v))).collect()
}

async fn show(base: &Base, id: LeadId, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let lead = leads::get(&mut tx, id).await.map_err(|e| match e {
        StoreFault::NotFound => Fault::new("not_found", format!("there is no lead {id}")),
        e => away(e),
    })?;
    let codes = codes(&mut tx).await?;
    let notes = Note::of_lead(&mut tx, id).await.map_err(away)?;
    let planned = FollowUp::of_lead(&mut tx, id).await.map_err(away)?;
    let sale = Sale::of_lead(&mut tx, id).await.map_err(away)?;
    tx.rollback().await.map_err(away)?;
    let mut whole = view(&lead, &codes);
    if let Value::Object(whole) = &mut whole {
        whole.extend(work(&notes, &planned, sale.as_ref()));
    }
    output.answer(&whole, || {
        let mut facts = vec![
            ("lead".to_owned(), lead.id.to_string()),
            ("state".to_owned(), lead.state.to_string()),
            ("portal".to_owned(), codes.get(&lead.portal).cloned().unwrap_or_default()),
            ("event".to_owned(), lead.event.to_string()),
        ];
        let more = [
            ("agency", lead.agency.map(|a| a.to_string())),
            ("duplicate of", lead.duplicate_of.map(|l| l.to_string())),
            ("merged", lead.merges.as_ref().map(Value::to_string)),
            ("fetched from", lead.fetch_url.clone()),
            ("not fetched", lead.fetch_error.clone()),
        ];
        facts.extend(more.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))));
        facts.push(("stored".to_owned(), instant(lead.created_at)));
        facts.extend(fields(&lead.data));
        for n in &notes {
            facts.push((format!("note {}", instant(n.created_at)), n.body.clone()));
        }
        for f in &planned {
            let what = f.note.as_deref().unwrap_or_default();
            facts.push((format!("reminder {}", instant(f.due_at)), format!("{} {what}", f.state)));
        }
        facts.extend(sale.as_ref().map(|s| ("sold".to_owned(), sold(s))));
        let lines: Vec<String> = facts.iter().map(|(k, v)| format!("{k:<14} {v}")).collect();
        lines.join("\n")
    });
    Ok(())
}

/// What was done about a lead.
fn work(
    notes: &[Note],
    planned: &[FollowUp],
    sale: Option<&Sale>,
) -> serde_json::Map<String, Value> {
    let note = |n: &Note| json!({ "author": n.author, "body": n.body, "created_at": n.created_at });
    let reminder = |f: &FollowUp| json!({ "due_at": f.due_at, "note": f.note, "agent_id": f.agent, "state": f.state });
    let sale = sale.map(|s| {
        json!({
            "amount_minor": s.amount_minor, "fee_minor": s.fee_minor, "currency": s.currency,
            "product": s.product, "agent_id": s.agent, "sold_at": s.sold_at, "event_id": s.event,
        })
    });
    [
        ("notes", notes.iter().map(note).collect()),
        ("follow_ups", planned.iter().map(reminder).collect()),
        ("sale", sale.unwrap_or_default()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn sold(sale: &Sale) -> String {
    match Currency::of(&sale.currency) {
        Some(currency) => Money::new(sale.amount_minor, currency).to_string(),
        None => format!("{} {}", sale.amount_minor, sale.currency),
    }
}

pub(super) fn actor() -> Actor {
    let who = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
    Actor { agency: None, name: format!("cli:{who}") }
}

/// What keeps a step on a lead from being taken.
fn refused(id: LeadId, fault: WorkFault) -> Failure {
    match fault {
        WorkFault::Store(StoreFault::NotFound) => {
            Fault::new("not_found", format!("there is no lead {id}")).into()
        }
        WorkFault::Store(fault) => away(fault).into(),
        fault => Fault::new("refused", fault.to_string()).into(),
    }
}

async fn note(base: &Base, id: LeadId, text: &str, output: Output) -> Result<(), Failure> {
    let body = normalise::text(text).filter(|t| t.chars().count() <= 4_000);
    let body = body.ok_or_else(|| Fault::new("note", "a note has 1 to 4,000 characters"))?;
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let made = lead_work::note(&mut tx, id, &body, &actor()).await;
    let made = made.map_err(|e| refused(id, e.into()))?;
    tx.commit().await.map_err(away)?;
    output.answer(&json!({ "id": made }), || format!("note {made} written"));
    Ok(())
}

async fn convert(base: &Base, args: &LeadsConvert, output: Output) -> Result<(), Failure> {
    let minor = |units: &String| {
        let money = Money::parse(units, args.currency).map_err(|why| Fault::new("amount", why));
        money.map(|m| m.minor)
    };
    let amount_minor = minor(&args.amount)?;
    let fee_minor = args.fee.as_ref().map(minor).transpose()?;
    let deal = Deal {
        amount_minor,
        fee_minor,
        currency: args.currency.code(),
        product: args.product.as_deref(),
        agent: args.agent,
        sold_at: chrono::Utc::now(),
    };
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let done = lead_work::convert(&mut tx, args.lead, &deal, &actor(), &Cause::default()).await;
    let (new, sale) = done.map_err(|e| refused(args.lead, e))?;
    tx.commit().await.map_err(away)?;
    let view = json!({ "new": new, "event_id": sale.event, "amount_minor": sale.amount_minor });
    output.answer(&view, || {
        let how = if new { "sold" } else { "was recorded before" };
        format!("lead {} {how}: {}", args.lead, sold(&sale))
    });
    Ok(())
}
