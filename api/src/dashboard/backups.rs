//! Backups: the chain as a picture, what is promised beside what was measured, the last proven restore,
//! and the acts: take one now, restore one (asked for, then confirmed), release a restored system.

use super::assets::Asset;
use super::backups_chart::Chart;
use super::deliveries::cause;
use super::error::{OpsError, Screen};
use super::format::{When, between, exact, grouped, span};
use super::session::back;
use super::shell::{Fact, Notice, Shell, page};
use crate::auth::{BackupsManage, BackupsRead, Caller};
use crate::{Api, RequestContext};
use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use std::time::Duration;
use switchyard_catalog::backup::{self, AskFault, Asking, Confirmation, RestoreOrder, Status};
use switchyard_store::backups::alarms::Alarm;
use switchyard_store::backups::requests::{self, RestoreRequest};
use switchyard_store::backups::restored::Restored;
use switchyard_store::backups::runs::{self, Run, RunKind, RunState};
use switchyard_store::backups::{audit, restored};
use switchyard_store::{Scope, StoreFault};
use uuid::Uuid;

const SCREEN: &str = "/ops/backups";
/// The picture shows this stretch of time.
const SHOWN: TimeDelta = TimeDelta::hours(48);
/// Runs in the picture: two days of increments every two minutes.
const MOST_SHOWN: u16 = 2_000;
/// Runs in the table.
const ROWS: usize = 40;
const REQUESTS: u16 = 5;

/// A run's row.
struct RunView {
    kind: RunKind,
    /// The class of its mark; the same words as everywhere else.
    class: &'static str,
    state: RunState,
    began: When,
    took: String,
    stored: String,
    rows: String,
    backup: Option<String>,
    job: Option<Uuid>,
    asked_by: String,
    error: Option<String>,
}

impl RunView {
    fn new(r: &Run, now: DateTime<Utc>) -> Self {
        let dash = || "–".to_owned();
        Self {
            kind: r.kind,
            class: match r.state {
                RunState::Running => "running",
                RunState::Succeeded => "completed",
                RunState::Failed => "failed",
            },
            state: r.state,
            began: When::new(r.began_at, now),
            took: r.finished_at.and_then(|end| between(r.began_at, end)).unwrap_or_else(dash),
            stored: r.stored_bytes.map_or_else(dash, size),
            rows: r.rows.map_or_else(dash, grouped),
            backup: r.backup.clone(),
            job: r.job,
            asked_by: r.asked_by.clone(),
            error: r.error.clone(),
        }
    }

    /// Something can be restored from it.
    fn restores(&self) -> bool {
        use RunKind as K;
        let holds = matches!(self.kind, K::Full | K::Incremental | K::Differential);
        holds && self.state == RunState::Succeeded && self.backup.is_some()
    }
}

/// Bytes, in the unit that suits.
fn size(bytes: i64) -> String {
    // Two digits are enough for people.
    #[allow(clippy::cast_precision_loss)]
    let n = bytes as f64;
    match bytes {
        i64::MIN..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", n / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n / 1_048_576.0),
        _ => format!("{:.2} GiB", n / 1_073_741_824.0),
    }
}

/// A number of the top row.
struct Tile {
    label: &'static str,
    big: String,
    under: String,
    alarm: bool,
}

fn seconds(n: f64) -> String {
    Duration::try_from_secs_f64(n).map_or_else(|_| "–".to_owned(), span)
}

fn tiles(s: &Status) -> Vec<Tile> {
    let f = &s.figures;
    let whole = |n: u64| span(Duration::from_secs(n));
    let promised =
        |n: Option<u64>| n.map_or_else(String::new, |n| format!("{} promised", whole(n)));
    let over = |measured: Option<f64>, promised: Option<u64>| {
        measured
            .zip(promised)
            .is_some_and(|(m, p)| Duration::try_from_secs_f64(m).is_ok_and(|m| m.as_secs() > p))
    };
    let dash = || "–".to_owned();
    let exposed = s.exposed_seconds;
    let proof = s.proof.as_ref();
    // Whole percents hide a single failure, so the count stands below.
    let share = match f.ended {
        0 => dash(),
        all => format!("{} %", f.succeeded * 100 / all),
    };
    vec![
        Tile {
            label: "Could be lost now",
            big: exposed.map_or_else(dash, whole),
            under: promised(s.rpo_seconds),
            alarm: exposed.zip(s.rpo_seconds).is_some_and(|(e, p)| e > p),
        },
        Tile {
            label: "RPO, 99 of 100",
            big: f.rpo_p99.map_or_else(dash, seconds),
            under: promised(s.rpo_seconds),
            alarm: over(f.rpo_p99, s.rpo_seconds),
        },
        Tile {
            label: "RTO, last drill",
            big: f.rto.map_or_else(dash, seconds),
            under: promised(s.rto_seconds),
            alarm: over(f.rto, s.rto_seconds),
        },
        Tile {
            label: "Last proven restore",
            big: proof.map_or_else(|| "none yet".to_owned(), |p| whole(p.age_seconds)),
            under: proof.map_or_else(String::new, |_| "ago; a day at most".to_owned()),
            alarm: proof.is_some_and(|p| p.age_seconds > 24 * 3600),
        },
        Tile {
            label: "Runs that succeeded",
            big: share,
            under: format!("{} of {} in 30 days", f.succeeded, f.ended),
            alarm: f.succeeded < f.ended,
        },
    ]
}

#[derive(Template)]
#[template(path = "backups.html")]
struct Backups {
    shell: Shell,
    configured: bool,
    restored: Option<Restored>,
    tiles: Vec<Tile>,
    chart: Chart,
    alarms: Vec<Alarm>,
    rows: Vec<RunView>,
    requests: Vec<RequestView>,
    facts: Vec<Fact>,
    next: Vec<(RunKind, When)>,
}

/// A request for a restore.
struct RequestView {
    id: Uuid,
    what: &'static str,
    of: String,
    asked: When,
    /// It waits for a confirmation.
    open: bool,
    /// The one who looks asked for it.
    own: bool,
    outcome: &'static str,
    job: Option<Uuid>,
}

impl RequestView {
    fn new(r: RestoreRequest, who: &str, now: DateTime<Utc>) -> Self {
        let open = r.confirmed_at.is_none() && !r.expired;
        Self {
            id: r.id,
            what: match r.what {
                requests::Asked::Restore => "restore",
                requests::Asked::DisasterRecovery => "disaster recovery",
            },
            of: r.plan.get("backup").and_then(|b| b.as_str()).unwrap_or("the newest").to_owned(),
            own: r.asked_by == who,
            asked: When::new(r.asked_at, now),
            open,
            outcome: match (open, r.confirmed_at) {
                (true, _) => "waits for its confirmation",
                (_, Some(_)) => "confirmed",
                _ => "expired",
            },
            job: r.job,
        }
    }
}

fn who<P>(caller: &Caller<P>) -> String {
    format!("admin:{}", caller.claims.sub)
}

/// `GET /ops/backups`
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller<BackupsRead>,
    shell: Shell,
) -> Screen {
    let now = shell.now;
    let mut stands = backup::status(&api.db, api.backups.as_deref(), now).await?;
    stands.next.sort_by_key(|n| n.at);
    let mut tx = api.db.begin(Scope::Platform).await?;
    let drawn = runs::since(&mut tx, now - SHOWN, MOST_SHOWN).await?;
    let asked = requests::list(&mut tx, REQUESTS).await?;
    tx.rollback().await?;
    let who = who(&caller);
    page(&Backups {
        configured: api.backups.is_some(),
        tiles: tiles(&stands),
        chart: Chart::new(&drawn, now - SHOWN, now),
        rows: stands.recent.iter().take(ROWS).map(|r| RunView::new(r, now)).collect(),
        requests: asked.into_iter().map(|r| RequestView::new(r, &who, now)).collect(),
        facts: facts(&stands),
        next: stands.next.iter().map(|n| (n.kind, When::new(n.at, now))).collect(),
        restored: stands.restored.filter(|r| r.released_at.is_none()),
        alarms: stands.alarms,
        shell: shell.at(SCREEN),
    })
}

fn facts(s: &Status) -> Vec<Fact> {
    let compared = s.proof.as_ref().and_then(|p| p.compared.as_ref());
    let some = [
        Fact::maybe("Archive", s.archive.clone()),
        Fact::maybe("Second archive", s.second.clone()),
        Fact::maybe("Increment, 99 of 100", s.figures.increment_p99.map(seconds)),
        Fact::maybe("Slowest restore", s.figures.rto_worst.map(seconds)),
        Fact::maybe("Proven", s.proof.as_ref().map(|p| exact(p.at))),
        Fact::maybe("Proven backup", s.proof.as_ref().and_then(|p| p.backup.clone())),
        Fact::maybe("Last comparison", compared.map(|c| format!("{} ({})", exact(c.at), c.full))),
        Fact::maybe("Longest gap", s.figures.rpo_worst.map(seconds)),
    ];
    some.into_iter().flatten().collect()
}

/// Refuses where nothing can be taken or restored.
async fn able(api: &Api) -> Result<Option<Notice>, OpsError> {
    if api.backups.is_none() {
        return Ok(Some(Notice::failed("No archive is configured: set backup.archive.")));
    }
    let held = restored::awaits_release(&api.db).await?;
    Ok(held.then(|| Notice::failed("Not done: this system is not released.")))
}

/// `POST /ops/backups/now/{kind}`
pub(super) async fn now(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    context: RequestContext,
    headers: HeaderMap,
    Path(kind): Path<String>,
) -> Screen {
    if let Some(refusal) = able(&api).await? {
        return Ok(back(SCREEN, &refusal, &headers));
    }
    let who = who(&caller);
    let kind = kind.parse::<RunKind>().ok().filter(|k| *k != RunKind::Restore);
    let job = kind.and_then(|kind| backup::by_hand(kind, &who).ok());
    let Some(job) = job else { return Err(OpsError::not_found("There is no such run.")) };
    let cause = cause(&context);
    let job = job.caused_by(cause.trace, cause.request_id.as_deref());
    let mut tx = api.db.begin(Scope::Platform).await?;
    let placed = tx.enqueue(job).await?;
    let details = serde_json::json!({ "kind": kind, "job": placed.id.0 });
    audit(&mut tx, &who, "backup.create", None, &details).await?;
    tx.commit().await?;
    let text = match placed.inserted() {
        true => "It is in the queue and begins at once.",
        false => "One stands in the queue already.",
    };
    Ok(back(SCREEN, &Notice::done(text), &headers))
}

#[derive(Template)]
#[template(path = "backup_confirm.html")]
struct Confirm {
    shell: Shell,
    of: String,
    asked: Confirmation,
}

/// `POST /ops/backups/restore/{id}`: asks; the answer is the page that confirms.
pub(super) async fn restore(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    shell: Shell,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Screen {
    if let Some(refusal) = able(&api).await? {
        return Ok(back(SCREEN, &refusal, &headers));
    }
    let order = RestoreOrder { backup: Some(id.clone()), ..RestoreOrder::default() };
    let mut tx = api.db.begin(Scope::Platform).await?;
    match backup::restore(&mut tx, &who(&caller), &order).await {
        Ok(asked) => {
            tx.commit().await?;
            page(&Confirm { shell: shell.at(SCREEN), of: id, asked })
        }
        Err(AskFault::Store(fault)) => Err(fault.into()),
        Err(refusal) => {
            let notice = Notice::failed(format!("Not done: {refusal}."));
            Ok(back(SCREEN, &notice, &headers))
        }
    }
}

/// The form of a confirmation; another administrator sends it empty.
#[derive(Debug, Deserialize)]
pub(super) struct ConfirmForm {
    #[serde(default)]
    token: String,
    #[serde(default)]
    phrase: String,
}

/// `POST /ops/backups/confirm/{request}`
pub(super) async fn confirm(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    headers: HeaderMap,
    Path(request): Path<Uuid>,
    Form(form): Form<ConfirmForm>,
) -> Screen {
    let who = who(&caller);
    let asking = Asking { who: &who, token: Some(&form.token), typed: Some(&form.phrase) };
    let mut tx = api.db.begin(Scope::Platform).await?;
    let notice = match backup::confirm(&mut tx, request, asking).await {
        Ok(_) => {
            tx.commit().await?;
            Notice::done("Confirmed; the restore is in the queue.")
        }
        Err(AskFault::Store(StoreFault::NotFound)) => {
            return Err(OpsError::not_found("There is no such request."));
        }
        Err(AskFault::Store(fault)) => return Err(fault.into()),
        Err(refusal) => Notice::failed(format!("Not done: {refusal}.")),
    };
    Ok(back(SCREEN, &notice, &headers))
}

/// The form of a release.
#[derive(Debug, Deserialize)]
pub(super) struct ReleaseForm {
    #[serde(default)]
    phrase: String,
}

/// `POST /ops/backups/release`
pub(super) async fn release(
    State(api): State<Api>,
    caller: Caller<BackupsManage>,
    headers: HeaderMap,
    Form(form): Form<ReleaseForm>,
) -> Screen {
    if form.phrase.trim() != "release" {
        let notice = Notice::failed("Not done: type the word `release`.");
        return Ok(back(SCREEN, &notice, &headers));
    }
    let notice = match backup::release(&api.db, &who(&caller)).await {
        Ok(_) => Notice::done("Released: queues go on and schedules fire again."),
        Err(StoreFault::NotFound) => Notice::failed("Nothing waits for a release."),
        Err(fault) => return Err(fault.into()),
    };
    Ok(back(SCREEN, &notice, &headers))
}
