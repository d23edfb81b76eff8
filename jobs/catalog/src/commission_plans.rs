//! Which version of which plan a deal falls under.

use chrono::{DateTime, Utc};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use switchyard_domain::commission::{CommissionEvent, Decision, PeriodKey, Plan, Window};
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::commissions::{
    self, Assignment, DEFAULT_PLAN, GroupKey, NewPlan, PlanId, PlanVersion,
};
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
        let (assignments, mut rows) = rows(tx, agencies, agents, more).await?;
        let standard = PlanId::of_code(DEFAULT_PLAN);
        if !rows.iter().any(|v| v.plan_id == standard.0) {
            let plan = NewPlan { agency: None, code: DEFAULT_PLAN.into(), name: "Standard".into() };
            let rules: Plan = serde_json::from_value(Plan::standard())?;
            commissions::ensure(tx, &plan, &rules).await?;
            rows.extend(commissions::versions(tx, standard).await?);
        }
        Ok(Self::of_rows(assignments, rows))
    }

    /// The same for looking only: a standard plan that is not written yet counts as if it were.
    pub(crate) async fn seen(
        tx: &mut Tx,
        agencies: &BTreeSet<AgencyId>,
        agents: &BTreeSet<AgentId>,
    ) -> Result<Self, StoreFault> {
        let (assignments, mut rows) = rows(tx, agencies, agents, []).await?;
        let standard = PlanId::of_code(DEFAULT_PLAN);
        if !rows.iter().any(|v| v.plan_id == standard.0) {
            rows.push(PlanVersion {
                plan_id: standard.0,
                version: 1,
                document: Plan::standard(),
                valid_from: DateTime::UNIX_EPOCH,
                created_by: String::new(),
                created_at: DateTime::UNIX_EPOCH,
            });
        }
        Ok(Self::of_rows(assignments, rows))
    }

    fn of_rows(assignments: Vec<Assignment>, rows: Vec<PlanVersion>) -> Self {
        let mut versions: HashMap<PlanId, Result<Versions, String>> = HashMap::new();
        for row in rows {
            let known =
                versions.entry(PlanId(row.plan_id)).or_insert_with(|| Ok(Versions::default()));
            match read(&row) {
                Ok(plan) => {
                    if let Ok(all) = known {
                        all.numbers.push(row.version);
                        all.made.push(row.created_at);
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
        Self { assignments, versions }
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

    /// The group with the version that its first deal leads to. `first` is a conversion of the group.
    pub(crate) fn begun_with(&self, key: &GroupKey, first: &CommissionEvent) -> GroupKey {
        match self.of(key.plan) {
            Ok(versions) => chosen(key, first, versions.at(first.occurred_at)),
            Err(_) => *key,
        }
    }

    /// The group as it is to stand: a lifetime has the version of its first deal, of those that there were
    /// when that one was booked. Every other period has the version that it began with.
    pub(crate) fn kept(
        &self,
        key: &GroupKey,
        first: &CommissionEvent,
        booked: DateTime<Utc>,
    ) -> GroupKey {
        match self.of(key.plan) {
            Ok(versions) if key.period == PeriodKey::Lifetime => {
                let known = versions.made.partition_point(|made| *made <= booked).max(1);
                chosen(key, first, versions.among(known, first.occurred_at))
            }
            _ => *key,
        }
    }

    /// Whether a decision about an agent can be used: by a plan that may hold for the agent's deals from
    /// then on, or by one of `standing`, under which the agent has deals. Or why by none.
    pub(crate) fn judge(
        &self,
        decision: &CommissionEvent,
        standing: &[GroupKey],
    ) -> Result<(), String> {
        let own = standing.iter().filter(|key| key.agent == decision.agent);
        if own.filter_map(|key| self.rules(key).ok()).any(|p| Decision::of(p, decision).is_ok()) {
            return Ok(());
        }
        let mut refused = None;
        for plan in self.ahead(decision) {
            match self.of(plan).and_then(|versions| versions.judge(decision)) {
                Ok(()) => return Ok(()),
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        Err(refused.unwrap_or_else(|| "no plan holds for the agent".to_owned()))
    }

    /// The plans that may hold for an agent's deals from a decision on, the most exact first.
    fn ahead(&self, decision: &CommissionEvent) -> Vec<PlanId> {
        let (agency, agent, at) = (decision.agency.0, decision.agent.0, decision.occurred_at);
        let mut found = Vec::new();
        for a in &self.assignments {
            let own = a.agency_id.is_none_or(|id| id == agency)
                && a.agent_id.is_none_or(|id| id == agent)
                && a.valid_until > at;
            if !own {
                continue;
            }
            found.push(PlanId(a.plan_id));
            // Whatever is less exact never holds beside one that is for every deal and for good.
            if a.portal_id.is_none() && a.valid_from <= at && a.is_for_good() {
                return found;
            }
        }
        found.push(PlanId::of_code(DEFAULT_PLAN));
        found
    }

    /// The rules of a group.
    pub(crate) fn rules(&self, key: &GroupKey) -> Result<&Plan, String> {
        let versions = self.of(key.plan)?;
        let at = versions.numbers.iter().position(|n| *n == key.version);
        at.map(|at| &versions.plans[at])
            .ok_or_else(|| format!("its plan {} has no version {}", key.plan.0, key.version))
    }
}

/// The group under this version, if the deal counts in the same period by it.
fn chosen(key: &GroupKey, first: &CommissionEvent, (version, rules): (i32, &Plan)) -> GroupKey {
    match rules.period_at(first.occurred_at) == key.period {
        true => GroupKey { version, ..*key },
        false => *key,
    }
}

/// The assignments of agencies and agents, and the versions of every plan that may hold.
async fn rows(
    tx: &mut Tx,
    agencies: &BTreeSet<AgencyId>,
    agents: &BTreeSet<AgentId>,
    more: impl IntoIterator<Item = PlanId>,
) -> Result<(Vec<Assignment>, Vec<PlanVersion>), StoreFault> {
    let agencies: Vec<_> = agencies.iter().copied().collect();
    let agents: Vec<_> = agents.iter().copied().collect();
    let assignments = commissions::assignments_for(tx, &agencies, &agents).await?;
    let mut wanted: BTreeSet<PlanId> = assignments.iter().map(|a| PlanId(a.plan_id)).collect();
    wanted.extend(more);
    wanted.insert(PlanId::of_code(DEFAULT_PLAN));
    let wanted: Vec<PlanId> = wanted.into_iter().collect();
    let rows = commissions::versions_of(tx, &wanted).await?;
    Ok((assignments, rows))
}

/// The versions of one plan, by number.
#[derive(Default)]
struct Versions {
    numbers: Vec<i32>,
    plans: Vec<Plan>,
    /// When each was added.
    made: Vec<DateTime<Utc>>,
}

impl Versions {
    /// The version for a deal of this moment. They may differ in how long their periods are: the one
    /// counts that a period of its own leads to; if there is none, the first.
    fn at(&self, moment: DateTime<Utc>) -> (i32, &Plan) {
        self.among(self.plans.len(), moment)
    }

    /// The same of the first `count` versions.
    fn among(&self, count: usize, moment: DateTime<Utc>) -> (i32, &Plan) {
        let plans = &self.plans[..count];
        let leads_to_itself = |plan: &&Plan| {
            // A lifetime has no beginning of its own; the version counts that held in the deal's month.
            let period = match plan.period_at(moment) {
                PeriodKey::Lifetime => PeriodKey::of_day(Window::Month, moment.date_naive()),
                other => other,
            };
            Plan::version_for(plans, period).is_some_and(|chosen| std::ptr::eq(chosen, *plan))
        };
        let at = plans.iter().rposition(|plan| leads_to_itself(&plan)).unwrap_or(0);
        (self.numbers[at], &self.plans[at])
    }
}

impl Versions {
    /// Whether a decision can be used by the version of its moment, or by a later one.
    fn judge(&self, decision: &CommissionEvent) -> Result<(), String> {
        let (held, rules) = self.at(decision.occurred_at);
        let later = self.numbers.iter().zip(&self.plans).filter(|(number, _)| **number >= held);
        if later.map(|(_, plan)| plan).any(|plan| Decision::of(plan, decision).is_ok()) {
            return Ok(());
        }
        let (name, reason) = (&rules.reference().name, Decision::of(rules, decision).err());
        let reason = reason.map_or_else(String::new, |r| r.to_string());
        Err(format!("{reason} (plan {name}, version {held}); record another decision"))
    }
}

fn read(row: &PlanVersion) -> Result<Plan, String> {
    let plan = Plan::parse(&row.document).map_err(|faults| {
        let all = faults.iter().map(|f| format!("{}: {}", f.field, f.message));
        all.collect::<Vec<_>>().join("; ")
    })?;
    // The first version has all before, too.
    Ok(if row.version > 1 { plan.in_force_from(row.valid_from) } else { plan })
}

/// How a plan is named in explanations.
pub(crate) fn named(key: &GroupKey) -> serde_json::Value {
    json!({ "plan": key.plan, "version": key.version, "period": key.period })
}
