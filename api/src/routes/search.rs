//! Searching all jobs.

use super::job_views::JobView;
use crate::auth::{Caller, JobsRead};
use crate::envelope::Envelope;
use crate::extract::ApiQuery;
use crate::{Answer, Api, ApiError, Reply};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use switchyard_store::jobs::{self, Cursor, Filter};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(search))
}

/// The filter as the document shows it; [`Filter::set`] reads it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
struct FilterParams {
    /// Jobs in one of these states, with commas between them.
    #[param(example = "completed,cancelled")]
    state: Option<String>,
    /// Jobs of one of these kinds, with commas between them.
    #[param(example = "lead.distribute")]
    kind: Option<String>,
    /// Jobs in this queue.
    queue: Option<String>,
    /// Jobs in this partition of a queue.
    partition: Option<String>,
    /// Jobs of this tenant.
    tenant: Option<Uuid>,
    /// Jobs with this field in their arguments: `lead=0198…`, `address.zip=00-950`, `items[].sku=7`.
    /// May be given several times. What reads as a number, `true`, `false` or `null` means the text as
    /// well; in double quotes it means the text only.
    #[param(example = "address.zip=00-950")]
    arg: Option<Vec<String>>,
    /// Jobs whose last error, or the reason of whose cancellation, contains this text.
    #[param(example = "mailbox unavailable")]
    error: Option<String>,
    /// Jobs that this request caused.
    request_id: Option<String>,
    /// Jobs that this worker holds or finished.
    worker: Option<i64>,
    /// Open jobs whose last failure is of this group.
    fingerprint: Option<String>,
    /// `true`: running jobs that have been silent for longer than their kind allows.
    stuck: Option<bool>,
    /// Jobs made then or later: RFC 3339, or a day, or a minute of UTC.
    #[param(example = "2026-03-01")]
    created_from: Option<String>,
    /// Jobs made before.
    created_to: Option<String>,
    /// Jobs that finished then or later.
    finished_from: Option<String>,
    /// Jobs that finished before.
    #[param(example = "2026-03-01T12:30")]
    finished_to: Option<String>,
    /// `next` of the page before; none for the first page.
    cursor: Option<String>,
    /// Jobs on a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// A page of a search.
#[derive(Debug, Serialize, ToSchema)]
struct SearchPage {
    items: Vec<JobView>,
    /// Send it as `cursor` for the next page; null if there is nothing more. A page may be short, or
    /// empty, and have a next one.
    next: Option<String>,
    /// The page was not full when its time was up: everything since then has been looked at.
    looked_back_to: Option<DateTime<Utc>>,
}

/// What the query of a search says, apart from the filter.
pub(crate) struct Wanted {
    pub(crate) filter: Filter,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) limit: u32,
}

impl Wanted {
    /// Reads names and values.
    ///
    /// # Errors
    /// 400 with the reason.
    pub(crate) fn of(pairs: Vec<(String, String)>) -> Result<Self, ApiError> {
        let wrong = |e: String| ApiError::bad_request("invalid_query", e);
        let mut wanted = Self { filter: Filter::default(), cursor: None, limit: 50 };
        for (name, value) in pairs {
            match name.as_str() {
                "cursor" if value.is_empty() => {}
                "cursor" => wanted.cursor = Some(value.parse().map_err(wrong)?),
                "limit" => {
                    let limit = value.parse().ok().filter(|n| (1..=200).contains(n));
                    let what = || wrong("`limit` is a number from 1 to 200".to_owned());
                    wanted.limit = limit.ok_or_else(what)?;
                }
                _ => wanted.filter.set(&name, &value).map_err(wrong)?,
            }
        }
        Ok(wanted)
    }
}

/// Search all jobs
///
/// Open jobs and the whole history, the newest first; every condition must hold. A page takes a bounded
/// time whatever is asked: past days are asked by their indexes, which comes first if it is rare, and
/// today is looked through from now on back.
#[utoipa::path(get, path = "/api/admin/jobs/search", tag = "jobs", operation_id = "jobs_search",
    params(FilterParams),
    responses((status = 200, description = "A page.", body = Envelope<SearchPage>)))]
async fn search(
    State(api): State<Api>,
    _: Caller<JobsRead>,
    ApiQuery(pairs): ApiQuery<Vec<(String, String)>>,
) -> Answer<SearchPage> {
    let Wanted { filter, cursor, limit } = Wanted::of(pairs)?;
    let found = jobs::search(&api.db, &filter, cursor, limit).await?;
    let items = found.rows.into_iter().map(JobView::from).collect();
    let next = found.next.map(|next| next.to_string());
    Ok(Reply::ok("jobs", SearchPage { items, next, looked_back_to: found.looked_back_to }))
}
