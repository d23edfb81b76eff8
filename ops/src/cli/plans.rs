//! `plans`: check, apply, list, show, assign, unassign, manager.

use super::args::{Beginning, Global, PlanApply, PlanAssign, Plans};
use super::jobs::{away, instant};
use super::output::{Failure, Output, table};
use super::{load, portals};
use crate::Fault;
use crate::compose::Base;
use crate::config::Needs;
use chrono::{DateTime, Datelike, Utc};
use serde_json::{Value, json};
use std::path::Path;
use switchyard_domain::commission::Plan as Rules;
use switchyard_domain::{AgentId, FieldFault};
use switchyard_store::commissions::{
    self, Assignment, DEFAULT_PLAN, NewAssignment, NewPlan, NewVersion, Plan, PlanId, VersionFault,
};
use switchyard_store::{Scope, StoreFault, Tx, agents};
use uuid::Uuid;

pub(super) async fn run(global: &Global, command: &Plans, output: Output) -> Result<(), Failure> {
    // A document is read without a database.
    if let Plans::Check { file } = command {
        let plan = read(file)?;
        let (name, version) = (plan.reference().name.to_string(), plan.reference().version);
        output.answer(&json!({ "name": name, "version": version }), || {
            format!("{}: plan {name}, version {version}, is sound", file.display())
        });
        return Ok(());
    }
    let needs = Needs { database: true, ..Needs::default() };
    let base = Base::open(load(global, Vec::new(), needs)?)?;
    let ended = match command {
        Plans::Check { .. } => Ok(()),
        Plans::Apply(new) => apply(&base, new, output).await,
        Plans::List => list(&base, output).await,
        Plans::Show { code, version } => show(&base, code, *version, output).await,
        Plans::Assign(new) => assign(&base, new, output).await,
        Plans::Unassign { assignment, at } => {
            unassign(&base, *assignment, at.unwrap_or_else(Utc::now), output).await
        }
        Plans::Manager { agent, manager } => set_manager(&base, *agent, *manager, output).await,
    };
    base.close().await;
    ended
}

fn broken(file: &Path, faults: &[FieldFault]) -> Failure {
    let what = format!("{} is no plan that could be used", file.display());
    let lines: Vec<String> =
        faults.iter().map(|f| format!("  {}: {}", f.field, f.message)).collect();
    let people = format!("switchyard: {what}\n{}", lines.join("\n"));
    let error = json!({ "code": "plan_document", "message": what, "faults": faults });
    Failure::Told { code: 1, error, people }
}

fn read(file: &Path) -> Result<Rules, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| {
        Fault::new("file", format!("{} cannot be read", file.display())).caused_by(e)
    })?;
    let document: Value = serde_json::from_str(&text).map_err(|e| {
        let fault = FieldFault::new("", "invalid_json", format!("This is no JSON: {e}."));
        broken(file, &[fault])
    })?;
    Rules::parse(&document).map_err(|faults| broken(file, &faults))
}

/// The plan with this code.
async fn named(tx: &mut Tx, code: &str) -> Result<Plan, Failure> {
    let found = commissions::find(tx, code).await.map_err(away)?;
    found.ok_or_else(|| {
        Fault::new("not_found", format!("there is no plan `{code}`"))
            .remedy("`switchyard plans list` names those that there are")
            .into()
    })
}

async fn apply(base: &Base, new: &PlanApply, output: Output) -> Result<(), Failure> {
    let rules = read(&new.file)?;
    let code = rules.reference().name.to_string();
    let said = i32::try_from(rules.reference().version).unwrap_or(i32::MAX);
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let plan = match commissions::find(&mut tx, &code).await.map_err(away)? {
        Some(plan) => PlanId(plan.id),
        None if code == DEFAULT_PLAN && new.agency.is_some() => {
            let what = format!("the plan `{code}` is everybody's, not one agency's");
            let remedy = "leave --agency out, or give the plan another name and assign it";
            return Err(Fault::new("default_plan", what).remedy(remedy).into());
        }
        None => {
            let name = new.title.clone().unwrap_or_else(|| code.clone());
            let plan = NewPlan { agency: new.agency, code: code.clone(), name };
            commissions::create(&mut tx, &plan).await.map_err(refused)?
        }
    };
    let there = commissions::versions(&mut tx, plan).await.map_err(away)?;
    let document = json!(rules);
    let outcome = match there.iter().find(|v| v.version == said) {
        Some(v) if v.document == document => "unchanged",
        Some(_) => {
            let what = format!("version {said} of `{code}` is stored and says something else");
            let next = there.last().map_or(1, |v| v.version + 1);
            let remedy = format!(
                "versions are never changed, because deals were booked under them: write `\"version\": {next}`"
            );
            return Err(Fault::new("version_is_there", what).remedy(remedy).into());
        }
        None => {
            let valid_from = beginning(&rules, new.from);
            let version = NewVersion { plan, rules, valid_from, by: portals::who() };
            commissions::add_version(&mut tx, &version).await.map_err(not_added)?;
            if there.is_empty() { "created" } else { "new version" }
        }
    };
    let holds = commissions::assignments_of(&mut tx, &[plan], Utc::now()).await.map_err(away)?;
    tx.commit().await.map_err(away)?;
    let view = json!({ "code": code, "version": said, "outcome": outcome });
    output.answer(&view, || {
        let told = format!("plan {code}, version {said}: {outcome}");
        if holds.is_empty() && code != DEFAULT_PLAN {
            return format!("{told}\nIt holds for nobody yet: `switchyard plans assign {code}`");
        }
        told
    });
    Ok(())
}

/// When a version begins: as it was asked for, as its document says, or now.
fn beginning(rules: &Rules, asked: Option<Beginning>) -> DateTime<Utc> {
    match (asked, rules.terms().valid_from) {
        (Some(Beginning::Moment(at)), _) => at,
        (Some(Beginning::Day(day)), _) | (None, Some(day)) => rules.day_begins(day),
        (None, None) => Utc::now(),
    }
}

fn not_added(fault: VersionFault) -> Failure {
    match fault {
        VersionFault::Store(e) => refused(e),
        told => Fault::new("version", told.to_string()).into(),
    }
}

/// A row that names something that is not there.
fn refused(e: StoreFault) -> Failure {
    let what = match e.constraint() {
        Some("commission_assignments_agency_id_fkey" | "commission_plans_agency_id_fkey") => {
            "there is no such agency"
        }
        Some("commission_assignments_agent_id_fkey") => "there is no such agent",
        Some("agents_manager") => "the manager has to be an agent of the same agency",
        Some("agents_own_manager") => "nobody is the own manager",
        Some("commission_assignments_check") => "it would end before it begins",
        _ => return away(e).into(),
    };
    let remedy = "look the ids up on the dashboard, or by GET /api/v1/agencies";
    Fault::new("not_fit", what).remedy(remedy).into()
}

/// For whom, in words.
fn whom(a: &Assignment) -> String {
    let parts = [
        a.agent_id.map(|id| format!("agent {id}")),
        a.agency_id.map(|id| format!("agency {id}")),
        a.portal_id.map(|id| format!("leads of portal {id}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let mut whom = if parts.is_empty() { "everybody".to_owned() } else { parts.join(", ") };
    // Without a beginning it is read as one of the year 1.
    if a.valid_from.year() > 1 {
        whom = format!("{whom} from {}", instant(a.valid_from));
    }
    match a.is_for_good() {
        true => whom,
        false => format!("{whom} until {}", instant(a.valid_until)),
    }
}

async fn list(base: &Base, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let plans = commissions::list(&mut tx).await.map_err(away)?;
    let ids: Vec<PlanId> = plans.iter().map(|p| PlanId(p.id)).collect();
    let versions = commissions::versions_of(&mut tx, &ids).await.map_err(away)?;
    let holds = commissions::assignments_of(&mut tx, &ids, Utc::now()).await.map_err(away)?;
    tx.rollback().await.map_err(away)?;
    let own = |plan: &Plan| holds.iter().filter(|a| a.plan_id == plan.id).collect::<Vec<_>>();
    let newest = |plan: &Plan| versions.iter().rev().find(|v| v.plan_id == plan.id);
    let view: Vec<Value> = plans
        .iter()
        .map(|p| json!({ "plan": p, "version": newest(p).map(|v| v.version), "assignments": own(p) }))
        .collect();
    output.answer(&view, || {
        let mut rows = Vec::new();
        for plan in &plans {
            let version = newest(plan).map_or_else(|| "none".to_owned(), |v| v.version.to_string());
            let head = |holds: String, id: String| {
                vec![plan.code.clone(), version.clone(), plan.name.clone(), holds, id]
            };
            let before = rows.len();
            rows.extend(own(plan).into_iter().map(|a| head(whom(a), a.id.to_string())));
            if plan.code == DEFAULT_PLAN {
                rows.push(head("whoever has no other plan".to_owned(), String::new()));
            } else if rows.len() == before {
                rows.push(head("nobody yet".to_owned(), String::new()));
            }
        }
        table(&["CODE", "VERSION", "NAME", "HOLDS FOR", "ASSIGNMENT"], &rows)
    });
    Ok(())
}

async fn show(
    base: &Base,
    code: &str,
    version: Option<i32>,
    output: Output,
) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let plan = named(&mut tx, code).await?;
    let versions = commissions::versions(&mut tx, PlanId(plan.id)).await.map_err(away)?;
    tx.rollback().await.map_err(away)?;
    let found = match version {
        None => versions.last(),
        Some(wanted) => versions.iter().find(|v| v.version == wanted),
    };
    let Some(found) = found else {
        let there: Vec<String> = versions.iter().map(|v| v.version.to_string()).collect();
        let what = format!("plan `{code}` has no such version");
        let remedy = format!("it has these: {}", there.join(", "));
        return Err(Fault::new("not_found", what).remedy(remedy).into());
    };
    output.answer(found, || {
        let text = serde_json::to_string_pretty(&found.document);
        text.unwrap_or_else(|_| found.document.to_string())
    });
    Ok(())
}

async fn assign(base: &Base, new: &PlanAssign, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let plan = named(&mut tx, &new.code).await?;
    let portal = match &new.portal {
        Some(code) => Some(portals::named(&mut tx, code).await?.id),
        None => None,
    };
    let wanted = NewAssignment {
        agency: new.agency,
        portal,
        agent: new.agent,
        valid_from: new.from,
        valid_until: new.until,
        by: portals::who(),
    };
    let id = commissions::assign(&mut tx, PlanId(plan.id), &wanted).await.map_err(refused)?;
    tx.commit().await.map_err(away)?;
    output.answer(&json!({ "assignment": id, "plan": new.code }), || {
        format!(
            "plan {} is assigned ({id}); what was booked before stays as it is: \
             `switchyard commission recompute` tells what would differ, with --post it is posted",
            new.code
        )
    });
    Ok(())
}

async fn unassign(base: &Base, id: Uuid, at: DateTime<Utc>, output: Output) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let ended = commissions::end_assignment(&mut tx, id, at).await.map_err(away)?;
    tx.commit().await.map_err(away)?;
    if !ended {
        let what = format!("no assignment {id} holds at {}", instant(at));
        let remedy = "`switchyard plans list` names those that hold";
        return Err(Fault::new("not_found", what).remedy(remedy).into());
    }
    output.answer(&json!({ "assignment": id, "until": at }), || {
        format!("{id} ends at {}", instant(at))
    });
    Ok(())
}

async fn set_manager(
    base: &Base,
    agent: AgentId,
    manager: Option<AgentId>,
    output: Output,
) -> Result<(), Failure> {
    let mut tx = base.db.begin(Scope::Platform).await.map_err(away)?;
    let done = agents::set_manager(&mut tx, agent, manager).await.map_err(refused)?;
    tx.commit().await.map_err(away)?;
    if !done {
        let what = format!("there is no agent {agent}");
        let remedy = "the dashboard's commissions name every agent";
        return Err(Fault::new("not_found", what).remedy(remedy).into());
    }
    output.answer(&json!({ "agent": agent, "manager": manager }), || match manager {
        Some(manager) => format!("{manager} manages {agent} from now on"),
        None => format!("nobody manages {agent} from now on"),
    });
    Ok(())
}
