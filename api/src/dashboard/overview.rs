//! The first screen, and the parts of it that move.

use super::assets::Asset;
use super::data::{Data, Queue, Worker};
use super::error::Screen;
use super::format::{When, grouped, span};
use super::lines::LineView;
use super::live::Hub;
use super::shell::{Shell, page};
use crate::Api;
use crate::auth::{Caller, QueuesRead};
use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;
use switchyard_domain::portal::{ApiKeyPlace, PortalSettings};
use switchyard_queue::JobState;
use switchyard_store::Scope;
use switchyard_store::overview::{self, Attention, Bucket, PortalRow};

/// Slots of the chart, and the seconds of each: 15 minutes.
pub(super) const SLOTS: i64 = 60;
pub(super) const SLOT_SECONDS: i64 = 15;

/// States that have a column of their own.
pub(super) const QUEUE_COLUMNS: [(JobState, &str); 6] = [
    (JobState::Available, "Waiting"),
    (JobState::Running, "Running"),
    (JobState::Retryable, "Retrying"),
    (JobState::Scheduled, "Scheduled"),
    (JobState::Discarded, "Dead"),
    (JobState::Completed, "Done"),
];

/// The numbers at the top.
pub(super) struct Tiles {
    counts: Vec<(JobState, i64)>,
    attention: Attention,
    quarantined: i64,
    stuck: i64,
    pub oldest: Option<When>,
    pub workers: usize,
    pub chart: Chart,
}

/// A link to something that should not be.
pub(super) struct Care {
    pub href: &'static str,
    pub text: String,
    pub class: &'static str,
}

impl Tiles {
    pub(super) fn new(data: &Data, now: DateTime<Utc>) -> Self {
        let sum = |state| data.queues.iter().map(|q| q.count(state)).sum::<i64>();
        let oldest = data.queues.iter().filter_map(|q| q.oldest).min();
        Self {
            counts: JobState::ALL.into_iter().map(|s| (s, sum(s))).collect(),
            attention: data.attention,
            quarantined: sum(JobState::Quarantined),
            stuck: data.stuck,
            oldest: oldest.map(|at| When::new(at, now)),
            workers: data.workers.len(),
            chart: Chart::new(&data.buckets, now),
        }
    }

    fn raw(&self, state: JobState) -> i64 {
        self.counts.iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n)
    }

    pub(super) fn count(&self, state: JobState) -> String {
        grouped(self.raw(state))
    }

    pub(super) fn dead(&self) -> bool {
        self.raw(JobState::Discarded) > 0
    }

    pub(super) fn care(&self) -> Vec<Care> {
        let some = |n: i64, href, one: &str, many: &str, class| {
            let number = if n >= 1000 { "over 1000".to_owned() } else { n.to_string() };
            let text = format!("{number} {}", if n == 1 { one } else { many });
            (n > 0).then_some(Care { href, text, class })
        };
        [
            some(
                self.quarantined,
                "/ops/jobs?state=quarantined",
                "quarantined job",
                "quarantined jobs",
                "bad",
            ),
            some(self.stuck, "/ops/jobs?stuck=true", "stuck job", "stuck jobs", "bad"),
            some(
                self.attention.rejected,
                "/ops/deliveries?state=rejected",
                "rejected delivery",
                "rejected deliveries",
                "bad",
            ),
            some(
                self.attention.messages,
                "/ops/messages?show=trouble",
                "message in trouble",
                "messages in trouble",
                "bad",
            ),
            some(self.attention.silent, "/ops/portals", "silent portal", "silent portals", "bad"),
            some(
                self.attention.not_fetched,
                "/ops/leads?state=pending",
                "lead not fetched",
                "leads not fetched",
                "bad",
            ),
            some(
                self.attention.unassigned,
                "/ops/leads?state=unassigned",
                "lead nobody covers",
                "leads nobody covers",
                "",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Finished jobs as bars.
pub(super) struct Chart {
    pub bars: Vec<Bar>,
    pub last_minute: String,
    pub label: String,
}

/// One bar, in the units of the drawing (300 by 52).
pub(super) struct Bar {
    pub x: i64,
    pub y: String,
    pub height: String,
    pub empty: bool,
    pub title: String,
}

impl Chart {
    fn new(buckets: &[Bucket], now: DateTime<Utc>) -> Self {
        let last = now.timestamp().div_euclid(SLOT_SECONDS);
        let n_at = |slot: i64| {
            let at = slot * SLOT_SECONDS;
            buckets.iter().find(|b| b.at.timestamp() == at).map_or(0, |b| b.n)
        };
        let slots: Vec<i64> = (last - SLOTS + 1..=last).map(n_at).collect();
        let top = slots.iter().copied().max().unwrap_or(0).max(1);
        // Counts of one slot are far below 2^52.
        #[allow(clippy::cast_precision_loss)]
        let bar = |(i, n): (usize, &i64)| {
            let height = if *n == 0 { 1.5 } else { 3.0 + 47.0 * (*n as f64) / (top as f64) };
            let i = i64::try_from(i).unwrap_or(0);
            let ago = u64::try_from((SLOTS - 1 - i) * SLOT_SECONDS).unwrap_or(0);
            let when = if ago == 0 {
                "now".to_owned()
            } else {
                format!("{} ago", span(Duration::from_secs(ago)))
            };
            Bar {
                x: i * 5,
                y: format!("{:.1}", 51.0 - height),
                height: format!("{height:.1}"),
                empty: *n == 0,
                title: format!("{when}: {n}"),
            }
        };
        let total: i64 = slots.iter().sum();
        Self {
            bars: slots.iter().enumerate().map(bar).collect(),
            last_minute: grouped(slots.iter().rev().take(4).sum()),
            label: format!(
                "{total} jobs finished in the last 15 minutes, at most {top} in 15 seconds"
            ),
        }
    }
}

/// A queue's row.
pub(super) struct QueueView {
    pub name: String,
    pub paused: bool,
    pub weight: u16,
    /// Partitions that are paused by themselves.
    pub held: Vec<String>,
    pub oldest: Option<When>,
    counts: Vec<i64>,
}

impl QueueView {
    pub(super) fn all(data: &Data, now: DateTime<Utc>) -> Vec<Self> {
        data.queues.iter().map(|q| Self::new(q, now)).collect()
    }

    pub(super) fn new(q: &Queue, now: DateTime<Utc>) -> Self {
        Self {
            name: q.name.clone(),
            paused: q.paused,
            weight: q.weight,
            held: q.held.clone(),
            oldest: q.oldest.map(|at| When::new(at, now)),
            counts: QUEUE_COLUMNS.iter().map(|(s, _)| q.count(*s)).collect(),
        }
    }

    /// (state, number, whether it is none), in the order of the columns.
    pub(super) fn cells(&self) -> impl Iterator<Item = (JobState, String, bool)> {
        QUEUE_COLUMNS.iter().zip(&self.counts).map(|((s, _), n)| (*s, grouped(*n), *n == 0))
    }
}

/// A worker's row in the small table.
pub(super) struct WorkerView {
    pub name: String,
    pub running: usize,
    pub started: When,
}

impl WorkerView {
    pub(super) fn all(data: &Data, now: DateTime<Utc>) -> Vec<Self> {
        let view = |w: &Worker| Self {
            name: w.name.clone(),
            running: w.running,
            started: When::new(w.started_at, now),
        };
        data.workers.iter().map(view).collect()
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    tiles: Tiles,
    lines: Vec<LineView>,
    queues: Vec<QueueView>,
    workers: Vec<WorkerView>,
    curl: String,
}

/// `GET /ops`
pub(super) async fn show(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<QueuesRead>,
    shell: Shell,
    headers: HeaderMap,
) -> Screen {
    let data = hub.data().await?;
    let now = shell.now;
    page(&Overview {
        tiles: Tiles::new(&data, now),
        lines: LineView::all(&data.lines, now),
        queues: QueueView::all(&data, now),
        workers: WorkerView::all(&data, now),
        curl: if data.lines.is_empty() { curl(&headers, &api).await? } else { String::new() },
        shell: shell.at("/ops").live("/ops/live?on=overview"),
    })
}

/// A line that sends a lead to the first portal that takes a key, with this server's own address.
pub(super) async fn curl(headers: &HeaderMap, api: &Api) -> Screen<String> {
    const LEAD: &str = r#"'{"id":"42","first_name":"Anna","last_name":"Nowak","email":"anna@example.com","postal_code":"00-950","country":"PL"}'"#;
    let mut tx = api.db.begin(Scope::Platform).await?;
    let portals = overview::portals(&mut tx).await?;
    tx.rollback().await?;
    let portal = portals.iter().find(|p| p.active && p.has_key && !p.has_secret);
    Ok(match portal.or(portals.first()) {
        Some(portal) => curl_to(headers, portal, LEAD),
        None => "switchyard seed".to_owned(),
    })
}

/// The same for one portal; `body` is what stands after `-d`.
pub(super) fn curl_to(headers: &HeaderMap, portal: &PortalRow, body: &str) -> String {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let host = text("host").unwrap_or("localhost");
    let scheme = text("x-forwarded-proto").filter(|v| *v == "https").unwrap_or("http");
    let place = PortalSettings::parse(&portal.settings).map(|s| s.api_key).unwrap_or_default();
    let mut url = format!("{scheme}://{host}/api/webhooks/{}", portal.code);
    let mut header = String::new();
    match place {
        ApiKeyPlace::Header { name, prefix } => header = format!(" -H '{name}: {prefix}YOUR_KEY'"),
        ApiKeyPlace::Path => url.push_str("/YOUR_KEY"),
        ApiKeyPlace::Query { name } => url.push_str(&format!("?{name}=YOUR_KEY")),
        ApiKeyPlace::Basic { user } => header = format!(" -u '{user}:YOUR_PASSWORD'"),
        ApiKeyPlace::Body { .. } | ApiKeyPlace::None => {}
    }
    format!("curl '{url}' \\\n {header} -H 'Content-Type: application/json' \\\n  -d {body}")
}

/// Parts as events carry them; the page includes the same templates.
macro_rules! parts {
    ($($name:ident($path:literal, $field:ident: $type:ty);)+) => {$(
        #[derive(Template)]
        #[template(path = $path)]
        pub(super) struct $name {
            pub $field: $type,
        }
    )+};
}
parts! {
    TilesPart("parts/tiles.html", tiles: Tiles);
    QueuesPart("parts/queues.html", queues: Vec<QueueView>);
    WorkersPart("parts/workers.html", workers: Vec<WorkerView>);
}

/// The track; without deliveries it says how to send one.
#[derive(Template)]
#[template(path = "parts/lines.html")]
pub(super) struct LinesPart {
    pub lines: Vec<LineView>,
    pub curl: String,
}
