//! `leads`: list and show.

use super::args::{Global, Leads, LeadsList};
use super::jobs::{away, instant};
use super::load;
use super::output::{Failure, Output, table};
use super::portals::named;
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use serde_json::{Value, json};
use std::collections::HashMap;
use switchyard_domain::{LeadId, PortalId, StandardLead};
use switchyard_store::leads::{self, Lead, LeadFilter};
use switchyard_store::{Scope, StoreFault, portals};

/// Leads of one statement.
const PAGE: u32 = 1000;

pub(super) async fn run(global: &Global, command: &Leads, output: Output) -> Result<(), Failure> {
    let needs = Needs { database: true, secret_key: false };
    let base = Base::open(load(global, Vec::new(), needs)?)?;
    let ended = match command {
        Leads::List(args) => list(&base, args, output).await,
        Leads::Show { lead } => show(&base, *lead, output).await,
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
    tx.rollback().await.map_err(away)?;
    output.answer(&view(&lead, &codes), || {
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
        let lines: Vec<String> = facts.iter().map(|(k, v)| format!("{k:<14} {v}")).collect();
        lines.join("\n")
    });
    Ok(())
}
