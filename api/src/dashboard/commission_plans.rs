//! Plans of commissions: what each version says, and for whom it holds.

use super::assets::Asset;
use super::error::Screen;
use super::format::short;
use super::shell::{Shell, page};
use crate::Api;
use crate::auth::{Caller, PayoutsManage};
use askama::Template;
use axum::extract::State;
use chrono::Datelike;
use std::collections::HashMap;
use switchyard_domain::commission::{Amounts, Of, Plan as Rules, Role, Terms, Threshold, Tier};
use switchyard_domain::money::Money;
use switchyard_store::commissions::{self, Assignment, DEFAULT_PLAN, Plan, PlanId, PlanVersion};
use switchyard_store::{Scope, agencies, portals};
use uuid::Uuid;

/// Agencies whose names are shown; of others the id is.
const NAMED: i64 = 1_000;

struct TierRow {
    name: String,
    from: String,
    pays: String,
}

fn amounts(all: &Amounts) -> String {
    let each = all.iter().map(|(currency, minor)| Money::new(*minor, *currency).to_string());
    each.collect::<Vec<_>>().join(", ")
}

impl TierRow {
    fn new(t: &Tier) -> Self {
        let from = match &t.from {
            Threshold::Count(n) => format!("{n} deals"),
            Threshold::Amounts(all) if all.values().all(|minor| *minor == 0) => "0".to_owned(),
            Threshold::Amounts(all) => amounts(all),
        };
        let rate = t.rate.map(|rate| format!("{rate} %"));
        let flat = (!t.flat.is_empty()).then(|| format!("{} a deal", amounts(&t.flat)));
        let pays: Vec<String> = rate.into_iter().chain(flat).collect();
        Self { name: t.name.to_string(), from, pays: pays.join(" and ") }
    }
}

/// One version of a plan.
struct VersionView {
    number: i32,
    /// When it began to hold; `None`: for all time.
    since: Option<String>,
    by: String,
    /// What it measures, how, and over which time; or why it cannot be read.
    says: String,
    tiers: Vec<TierRow>,
    shares: Vec<String>,
}

impl VersionView {
    fn new(v: &PlanVersion) -> Self {
        let rules = Rules::parse(&v.document);
        let terms = rules.as_ref().map(Rules::terms);
        Self {
            number: v.version,
            // A version without a beginning is read as one of the year 1; 1970 says the same.
            since: (v.valid_from.year() > 1970)
                .then(|| v.valid_from.format("%Y-%m-%d").to_string()),
            by: v.created_by.clone(),
            says: match terms {
                Ok(terms) => in_words(terms),
                Err(_) => "It cannot be read, so deals under it are refused.".to_owned(),
            },
            tiers: terms
                .map_or_else(|_| Vec::new(), |t| t.tiers.iter().map(TierRow::new).collect()),
            shares: terms.map_or_else(|_| Vec::new(), shares),
        }
    }
}

fn word(value: impl serde::Serialize) -> String {
    let written = serde_json::to_value(value).ok();
    written.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn in_words(t: &Terms) -> String {
    let more = [
        (t.overrides.len(), "for some products or portals other rates"),
        (t.accelerators.len(), "accelerators"),
    ];
    let more = more.into_iter().filter(|(n, _)| *n > 0).map(|(_, what)| format!("; {what}"));
    format!(
        "Tiers by {}, {}, each {}{}",
        word(t.measure),
        word(t.mode),
        word(t.window),
        more.collect::<String>()
    )
}

fn shares(t: &Terms) -> Vec<String> {
    let share = |s: &switchyard_domain::commission::SplitShare| {
        let who = match s.to {
            Role::Agent => "agent",
            Role::Manager => "manager",
            Role::Agency => "agency",
            Role::Platform => "platform",
        };
        match s.of {
            Of::Commission => format!("{who} {} %", s.percent),
            Of::Deal => format!("{who} {} % of the deal on top", s.percent),
        }
    };
    t.split.0.iter().map(share).collect()
}

/// A plan with its versions, the latest first.
struct PlanView {
    id: Uuid,
    code: String,
    name: String,
    versions: Vec<VersionView>,
    holds_for: Vec<String>,
}

#[derive(Template)]
#[template(path = "commission_plans.html")]
struct Plans {
    shell: Shell,
    plans: Vec<PlanView>,
}

/// Names of what assignments may name.
#[derive(Default)]
struct Names {
    agencies: HashMap<Uuid, String>,
    portals: HashMap<Uuid, String>,
}

impl Names {
    fn of(&self, a: &Assignment) -> String {
        let name = |all: &HashMap<Uuid, String>, id: Uuid| {
            all.get(&id).cloned().unwrap_or_else(|| short(id))
        };
        let parts = [
            a.agent_id.map(|id| format!("agent {}", short(id))),
            a.agency_id.map(|id| name(&self.agencies, id)),
            a.portal_id.map(|id| format!("leads of {}", name(&self.portals, id))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let whom = if parts.is_empty() { "everybody".to_owned() } else { parts.join(", ") };
        match a.is_for_good() {
            true => whom,
            false => format!("{whom} until {}", a.valid_until.format("%Y-%m-%d")),
        }
    }
}

/// `GET /ops/commissions/plans`
pub(super) async fn list(State(api): State<Api>, _: Caller<PayoutsManage>, shell: Shell) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let plans = commissions::list(&mut tx).await?;
    let ids: Vec<PlanId> = plans.iter().map(|p| PlanId(p.id)).collect();
    let versions = commissions::versions_of(&mut tx, &ids).await?;
    let assigned = commissions::assignments_of(&mut tx, &ids, shell.now).await?;
    let names = Names {
        agencies: agencies::list(&mut tx, None, NAMED)
            .await?
            .into_iter()
            .map(|a| (a.id.0, a.name))
            .collect(),
        portals: portals::list(&mut tx).await?.into_iter().map(|p| (p.id.0, p.name)).collect(),
    };
    tx.rollback().await?;
    let view = |plan: Plan| {
        let own = versions.iter().rev().filter(|v| v.plan_id == plan.id);
        let mut holds_for: Vec<String> =
            assigned.iter().filter(|a| a.plan_id == plan.id).map(|a| names.of(a)).collect();
        if plan.code == DEFAULT_PLAN {
            holds_for.push("whoever has no other plan".to_owned());
        }
        PlanView {
            id: plan.id,
            versions: own.map(VersionView::new).collect(),
            code: plan.code,
            name: plan.name,
            holds_for,
        }
    };
    page(&Plans {
        plans: plans.into_iter().map(view).collect(),
        shell: shell.at("/ops/commissions"),
    })
}
