//! What became of leads, in figures.

use crate::auth::{Caller, LeadWorkRead};
use crate::envelope::Envelope;
use crate::extract::ApiQuery;
use crate::{Answer, Api, ApiError, Reply};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_store::leads::{self, Figures, Group, Range, Sold};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(24 * 3600);
const USUAL: Duration = Duration::from_secs(30 * DAY.as_secs());
const LONGEST: Duration = Duration::from_secs(366 * DAY.as_secs());

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(analytics))
}

/// Which leads count: those that came in this time.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Window {
    /// The first instant; left out: 30 days before `to`.
    #[param(example = "2026-01-01T00:00:00Z")]
    from: Option<DateTime<Utc>>,
    /// The first instant after it; left out: now. At most 366 days after `from`.
    to: Option<DateTime<Utc>>,
}

impl Window {
    fn range(&self, now: DateTime<Utc>) -> Result<Range, ApiError> {
        let to = self.to.unwrap_or(now);
        let from = self.from.unwrap_or(to - USUAL);
        if from >= to || from < to - LONGEST {
            let message = "`to` is after `from`, by 366 days at most";
            return Err(ApiError::bad_request("invalid_query", message));
        }
        Ok(Range { from, to })
    }
}

/// The leads of one portal, agency or agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GroupView {
    id: Uuid,
    /// `null` where you may not know it.
    name: Option<String>,
    leads: i64,
    accepted: i64,
    converted: i64,
    /// Sold leads among all of them, from 0 to 1, to four places.
    #[schema(example = 0.125)]
    conversion_rate: f64,
}

impl From<Group> for GroupView {
    fn from(g: Group) -> Self {
        let Group { id, name, leads, accepted, converted } = g;
        let conversion_rate = rate(converted, leads);
        Self { id, name, leads, accepted, converted, conversion_rate }
    }
}

/// What the sales in one currency came to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SoldView {
    #[schema(example = "PLN")]
    currency: String,
    sales: i64,
    /// In minor units; a string, because it may be more than 64 bits hold.
    #[schema(example = "65000000")]
    amount_minor: String,
}

impl From<Sold> for SoldView {
    fn from(s: Sold) -> Self {
        Self { currency: s.currency, sales: s.sales, amount_minor: s.amount_minor }
    }
}

/// What became of the leads.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FiguresView {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    leads: i64,
    accepted: i64,
    converted: i64,
    /// Sold leads among all of them, from 0 to 1, to four places.
    #[schema(example = 0.125)]
    conversion_rate: f64,
    /// A line a currency.
    sold: Vec<SoldView>,
    /// At most 200, the one with the most leads first; so too below.
    by_portal: Vec<GroupView>,
    /// By the agency that holds them.
    by_agency: Vec<GroupView>,
    /// By the agent who works on them.
    by_agent: Vec<GroupView>,
}

impl FiguresView {
    fn new(range: Range, f: Figures) -> Self {
        let views = |groups: Vec<Group>| groups.into_iter().map(GroupView::from).collect();
        Self {
            from: range.from,
            to: range.to,
            leads: f.leads,
            accepted: f.accepted,
            converted: f.converted,
            conversion_rate: rate(f.converted, f.leads),
            sold: f.sold.into_iter().map(SoldView::from).collect(),
            by_portal: views(f.by_portal),
            by_agency: views(f.by_agency),
            by_agent: views(f.by_agent),
        }
    }
}

/// To four places; 0 of 0 is 0.
fn rate(part: i64, whole: i64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[allow(clippy::cast_precision_loss)] // counts are far below 2^52
    let rate = part as f64 / whole as f64;
    (rate * 10_000.0).round() / 10_000.0
}

/// What became of leads: conversion rates by portal, agency and agent
///
/// Counts the leads that came in a stretch of time, without tests. An agency's figures are of the
/// leads that it holds.
#[utoipa::path(get, path = "/api/v1/leads/analytics", tag = "leads",
    operation_id = "lead_analytics", params(Window),
    responses((status = 200, description = "The figures.", body = Envelope<FiguresView>)))]
async fn analytics(
    State(api): State<Api>,
    caller: Caller<LeadWorkRead>,
    ApiQuery(window): ApiQuery<Window>,
) -> Answer<FiguresView> {
    let range = window.range(api.clock.now())?;
    let mut tx = api.db.begin(caller.scope()).await?;
    let figures = leads::figures(&mut tx, range).await?;
    Ok(Reply::ok("figures", FiguresView::new(range, figures)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_four_places_and_nothing_of_nothing_is_nothing() {
        assert!((rate(1, 3) - 0.3333).abs() < f64::EPSILON);
        assert!((rate(2, 3) - 0.6667).abs() < f64::EPSILON);
        assert!(rate(0, 0).abs() < f64::EPSILON);
    }
}
