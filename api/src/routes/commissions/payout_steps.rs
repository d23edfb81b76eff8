//! What operators do with payouts: approve and decline, export, say what became of them.

use super::views::{FileView, PayoutView};
use super::{actor, currency};
use crate::auth::{Caller, PayoutsManage};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiPath};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::NaiveDate;
use serde::Deserialize;
use switchyard_catalog::payouts::{self as paying, ExportFault, LeftOut};
use switchyard_domain::{PayoutId, normalise};
use switchyard_store::Scope;
use switchyard_store::payouts::{self, PayoutMethod};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(approve))
        .routes(routes!(decline))
        .routes(routes!(settle))
        .routes(routes!(export))
        .routes(routes!(download))
}

impl From<ExportFault> for ApiError {
    fn from(fault: ExportFault) -> Self {
        let message = fault.to_string();
        match fault {
            ExportFault::Nothing => Self::conflict("nothing_to_export", message),
            ExportFault::NoDebtor => Self::conflict("no_debtor", message),
            ExportFault::NoFile => Self::unprocessable("no_file", message),
            ExportFault::Sepa(_) => Self::unprocessable("refused_by_sepa", message),
            ExportFault::Csv(_) => Self::internal(fault),
            ExportFault::Payout(fault) => fault.into(),
        }
    }
}

/// Approve a payout
///
/// Above the limit by another person than the one who asked for it.
#[utoipa::path(post, path = "/api/v1/commissions/payout/{id}/approve", tag = "commissions",
    operation_id = "payout_approve", params(("id" = Uuid, Path, description = "The payout")),
    responses(
        (status = 200, description = "Approved.", body = Envelope<PayoutView>),
        (status = 403, description = "You asked for it yourself.", body = ErrorEnvelope),
        (status = 404, description = "There is no such payout.", body = ErrorEnvelope),
        (status = 409, description = "It does not wait for this.", body = ErrorEnvelope)))]
async fn approve(
    State(api): State<Api>,
    caller: Caller<PayoutsManage>,
    context: RequestContext,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<PayoutView> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let (by, cause) = (actor(&caller.claims), context.as_cause());
    let payout = paying::approve(&mut tx, PayoutId(id), &by, &cause).await?;
    tx.commit().await?;
    Ok(Reply::ok("approved", payout.into()))
}

/// Why something is so.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Why {
    /// 1 to 500 characters.
    #[schema(example = "the account is not theirs")]
    reason: String,
}

fn reason(raw: &str) -> Result<String, ApiError> {
    let text = normalise::line(raw).filter(|t| t.chars().count() <= 500);
    let message = "`reason` has 1 to 500 characters";
    text.ok_or_else(|| ApiError::unprocessable("invalid_reason", message))
}

/// Turn a payout down
///
/// One that waits for its approval, or is approved and waits for a file. No money has moved; the owner can
/// ask again.
#[utoipa::path(post, path = "/api/v1/commissions/payout/{id}/decline", tag = "commissions",
    operation_id = "payout_decline", params(("id" = Uuid, Path, description = "The payout")),
    request_body = Why,
    responses(
        (status = 200, description = "Turned down.", body = Envelope<PayoutView>),
        (status = 404, description = "There is no such payout.", body = ErrorEnvelope),
        (status = 409, description = "It does not wait for this.", body = ErrorEnvelope)))]
async fn decline(
    State(api): State<Api>,
    caller: Caller<PayoutsManage>,
    ApiPath(id): ApiPath<Uuid>,
    ApiJson(why): ApiJson<Why>,
) -> Answer<PayoutView> {
    let why = reason(&why.reason)?;
    let mut tx = api.db.begin(Scope::Platform).await?;
    let payout = paying::decline(&mut tx, PayoutId(id), &actor(&caller.claims), &why).await?;
    tx.commit().await?;
    Ok(Reply::ok("turned down", payout.into()))
}

/// What became of a payout that went out by a file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settled {
    /// Whether the money arrived.
    arrived: bool,
    /// Why it came back; needed if it did.
    #[schema(example = "account closed (AC04)")]
    reason: Option<String>,
}

/// Say what became of a payout that went out by a file
///
/// Money that came back is owed again.
#[utoipa::path(post, path = "/api/v1/commissions/payout/{id}/settle", tag = "commissions",
    operation_id = "payout_settle", params(("id" = Uuid, Path, description = "The payout")),
    request_body = Settled,
    responses(
        (status = 200, description = "Noted and booked.", body = Envelope<PayoutView>),
        (status = 404, description = "There is no such payout.", body = ErrorEnvelope),
        (status = 409, description = "It is not on its way by a file.", body = ErrorEnvelope)))]
async fn settle(
    State(api): State<Api>,
    caller: Caller<PayoutsManage>,
    ApiPath(id): ApiPath<Uuid>,
    ApiJson(settled): ApiJson<Settled>,
) -> Answer<PayoutView> {
    let why = match (settled.arrived, settled.reason) {
        (true, _) => None,
        (false, why) => Some(reason(why.as_deref().unwrap_or_default())?),
    };
    let mut tx = api.db.begin(Scope::Platform).await?;
    let (by, now) = (actor(&caller.claims), api.clock.now());
    let payout = paying::settle(&mut tx, PayoutId(id), &by, why.as_deref(), now).await?;
    tx.commit().await?;
    Ok(Reply::ok("booked", payout.into()))
}

/// Why there is no file, though something waited.
fn none_left(left_out: &[LeftOut]) -> String {
    let all: Vec<String> =
        left_out.iter().map(|l| format!("payout {}: {}", l.payout, l.why)).collect();
    format!("nothing that waited can be paid, and it has failed: {}", all.join("; "))
}

/// Which file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewFile {
    /// `sepa` (pain.001.001.09) or `csv`.
    #[schema(value_type = String, example = "sepa")]
    method: PayoutMethod,
    /// ISO 4217; left out: EUR.
    #[schema(example = "EUR")]
    currency: Option<String>,
    /// On which day the bank is to pay; left out: today.
    #[schema(example = "2027-03-01")]
    execute_on: Option<NaiveDate>,
}

/// Make a file for the bank of everything that is approved
///
/// The payouts in it are on their way from then on; `GET /api/v1/commissions/payout/files/{id}` is the
/// file. What is not covered any more, or a bank would refuse, is left out and has failed: `left_out` says
/// why, and the others are paid.
#[utoipa::path(post, path = "/api/v1/commissions/payout/export", tag = "commissions",
    operation_id = "payout_export", request_body = NewFile,
    responses(
        (status = 201, description = "Made.", body = Envelope<FileView>),
        (status = 409, description = "Nothing waits, nothing that waits can be paid, or nobody said from \
            which account.", body = ErrorEnvelope)))]
async fn export(
    State(api): State<Api>,
    caller: Caller<PayoutsManage>,
    ApiJson(new): ApiJson<NewFile>,
) -> Answer<FileView> {
    let (now, by) = (api.clock.now(), actor(&caller.claims));
    let currency = currency(new.currency.as_deref())?;
    let day = new.execute_on.unwrap_or_else(|| now.date_naive());
    let debtor = api.config.payouts.debtor.as_ref();
    let mut tx = api.db.begin(Scope::Platform).await?;
    let made = paying::export(&mut tx, new.method, currency, day, debtor, &by, now).await?;
    // Also if there is no file: what cannot be paid has failed.
    tx.commit().await?;
    match made.file {
        Some(file) => Ok(Reply::created("made", FileView::new(file, made.left_out))),
        None => Err(ApiError::conflict("nothing_to_export", none_left(&made.left_out))),
    }
}

/// Download a file for the bank
#[utoipa::path(get, path = "/api/v1/commissions/payout/files/{id}", tag = "commissions",
    operation_id = "payout_file", params(("id" = Uuid, Path, description = "The file")),
    responses(
        (status = 200, description = "The file, XML or CSV.", body = String,
            content_type = "application/xml"),
        (status = 404, description = "There is no such file.", body = ErrorEnvelope)))]
async fn download(
    State(api): State<Api>,
    _: Caller<PayoutsManage>,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Response, ApiError> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let (file, document) = payouts::file(&mut tx, id).await?;
    let (kind, end) = match file.method {
        PayoutMethod::Csv => ("text/csv; charset=utf-8", "csv"),
        PayoutMethod::Sepa | PayoutMethod::Stripe => ("application/xml", "xml"),
    };
    let name = format!("attachment; filename=\"payouts-{}.{end}\"", file.id.simple());
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, document).into_response())
}
