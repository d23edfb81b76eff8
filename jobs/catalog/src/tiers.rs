//! Where an agent stands in the tiers of the plans that hold now, and how far it is to the next one.

use crate::commission_plans::Plans;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeSet;
use switchyard_domain::commission::{
    Accumulator, CommissionEvent, EventKind, PeriodKey, Plan, Progress, month_forecast, progress,
};
use switchyard_domain::money::{Currency, Money};
use switchyard_domain::{AgencyId, AgentId, CommissionEventId};
use switchyard_store::commissions::{self, GroupKey, PlanId};
use switchyard_store::{Result, Tx, agents};
use uuid::Uuid;

/// Where an agent stands under one plan.
#[derive(Clone, Debug, Serialize)]
pub struct InPlan {
    /// Which plan.
    pub plan: PlanId,
    /// Which of its versions: the one that the period began with.
    pub version: i32,
    /// Which of its periods, such as `2026-03`.
    pub period: PeriodKey,
    /// Tier, distance to the next one, and where the period may end.
    pub progress: Progress,
}

/// Where an agent stands in the periods that run now: under each plan by which something was sold in them,
/// and under the one that holds for the agent's next deal. A period that is being evaluated anew is left out.
///
/// # Errors
/// If the database is not available.
pub async fn standing(
    tx: &mut Tx,
    agency: AgencyId,
    agent: AgentId,
    currency: Currency,
    now: DateTime<Utc>,
) -> Result<Vec<InPlan>> {
    let groups = commissions::of_agents(tx, &[agent]).await?;
    let plans: BTreeSet<PlanId> = groups.iter().map(|g| g.key.plan).collect();
    let plans: Vec<PlanId> = plans.into_iter().collect();
    let versions = commissions::versions_of(tx, &plans).await?;
    let mut found = Vec::new();
    let next = begun_by_next(tx, agency, agent, currency, now).await?;
    let known = |key: &GroupKey| groups.iter().any(|g| g.id == key.id());
    found.extend(next.filter(|(key, _)| !known(key)).map(|(_, stands)| stands));
    for group in groups.into_iter().filter(|g| g.key.agency == agency) {
        let key = group.key;
        let of =
            |v: &&commissions::PlanVersion| v.plan_id == key.plan.0 && v.version == key.version;
        let Some(version) = versions.iter().find(of) else { continue };
        // What cannot be read is told by the job that books; here it is left out.
        let Ok(plan) = Plan::parse(&version.document) else { continue };
        if plan.period_at(now) != key.period {
            continue;
        }
        let totals = group.totals.and_then(|t| serde_json::from_value::<Accumulator>(t).ok());
        let stands = totals.and_then(|totals| progress(&plan, &totals, currency, now));
        found.extend(stands.map(|progress| InPlan {
            plan: key.plan,
            version: key.version,
            period: key.period,
            progress,
        }));
    }
    Ok(found)
}

/// What the agent's deals of this month may come to: the sum of the forecasts of the plans that count by
/// months. `None` if none does; then each period's own forecast is what there is.
#[must_use]
pub fn this_month(found: &[InPlan]) -> Option<Money> {
    month_forecast(found.iter().map(|stands| (stands.period, &stands.progress)))
}

/// Where the agent's next deal would begin, were it the first of its period; `None` for an agent of another
/// agency, and if no plan holds that could be used.
async fn begun_by_next(
    tx: &mut Tx,
    agency: AgencyId,
    agent: AgentId,
    currency: Currency,
    now: DateTime<Utc>,
) -> Result<Option<(GroupKey, InPlan)>> {
    if !agents::list(tx, agency).await?.iter().any(|a| a.id == agent) {
        return Ok(None);
    }
    let own = BTreeSet::from([agent]);
    let plans = Plans::seen(tx, &BTreeSet::from([agency]), &own).await?;
    let decisions = commissions::decisions(tx, &own).await?;
    let next = CommissionEvent {
        id: CommissionEventId(Uuid::nil()),
        kind: EventKind::Converted,
        lead: None,
        agency,
        agent,
        manager: None,
        portal: None,
        product: None,
        occurred_at: now,
        received_at: now,
        amount: None,
        fee: None,
        of: None,
    };
    let Ok(key) = plans.place(&next) else { return Ok(None) };
    let Ok(plan) = plans.rules(&key) else { return Ok(None) };
    let decisions: Vec<CommissionEvent> = decisions.into_iter().map(|row| row.event).collect();
    let totals = Accumulator::open(plan, agent, key.period, &decisions);
    let stands = progress(plan, &totals, currency, now);
    Ok(stands.map(|progress| {
        let (plan, version, period) = (key.plan, key.version, key.period);
        (key, InPlan { plan, version, period, progress })
    }))
}
