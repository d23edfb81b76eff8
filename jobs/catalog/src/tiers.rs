//! Where an agent stands in the tiers of the plans that hold now, and how far it is to the next one.

use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeSet;
use switchyard_domain::commission::{Accumulator, Plan, Progress, progress};
use switchyard_domain::money::Currency;
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::commissions::{self, PlanId};
use switchyard_store::{Result, Tx};

/// Where an agent stands under one plan.
#[derive(Clone, Debug, Serialize)]
pub struct InPlan {
    /// Which plan.
    pub plan: PlanId,
    /// Which of its versions: the one that the period began with.
    pub version: i32,
    /// Which of its periods, such as `2026-03`.
    pub period: String,
    /// Tier, distance to the next one, and where the period may end.
    pub progress: Progress,
}

/// Where an agent stands in the periods that run now. Plans under which nothing was sold in them yet
/// are left out, and so is a period that is being evaluated anew.
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
            period: key.period.to_string(),
            progress,
        }));
    }
    Ok(found)
}
