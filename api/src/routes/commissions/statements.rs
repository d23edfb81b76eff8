//! Statements: which months are closed, and one as PDF or CSV.

use super::read::month;
use super::{books_of, currency};
use crate::auth::{Caller, CommissionsRead, PayoutsRequest};
use crate::envelope::Envelope;
use crate::extract::{ApiPath, ApiQuery};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use switchyard_catalog::CommissionStatement;
use switchyard_catalog::statements::{self, Of};
use switchyard_domain::AgentId;
use switchyard_domain::statement::{statement_csv, statement_pdf};
use switchyard_store::ledger::{self, ClosedPeriod, Figure};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(draw)).routes(routes!(send))
}

/// Whose statements.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Whose {
    /// Operators: in whose books.
    agency: Option<Uuid>,
}

/// One account's figures in a closed month, in minor units.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FigureView {
    /// `payable`, `sent`, `paid` or `expense`.
    #[schema(example = "payable")]
    account: String,
    /// `agency`, `agent` or `platform`.
    #[schema(example = "agent")]
    owner_kind: String,
    owner_id: Option<Uuid>,
    #[schema(example = "EUR")]
    currency: String,
    opening: i64,
    got: i64,
    gave: i64,
    closing: i64,
}

impl From<Figure> for FigureView {
    fn from(f: Figure) -> Self {
        Self {
            account: f.kind.to_string(),
            owner_kind: f.owner_kind,
            owner_id: f.owner,
            currency: f.currency,
            opening: f.opening,
            got: f.got,
            gave: f.gave,
            closing: f.closing,
        }
    }
}

/// A closed month: its figures never change.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ClosedView {
    /// By its first day.
    month: NaiveDate,
    closed_at: DateTime<Utc>,
    figures: Vec<FigureView>,
}

impl From<ClosedPeriod> for ClosedView {
    fn from(c: ClosedPeriod) -> Self {
        let figures = c.figures.into_iter().map(FigureView::from).collect();
        Self { month: c.month, closed_at: c.closed_at, figures }
    }
}

/// List closed months with their figures
#[utoipa::path(get, path = "/api/v1/commissions/statements", tag = "commissions",
    operation_id = "statements", params(Whose),
    responses((status = 200, description = "The latest first.",
        body = Envelope<Vec<ClosedView>>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller<CommissionsRead>,
    ApiQuery(whose): ApiQuery<Whose>,
) -> Answer<Vec<ClosedView>> {
    let agency = books_of(&caller.claims, whose.agency)?;
    let mut tx = api.db.begin(caller.scope()).await?;
    let closed = ledger::closed(&mut tx, agency, None).await?;
    Ok(Reply::ok("closed months", closed.into_iter().map(ClosedView::from).collect()))
}

/// Which statement.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Operators: in whose books.
    agency: Option<Uuid>,
    /// Whose; left out: the agency's own.
    agent: Option<Uuid>,
    /// ISO 4217; EUR if left out.
    #[param(example = "EUR")]
    currency: Option<String>,
    /// `pdf` or `csv`; `pdf` if left out.
    #[param(example = "pdf")]
    format: Option<String>,
    /// A document has at most 20,000 lines; of a month with more it says how many parts there are.
    #[param(minimum = 1, default = 1)]
    part: Option<i64>,
}

impl Which {
    fn of(&self, caller: &crate::auth::Claims, written: &str) -> Result<Of, ApiError> {
        Ok(Of {
            agency: books_of(caller, self.agency)?,
            agent: self.agent.map(AgentId),
            month: month(written)?,
            currency: currency(self.currency.as_deref())?,
        })
    }
}

/// One month's statement as PDF or CSV
///
/// Of an open month it says so: more may be booked.
#[utoipa::path(get, path = "/api/v1/commissions/statements/{month}", tag = "commissions",
    operation_id = "statement",
    params(("month" = String, Path, description = "The month, such as 2026-03"), Which),
    responses(
        (status = 200, description = "The document.", body = Vec<u8>,
            content_type = "application/pdf"),
        (status = 404, description = "There is no such agent or part, or it is not yours.",
            body = ErrorEnvelope)))]
async fn draw(
    State(api): State<Api>,
    caller: Caller<CommissionsRead>,
    ApiPath(written): ApiPath<String>,
    ApiQuery(which): ApiQuery<Which>,
) -> Result<Response, ApiError> {
    let of = which.of(&caller.claims, &written)?;
    let mut tx = api.db.begin(caller.scope()).await?;
    let (part, now) = (which.part.unwrap_or(1), api.clock.now());
    let (statement, _) = statements::draw_part(&mut tx, &of, part, now).await?;
    tx.rollback().await?;
    let (kind, end, document) = match which.format.as_deref() {
        None | Some("pdf") => ("application/pdf", "pdf", statement_pdf(&statement)),
        Some("csv") => ("text/csv; charset=utf-8", "csv", statement_csv(&statement)),
        Some(_) => {
            return Err(ApiError::bad_request("invalid_query", "`format` is `pdf` or `csv`"));
        }
    };
    let document = document.map_err(ApiError::internal)?;
    let (month, code) = (&statement.period, of.currency.code());
    let name = format!("attachment; filename=\"commissions-{month}-{code}.{end}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, document).into_response())
}

/// The job that sends a statement.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SendingView {
    job_id: Uuid,
}

/// E-mail one month's statement to its owner, as PDF and CSV
#[utoipa::path(post, path = "/api/v1/commissions/statements/{month}/send", tag = "commissions",
    operation_id = "statement_send",
    params(("month" = String, Path, description = "The month, such as 2026-03"), Which),
    responses((status = 202, description = "It is being sent.", body = Envelope<SendingView>)))]
async fn send(
    State(api): State<Api>,
    caller: Caller<PayoutsRequest>,
    context: RequestContext,
    ApiPath(written): ApiPath<String>,
    ApiQuery(which): ApiQuery<Which>,
) -> Answer<SendingView> {
    let Of { agency, agent, month, currency } = which.of(&caller.claims, &written)?;
    let job = CommissionStatement { agency, agent, month, currency };
    let job = context.cause(job.job().map_err(ApiError::internal)?);
    let mut tx = api.db.begin(caller.scope()).await?;
    let enqueued = tx.enqueue(job).await?;
    tx.commit().await?;
    let view = SendingView { job_id: enqueued.id.0 };
    Ok(Reply::ok("being sent", view).status(StatusCode::ACCEPTED))
}
