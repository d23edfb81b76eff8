//! What was earned, by whom, and why.

use super::views::{ExplainedView, MoneyView, StandingView};
use super::{books_of, currency};
use crate::auth::{Caller, CommissionsRead};
use crate::envelope::Envelope;
use crate::extract::{ApiPath, ApiQuery};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply};
use axum::extract::State;
use chrono::{DateTime, Datelike, Months as Later, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_catalog::tiers;
use switchyard_domain::money::Money;
use switchyard_domain::{AgencyId, AgentId};
use switchyard_store::payouts::{
    self, Earned, EarnedBy, Months, Standing, StandingFilter, account_month, earned, standings,
};
use switchyard_store::{commissions, ledger};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Months that are added up at once.
const MOST_MONTHS: i64 = 36;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(dashboard))
        .routes(routes!(leaderboard))
        .routes(routes!(analytics))
        .routes(routes!(explain))
}

/// The first day of the month of an instant.
pub(super) fn month_of(at: DateTime<Utc>) -> NaiveDate {
    let day = at.date_naive();
    day.with_day(1).unwrap_or(day)
}

/// `2026-03` as its first day.
pub(crate) fn month(text: &str) -> Result<NaiveDate, ApiError> {
    let day = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d");
    let known = day.ok().filter(|d| text.len() == 7 && (2000..=2999).contains(&d.year()));
    known.ok_or_else(|| ApiError::bad_request("invalid_month", "write a month as 2026-03"))
}

/// Whose dashboard.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Whose {
    /// The agent.
    agent: Uuid,
    /// Operators: in whose books.
    agency: Option<Uuid>,
    /// ISO 4217; EUR if left out.
    #[param(example = "EUR")]
    currency: Option<String>,
}

/// What an agent has earned.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DashboardView {
    /// `null`: nothing was booked in this currency yet.
    standing: Option<StandingView>,
    /// Booked in this month so far, payouts left aside.
    this_month: MoneyView,
    /// Booked in the month before.
    last_month: MoneyView,
    /// What the agent's deals of this month may come to, through the tiers of the plans that count by
    /// months: the sum of their `progress.forecast.agent` under `tiers`. `null`: no plan does.
    forecast: Option<MoneyView>,
    /// For each plan whose period runs now: the tier, how much is missing to the next one, and where the
    /// period may end, with the method as a sentence.
    #[schema(value_type = Vec<Object>)]
    tiers: Vec<Value>,
}

/// An agent's earnings: booked, owed, on the way, paid, and what the month may come to
#[utoipa::path(get, path = "/api/v1/commissions/dashboard", tag = "commissions",
    operation_id = "commissions_dashboard", params(Whose),
    responses((status = 200, description = "The figures.", body = Envelope<DashboardView>)))]
async fn dashboard(
    State(api): State<Api>,
    caller: Caller<CommissionsRead>,
    ApiQuery(whose): ApiQuery<Whose>,
) -> Answer<DashboardView> {
    let (agency, agent) = (books_of(&caller.claims, whose.agency)?, AgentId(whose.agent));
    let (currency, now) = (currency(whose.currency.as_deref())?, api.clock.now());
    let mut tx = api.db.begin(caller.scope()).await?;
    let filter = StandingFilter { currency, agency: Some(agency), agent: Some(agent), limit: 1 };
    let standing = standings(&mut tx, &filter).await?.pop();
    let owner = ledger::Owner::Agent(agent);
    let account = ledger::Account::payable(owner, agency, currency).id();
    let this = month_of(now);
    let mut booked = [0_i64; 2];
    for (month, sum) in [this, this - Later::new(1)].into_iter().zip(&mut booked) {
        *sum = account_month(&mut tx, account, month).await?.earned;
    }
    let tiers = tiers::standing(&mut tx, agency, agent, currency, now).await?;
    let money = |minor| MoneyView::from(Money::new(minor, currency));
    Ok(Reply::ok(
        "dashboard",
        DashboardView {
            standing: standing.map(StandingView::from),
            this_month: money(booked[0]),
            last_month: money(booked[1]),
            forecast: tiers::this_month(&tiers).map(MoneyView::from),
            tiers: tiers.iter().map(|tier| json!(tier)).collect(),
        },
    ))
}

/// Which leaderboard.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Board {
    /// ISO 4217; EUR if left out.
    #[param(example = "EUR")]
    currency: Option<String>,
    /// Operators: only this agency's agents.
    agency: Option<Uuid>,
    /// At most so many, 1 to 500.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<i64>,
}

/// Agents by what they earned
#[utoipa::path(get, path = "/api/v1/commissions/leaderboard", tag = "commissions",
    operation_id = "commissions_leaderboard", params(Board),
    responses((status = 200, description = "The most first. An agency sees its own agents.",
        body = Envelope<Vec<StandingView>>)))]
async fn leaderboard(
    State(api): State<Api>,
    caller: Caller<CommissionsRead>,
    ApiQuery(board): ApiQuery<Board>,
) -> Answer<Vec<StandingView>> {
    let limit = board.limit.unwrap_or(50);
    if !(1..=500).contains(&limit) {
        return Err(ApiError::bad_request("invalid_query", "`limit` is a number from 1 to 500"));
    }
    let agency = caller.claims.agency.or(board.agency.map(AgencyId));
    let currency = currency(board.currency.as_deref())?;
    let mut tx = api.db.begin(caller.scope()).await?;
    let filter = StandingFilter { currency, agency, agent: None, limit };
    let rows: Vec<Standing> = standings(&mut tx, &filter).await?;
    Ok(Reply::ok("leaderboard", rows.into_iter().map(StandingView::from).collect()))
}

/// Which months.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Span {
    /// The first month; left out: eleven before the last.
    #[param(example = "2026-01")]
    from: Option<String>,
    /// The last month; left out: this one.
    #[param(example = "2026-12")]
    to: Option<String>,
    /// ISO 4217; EUR if left out.
    #[param(example = "EUR")]
    currency: Option<String>,
    /// Operators: only this agency's books.
    agency: Option<Uuid>,
}

/// What one group came to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EarnedView {
    /// The month, product, portal's or agency's id; `null`: it has none.
    #[schema(example = "2026-03")]
    key: Option<String>,
    /// In minor units; a string, because it may be more than 64 bits hold.
    #[schema(example = "125000")]
    amount_minor: String,
    /// How many entries that were.
    entries: i64,
}

impl From<Earned> for EarnedView {
    fn from(e: Earned) -> Self {
        Self { key: e.key, amount_minor: e.amount_minor, entries: e.entries }
    }
}

/// What was booked for agents and agencies.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AnalyticsView {
    #[schema(example = "EUR")]
    currency: String,
    /// At most 200, the largest first; so too below.
    by_month: Vec<EarnedView>,
    by_product: Vec<EarnedView>,
    by_portal: Vec<EarnedView>,
    by_agency: Vec<EarnedView>,
}

/// Commissions by month, product, portal and agency
#[utoipa::path(get, path = "/api/v1/commissions/analytics", tag = "commissions",
    operation_id = "commissions_analytics", params(Span),
    responses((status = 200, description = "The sums.", body = Envelope<AnalyticsView>)))]
async fn analytics(
    State(api): State<Api>,
    caller: Caller<CommissionsRead>,
    ApiQuery(span): ApiQuery<Span>,
) -> Answer<AnalyticsView> {
    let to = span.to.as_deref().map(month).transpose()?.unwrap_or(month_of(api.clock.now()));
    let from = span.from.as_deref().map(month).transpose()?.unwrap_or(to - Later::new(11));
    let count = |day: NaiveDate| i64::from(day.year()) * 12 + i64::from(day.month0());
    let months = count(to) - count(from);
    if !(0..MOST_MONTHS).contains(&months) {
        let message = "`to` is not before `from`, and at most 36 months are added up";
        return Err(ApiError::bad_request("invalid_query", message));
    }
    let (months, currency) = (Months { from, to }, currency(span.currency.as_deref())?);
    let agency = caller.claims.agency.or(span.agency.map(AgencyId));
    let mut tx = api.db.begin(caller.scope()).await?;
    let mut groups = Vec::with_capacity(4);
    for by in [EarnedBy::Month, EarnedBy::Product, EarnedBy::Portal, EarnedBy::Agency] {
        let rows = earned(&mut tx, by, currency, months, agency).await?;
        groups.push(rows.into_iter().map(EarnedView::from).collect::<Vec<_>>());
    }
    let mut groups = groups.into_iter();
    let mut next = || groups.next().unwrap_or_default();
    Ok(Reply::ok(
        "analytics",
        AnalyticsView {
            currency: currency.code().to_owned(),
            by_month: next(),
            by_product: next(),
            by_portal: next(),
            by_agency: next(),
        },
    ))
}

/// Explain a commission: event, plan and its version, tier, arithmetic
///
/// The id is of an entry of the ledger, of an event, or of a lead. An event that is not booked is told
/// with the reason.
#[utoipa::path(get, path = "/api/v1/commissions/{id}/explain", tag = "commissions",
    operation_id = "commission_explain",
    params(("id" = Uuid, Path, description = "An entry, an event or a lead")),
    responses(
        (status = 200, description = "Every entry about it, the oldest first; then events without one.",
            body = Envelope<Vec<ExplainedView>>),
        (status = 404, description = "There is no such thing, or it is not yours.",
            body = ErrorEnvelope)))]
async fn explain(
    State(api): State<Api>,
    caller: Caller<CommissionsRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<Vec<ExplainedView>> {
    let mut tx = api.db.begin(caller.scope()).await?;
    let mut entries = Vec::new();
    for entry in payouts::entries_about(&mut tx, id).await? {
        entries.push(ExplainedView::from(ledger::entry(&mut tx, entry).await?));
    }
    let events = commissions::about(&mut tx, id).await?;
    entries.extend(events.into_iter().map(ExplainedView::from));
    if entries.is_empty() {
        return Err(ApiError::not_found("nothing is known of it, or it is not yours"));
    }
    Ok(Reply::ok("explained", entries))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_as_they_are_written() {
        assert_eq!(month("2026-03").unwrap(), NaiveDate::from_ymd_opt(2026, 3, 1).unwrap());
        for bad in ["2026-13", "2026-3", "26-03", "2026-03-01", "x", "9999-01"] {
            assert!(month(bad).is_err(), "{bad}");
        }
    }
}
