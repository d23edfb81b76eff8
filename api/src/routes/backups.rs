//! Backups: how they stand, taking one, checking one, and restores, which need a second confirmation.

use super::backup_views::{AskedView, BackupRunView, StatusView};
use crate::auth::{BackupsManage, BackupsRead, Caller};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiPath, ApiQuery};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchyard_catalog::backup::{self, AskFault, Asking, RestoreOrder};
use switchyard_queue::NewJob;
use switchyard_store::Scope;
use switchyard_store::backups::runs::{self, RunKind};
use switchyard_store::backups::{audit, restored};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Runs in one answer.
const PAGE: u16 = 100;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(verify))
        .routes(routes!(restore))
        .routes(routes!(disaster_recovery))
        .routes(routes!(confirm))
        .routes(routes!(release))
        .routes(routes!(status))
        .routes(routes!(list))
        .routes(routes!(show))
}

/// Which run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateBackup {
    /// `full`, `incremental`, `differential`, `drill`, `prune` or `copy`; an increment if it is left out.
    #[schema(value_type = Option<String>, example = "incremental")]
    kind: Option<RunKind>,
}

/// A job that does it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    /// The job: `GET /api/admin/jobs/{id}` says how far it is.
    job: Uuid,
}

/// Who asks, for the record.
fn who<P>(caller: &Caller<P>) -> String {
    format!("admin:{}", caller.claims.sub)
}

/// Refuses where this installation has no archive, or where the archive is not its own yet.
async fn able(api: &Api) -> Result<(), ApiError> {
    if api.backups.is_none() {
        let message = "no archive is configured: set backup.archive";
        return Err(ApiError::conflict("no_archive", message));
    }
    if restored::awaits_release(&api.db).await? {
        let message = "this system was restored and is not released: run `switchyard release`";
        return Err(ApiError::conflict("not_released", message));
    }
    Ok(())
}

async fn enqueue(
    api: &Api,
    who: &str,
    action: &str,
    target: Option<&str>,
    job: NewJob,
    context: &RequestContext,
) -> Answer<JobView> {
    let cause = context.as_cause();
    let job = job.caused_by(cause.trace, cause.request_id.as_deref());
    let kind = job.kind.clone().into_owned();
    let mut tx = api.db.begin(Scope::Platform).await?;
    let placed = tx.enqueue(job).await?;
    audit(&mut tx, who, action, target, &json!({ "kind": kind, "job": placed.id.0 })).await?;
    tx.commit().await?;
    let message =
        if placed.inserted() { "it is in the queue" } else { "it was in the queue already" };
    Ok(Reply::ok(message, JobView { job: placed.id.0 }).status(StatusCode::ACCEPTED))
}

/// Take a backup now
///
/// In the background, beside what the schedule does.
#[utoipa::path(post, path = "/api/v1/backup/create", tag = "backups", operation_id = "backup_create",
    request_body = CreateBackup,
    responses(
        (status = 202, description = "It is in the queue.", body = Envelope<JobView>),
        (status = 409, description = "No archive is configured, or the system was restored and is \
            not released.", body = ErrorEnvelope)))]
async fn create(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    context: RequestContext,
    ApiJson(request): ApiJson<CreateBackup>,
) -> Answer<JobView> {
    able(&api).await?;
    let kind = request.kind.unwrap_or(RunKind::Incremental);
    let who = who(&caller);
    let job = backup::by_hand(kind, &who).map_err(|e| ApiError::unprocessable("no_such_run", e))?;
    enqueue(&api, &who, "backup.create", None, job, &context).await
}

/// Check a backup
///
/// Reads all its files from the archive and compares them with its signed manifest.
#[utoipa::path(post, path = "/api/v1/backup/verify/{id}", tag = "backups",
    operation_id = "backup_verify",
    params(("id" = String, Path, description = "The backup's name in the archive, or `all`")),
    responses(
        (status = 202, description = "It is in the queue.", body = Envelope<JobView>),
        (status = 409, description = "No archive is configured.", body = ErrorEnvelope)))]
async fn verify(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    context: RequestContext,
    ApiPath(id): ApiPath<String>,
) -> Answer<JobView> {
    able(&api).await?;
    let who = who(&caller);
    let backup = (id != "all").then(|| id.clone());
    if let Some(id) = &backup {
        named(id)?;
    }
    let job = backup::VerifyBackups { after: None, asked_by: Some(who.clone()), backup };
    let job = NewJob::of(&job).map_err(ApiError::internal)?;
    enqueue(&api, &who, "backup.verify", Some(&id), job, &context).await
}

fn named(id: &str) -> Result<(), ApiError> {
    let order = RestoreOrder { backup: Some(id.to_owned()), ..RestoreOrder::default() };
    order.check().map_err(|e| ApiError::unprocessable("no_backup", e))
}

/// What is to be restored, and where to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreWish {
    /// Up to this moment instead of to the end of the backup.
    at: Option<DateTime<Utc>>,
    /// Up to this position of the log instead.
    #[schema(example = json!(null))]
    lsn: Option<String>,
    /// Into a new database of this name; one is made up if it is left out. One with tables is refused.
    #[schema(example = "restored")]
    database: Option<String>,
    /// Only this table: `schema.name`.
    #[schema(example = json!(null))]
    table: Option<String>,
    /// Only this agency's rows.
    agency: Option<Uuid>,
    /// From the second archive.
    #[serde(default)]
    #[schema(example = false)]
    second: bool,
}

impl RestoreWish {
    fn order(self, backup: Option<String>) -> RestoreOrder {
        let Self { at, lsn, database, table, agency, second } = self;
        // A moment or a position is said instead of the backup's own end.
        let backup = backup.filter(|_| at.is_none() && lsn.is_none());
        RestoreOrder { backup, at, lsn, database, table, agency, second }
    }
}

/// Ask for a restore
///
/// Nothing is restored yet: the answer says how the request is confirmed, by another administrator or by
/// the same one with the token and the phrase typed by hand, within ten minutes. Restores go into a new
/// database; the restored system stays paused until it is released.
#[utoipa::path(post, path = "/api/v1/backup/restore/{id}", tag = "backups",
    operation_id = "backup_restore",
    params(("id" = String, Path, description = "The backup's name, or `newest`")),
    request_body = RestoreWish,
    responses(
        (status = 202, description = "It waits for its confirmation.", body = Envelope<AskedView>),
        (status = 409, description = "No archive is configured.", body = ErrorEnvelope),
        (status = 422, description = "It makes no sense.", body = ErrorEnvelope)))]
async fn restore(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    ApiPath(id): ApiPath<String>,
    ApiJson(wish): ApiJson<RestoreWish>,
) -> Answer<AskedView> {
    able(&api).await?;
    let order = wish.order((id != "newest").then_some(id));
    let mut tx = api.db.begin(Scope::Platform).await?;
    let asked = backup::restore(&mut tx, &who(&caller), &order).await.map_err(refused)?;
    tx.commit().await?;
    Ok(Reply::ok("confirm it", asked.into()).status(StatusCode::ACCEPTED))
}

/// Ask for disaster recovery
///
/// The whole plan into the standby database (`backup.standby_url`). Confirmed as every restore is.
#[utoipa::path(post, path = "/api/v1/backup/disaster-recovery", tag = "backups",
    operation_id = "backup_disaster_recovery",
    request_body = RestoreWish,
    responses(
        (status = 202, description = "It waits for its confirmation.", body = Envelope<AskedView>),
        (status = 409, description = "No archive or no standby is configured.", body = ErrorEnvelope)))]
async fn disaster_recovery(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    ApiJson(wish): ApiJson<RestoreWish>,
) -> Answer<AskedView> {
    able(&api).await?;
    if api.backups.as_ref().is_none_or(|b| b.standby.is_none()) {
        let message = "no standby is configured: set backup.standby_url";
        return Err(ApiError::conflict("no_standby", message));
    }
    let mut tx = api.db.begin(Scope::Platform).await?;
    let order = wish.order(None);
    let asked = backup::disaster_recovery(&mut tx, &who(&caller), &order).await.map_err(refused)?;
    tx.commit().await?;
    Ok(Reply::ok("confirm it", asked.into()).status(StatusCode::ACCEPTED))
}

/// What the one who asked has to say a second time; another administrator sends `{}`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmWish {
    /// The token of the first answer.
    token: Option<String>,
    /// The phrase of the first answer, typed by hand.
    phrase: Option<String>,
}

/// Confirm a restore
#[utoipa::path(post, path = "/api/v1/backup/confirm/{request}", tag = "backups",
    operation_id = "backup_confirm",
    params(("request" = Uuid, Path, description = "The request")),
    request_body = ConfirmWish,
    responses(
        (status = 202, description = "It is in the queue.", body = Envelope<JobView>),
        (status = 404, description = "There is no such request.", body = ErrorEnvelope),
        (status = 409, description = "It has expired, was confirmed before, or the one who asked \
            confirms without token and phrase.", body = ErrorEnvelope)))]
async fn confirm(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    ApiPath(request): ApiPath<Uuid>,
    ApiJson(wish): ApiJson<ConfirmWish>,
) -> Answer<JobView> {
    able(&api).await?;
    let who = who(&caller);
    let (token, typed) = (wish.token.as_deref(), wish.phrase.as_deref());
    let mut tx = api.db.begin(Scope::Platform).await?;
    let job = backup::confirm(&mut tx, request, Asking { who: &who, token, typed }).await;
    let job = job.map_err(refused)?;
    tx.commit().await?;
    Ok(Reply::ok("it is in the queue", JobView { job: job.0 }).status(StatusCode::ACCEPTED))
}

pub(crate) fn refused(fault: AskFault) -> ApiError {
    match fault {
        AskFault::Store(fault) => fault.into(),
        AskFault::Order(why) => ApiError::unprocessable("no_restore", why),
        AskFault::Expired => ApiError::conflict("expired", fault.to_string()),
        AskFault::Confirmed => ApiError::conflict("confirmed", fault.to_string()),
        AskFault::NotTwice => ApiError::conflict("not_confirmed", fault.to_string()),
    }
}

/// The word that has to be typed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseWish {
    /// `release`, typed by hand.
    #[schema(example = "release")]
    phrase: String,
}

/// Release a restored system
///
/// Its queues go on and its schedules fire again: from then on messages, webhooks and payouts leave it.
#[utoipa::path(post, path = "/api/v1/backup/release", tag = "backups",
    operation_id = "backup_release", request_body = ReleaseWish,
    responses(
        (status = 200, description = "It is released.", body = Envelope<StatusView>),
        (status = 404, description = "Nothing waits for a release.", body = ErrorEnvelope),
        (status = 422, description = "The phrase is another one.", body = ErrorEnvelope)))]
async fn release(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    ApiJson(wish): ApiJson<ReleaseWish>,
) -> Answer<StatusView> {
    if wish.phrase.trim() != "release" {
        let message = "type `release`: from then on messages leave this system";
        return Err(ApiError::unprocessable("not_confirmed", message));
    }
    backup::release(&api.db, &who(&caller)).await?;
    stands(&api).await
}

async fn stands(api: &Api) -> Answer<StatusView> {
    let status = backup::status(&api.db, api.backups.as_deref(), api.clock.now()).await?;
    Ok(Reply::ok("backups", status.into()))
}

/// See how backups stand
///
/// What is promised, what was measured, the last proven restore, what runs next, what is wrong.
#[utoipa::path(get, path = "/api/v1/backup/status", tag = "backups", operation_id = "backup_status",
    responses((status = 200, description = "How backups stand.", body = Envelope<StatusView>)))]
async fn status(State(api): State<Api>, _: Caller<BackupsRead>) -> Answer<StatusView> {
    stands(&api).await
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Of this kind: `full`, `incremental`, `differential`, `verify`, `drill`, `prune`, `copy`, `restore`.
    #[param(value_type = Option<String>)]
    kind: Option<RunKind>,
    /// Older than this run.
    before: Option<Uuid>,
}

/// List runs
///
/// Backups, drills and restores, the newest first, 100 at a time, with what they came to.
#[utoipa::path(get, path = "/api/v1/backup/list", tag = "backups", operation_id = "backup_list",
    params(ListQuery),
    responses((status = 200, description = "Up to 100 runs.", body = Envelope<Vec<BackupRunView>>)))]
async fn list(
    State(api): State<Api>,
    _: Caller<BackupsRead>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> Answer<Vec<BackupRunView>> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = runs::list(&mut tx, query.kind, query.before, PAGE).await?;
    Ok(Reply::ok("runs", found.into_iter().map(BackupRunView::from).collect()))
}

/// See a backup
///
/// The runs that made it or looked at it, the newest first.
#[utoipa::path(get, path = "/api/v1/backup/{id}", tag = "backups", operation_id = "backup",
    params(("id" = String, Path, description = "The backup's name, or a run's id")),
    responses(
        (status = 200, description = "Its runs.", body = Envelope<Vec<BackupRunView>>),
        (status = 404, description = "There is no such backup.", body = ErrorEnvelope)))]
async fn show(
    State(api): State<Api>,
    _: Caller<BackupsRead>,
    ApiPath(id): ApiPath<String>,
) -> Answer<Vec<BackupRunView>> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = match id.parse::<Uuid>() {
        Ok(run) => vec![runs::get(&mut tx, run).await?],
        Err(_) => runs::of_backup(&mut tx, &id).await?,
    };
    if found.is_empty() {
        return Err(ApiError::not_found("there is no such backup"));
    }
    Ok(Reply::ok("runs", found.into_iter().map(BackupRunView::from).collect()))
}
