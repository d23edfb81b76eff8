//! Failures in groups, and what an operator can do with the dead letters of a whole group.

use super::assets::Asset;
use super::error::{OpsError, Screen};
use super::format::{When, grouped};
use super::jobs::missing;
use super::session::back;
use super::shell::{Notice, Shell, page};
use crate::Api;
use crate::auth::{Caller, JobsManage, JobsRead};
use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use switchyard_store::jobs::bulk::Action;
use switchyard_store::jobs::errors::{self, ErrorFilter, ErrorGroup};
use uuid::Uuid;

const PAGE: u32 = 100;

/// A group's row.
struct GroupView {
    fingerprint: String,
    kind: String,
    class: String,
    pattern: String,
    failures: String,
    dead: i64,
    first: When,
    last: When,
    example: Uuid,
}

impl GroupView {
    fn new(g: ErrorGroup, now: DateTime<Utc>) -> Self {
        Self {
            fingerprint: g.fingerprint,
            kind: g.kind,
            class: g.class,
            pattern: g.pattern,
            failures: grouped(g.failures),
            dead: g.dead_letters,
            first: When::new(g.first_seen, now),
            last: When::new(g.last_seen, now),
            example: g.example,
        }
    }
}

#[derive(Template)]
#[template(path = "errors.html")]
struct Errors {
    shell: Shell,
    rows: Vec<GroupView>,
}

/// `GET /ops/errors`
pub(super) async fn list(State(api): State<Api>, _: Caller<JobsRead>, shell: Shell) -> Screen {
    let filter = ErrorFilter { limit: PAGE, ..ErrorFilter::default() };
    let groups = errors::list(&api.db, &filter).await?;
    let rows = groups.into_iter().map(|g| GroupView::new(g, shell.now)).collect();
    page(&Errors { rows, shell: shell.at("/ops/errors") })
}

/// `POST /ops/errors/{fingerprint}/{verb}`: `retry` or `cancel`, all dead letters of the group, as an
/// operation in the background; leads to its page.
pub(super) async fn act(
    State(api): State<Api>,
    caller: Caller<JobsManage>,
    headers: HeaderMap,
    Path((fingerprint, verb)): Path<(String, String)>,
) -> Screen {
    let action = match verb.as_str() {
        "retry" => Action::Retry,
        "cancel" => Action::Cancel,
        _ => return Err(OpsError::not_found("Dead letters can be retried and cancelled.")),
    };
    let by = caller.claims.sub.to_string();
    let started = errors::start(&api.db, &fingerprint, &action, &by).await;
    let op = started.map_err(|e| missing(e, "There is no such group of failures."))?;
    let notice = Notice::done("It has been started.");
    Ok(back(&format!("/ops/bulk/{}", op.id), &notice, &headers))
}
