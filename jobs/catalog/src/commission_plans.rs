//! Which version of which plan a deal falls under.

use chrono::{DateTime, Utc};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use switchyard_domain::commission::{CommissionEvent, PeriodKey, Plan, Window};
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::commissions::{self, Assignment, DEFAULT_PLAN, GroupKey, NewPlan, PlanId};
use switchyard_store::{StoreFault, Tx};

/// The plans of some agents: assignments, and every version of what may hold.
pub(crate) struct Plans {
    assignments: Vec<Assignment>,
    /// A plan that cannot be read refuses the deals under it and no others.
    versions: HashMap<PlanId, Result<Versions, String>>,
}

impl Plans {
    /// Reads what may hold for these agents; `more` are plans that deals were booked under.
    pub(crate) async fn load(
        tx: &mut Tx,
        agencies: &BTreeSet<AgencyId>,
        agents: &BTreeSet<AgentId>,
        more: impl IntoIterator<Item = PlanId>,
    ) -> Result<Self, StoreFault> {
        let agencies: Vec<_> = agencies.iter().copied().collect();
        let agents: Vec<_> = agents.iter().copied().collect();
        let assignments = commissions::assignments_for(tx, &agencies, &agents).await?;
        let standard = PlanId::of_code(DEFAULT_PLAN);
        let mut wanted: BTreeSet<PlanId> = assignments.iter().map(|a| PlanId(a.plan_id)).collect();
        wanted.extend(more);
        wanted.insert(standard);
        let wanted: Vec<PlanId> = wanted.into_iter().collect();
        let mut rows = commissions::versions_of(tx, &wanted).await?;
        if !rows.iter().any(|v| v.plan_id == standard.0) {
            let plan = NewPlan { agency: None, code: DEFAULT_PLAN.into(), name: "Standard".into() };
            commissions::ensure(tx, &plan, &Plan::standard()).await?;
            rows.extend(commissions::versions(tx, standard).await?);
        }
        let mut versions: HashMap<PlanId, Result<Versions, String>> = HashMap::new();
        for row in rows {
            let known =
                versions.entry(PlanId(row.plan_id)).or_insert_with(|| Ok(Versions::default()));
            match read(&row.document) {
                Ok(plan) => {
                    if let Ok(all) = known {
                        all.numbers.push(row.version);
                        all.plans.push(plan);
                    }
                }
                Err(why) => {
                    *known = Err(format!(
                        "version {} of its plan {} cannot be read: {why}; assign another plan",
                        row.version, row.plan_id
                    ));
                }
            }
        }
        Ok(Self { assignments, versions })
    }

    fn of(&self, plan: PlanId) -> Result<&Versions, String> {
        match self.versions.get(&plan) {
            Some(Ok(versions)) if !versions.plans.is_empty() => Ok(versions),
            Some(Err(why)) => Err(why.clone()),
            _ => Err(format!("its plan {} has no version; add one and recompute", plan.0)),
        }
    }

    /// Where a conversion is evaluated: its plan, the version of that, the period. Or why nowhere.
    pub(crate) fn place(&self, deal: &CommissionEvent) -> Result<GroupKey, String> {
        let (agency, agent, at) = (deal.agency, deal.agent, deal.occurred_at);
        let holds = |a: &&Assignment| a.holds(agency, agent, deal.portal, at);
        let assigned = self.assignments.iter().find(holds).map(|a| PlanId(a.plan_id));
        let plan = assigned.unwrap_or(PlanId::of_code(DEFAULT_PLAN));
        let versions = self.of(plan)?;
        let (version, rules) = versions.at(at);
        Ok(GroupKey { agency, agent, plan, version, period: rules.period_at(at) })
    }

    /// The rules of a group.
    pub(crate) fn rules(&self, key: &GroupKey) -> Result<&Plan, String> {
        let versions = self.of(key.plan)?;
        let at = versions.numbers.iter().position(|n| *n == key.version);
        at.map(|at| &versions.plans[at])
            .ok_or_else(|| format!("its plan {} has no version {}", key.plan.0, key.version))
    }
}

/// The versions of one plan, by number.
#[derive(Default)]
struct Versions {
    numbers: Vec<i32>,
    plans: Vec<Plan>,
}

impl Versions {
    /// The version for a deal of this moment. They may differ in how long their periods are: the one
    /// counts that a period of its own leads to; if there is none, the first.
    fn at(&self, moment: DateTime<Utc>) -> (i32, &Plan) {
        let leads_to_itself = |plan: &&Plan| {
            // A lifetime has no beginning of its own; the version counts that held in the deal's month.
            let period = match plan.period_at(moment) {
                PeriodKey::Lifetime => PeriodKey::of_day(Window::Month, moment.date_naive()),
                other => other,
            };
            Plan::version_for(&self.plans, period).is_some_and(|chosen| std::ptr::eq(chosen, *plan))
        };
        let at = self.plans.iter().rposition(|plan| leads_to_itself(&plan)).unwrap_or(0);
        (self.numbers[at], &self.plans[at])
    }
}

fn read(document: &serde_json::Value) -> Result<Plan, String> {
    Plan::parse(document).map_err(|faults| {
        let all = faults.iter().map(|f| format!("{}: {}", f.field, f.message));
        all.collect::<Vec<_>>().join("; ")
    })
}

/// How a plan is named in explanations.
pub(crate) fn named(key: &GroupKey) -> serde_json::Value {
    json!({ "plan": key.plan, "version": key.version, "period": key.period })
}
