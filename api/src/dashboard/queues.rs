//! Queues with their weights, and the limits of what may run at once and how fast.

use super::assets::Asset;
use super::data::Queue;
use super::error::{OpsError, Screen};
use super::format::When;
use super::jobs::missing;
use super::overview::{QUEUE_COLUMNS, QueueView};
use super::pauses::PausedView;
use super::session::{back, urlencode};
use super::shell::{Notice, Shell, page};
use crate::Api;
use crate::auth::{Caller, QueuesManage, QueuesRead};
use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use switchyard_store::jobs::{self, MOST_WEIGHT};
use switchyard_store::limits::{self, LimitRefusal, LimitRow, LimitScope, StartRate};

const SCREEN: &str = "/ops/queues";
/// Limits on one screen.
const MOST_SHOWN: u32 = 200;

/// What a limit can be for, as the form says it.
const SCOPES: [(&str, &str); 4] = [
    ("queue", "a whole queue"),
    ("partition", "one partition"),
    ("each_partition", "each partition"),
    ("key", "a limit key"),
];

/// The form of a limit, as it is sent and as it is filled in beforehand.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct LimitForm {
    scope: String,
    queue: String,
    partition: String,
    key: String,
    max_running: String,
    rate: String,
    burst: String,
}

impl LimitForm {
    fn of(scope: &LimitScope) -> Self {
        let none = Self::default();
        match scope.clone() {
            LimitScope::Queue { queue } => Self { scope: "queue".into(), queue, ..none },
            LimitScope::Partition { queue, partition } => {
                Self { scope: "partition".into(), queue, partition, ..none }
            }
            LimitScope::EachPartition { queue } => {
                Self { scope: "each_partition".into(), queue, ..none }
            }
            LimitScope::Key { key } => Self { scope: "key".into(), key, ..none },
        }
    }

    /// Only what the chosen scope needs is looked at; the other fields may hold anything.
    fn scope(&self) -> Result<LimitScope, LimitRefusal> {
        let queue = || Some(self.queue.trim().to_owned());
        match self.scope.as_str() {
            "queue" => LimitScope::named(queue(), None, false, None),
            "partition" => LimitScope::named(queue(), Some(self.partition.clone()), false, None),
            "each_partition" => LimitScope::named(queue(), None, true, None),
            "key" => LimitScope::named(None, None, false, Some(self.key.trim().to_owned())),
            _ => LimitScope::named(None, None, false, None),
        }
    }

    /// What it sets, or a sentence that says what is wrong.
    fn read(&self) -> Result<(LimitScope, Option<u32>, Option<StartRate>), String> {
        let number = |text: &str, what: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("{what} is a number")),
        };
        let scope = self.scope().map_err(|e| e.to_string())?;
        let max_running = number(&self.max_running, "how many may run at once")?;
        let burst = number(&self.burst, "the burst")?;
        let rate = match self.rate.trim() {
            "" => None,
            text => Some(text.parse::<StartRate>().map_err(|e| e.to_string())?.bursting(burst)),
        };
        Ok((scope, max_running, rate))
    }

    /// The screen with this form filled in.
    fn href(&self) -> String {
        let fields = [
            ("scope", &self.scope),
            ("queue", &self.queue),
            ("partition", &self.partition),
            ("key", &self.key),
            ("max_running", &self.max_running),
            ("rate", &self.rate),
            ("burst", &self.burst),
        ];
        let filled = fields.iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> =
            filled.map(|(name, value)| format!("{name}={}", urlencode(value))).collect();
        format!("{SCREEN}?{}", pairs.join("&"))
    }
}

/// A limit's row.
struct LimitView {
    name: String,
    about: String,
    running: u64,
    max: Option<u32>,
    /// The numbers are of each partition, what runs is of all.
    each: bool,
    full: bool,
    rate: Option<StartRate>,
    next: Option<When>,
    /// It came from the limit for each partition.
    from_pattern: bool,
    form: LimitForm,
}

impl LimitView {
    fn new(limit: LimitRow, now: DateTime<Utc>) -> Self {
        let form = LimitForm {
            max_running: limit.max_running.map(|n| n.to_string()).unwrap_or_default(),
            rate: limit.rate.map(|r| r.to_string()).unwrap_or_default(),
            burst: limit.rate.map(|r| r.burst.to_string()).unwrap_or_default(),
            ..LimitForm::of(&limit.scope)
        };
        let (name, about) = match &limit.scope {
            LimitScope::Queue { queue } => (queue, "the whole queue".to_owned()),
            LimitScope::Partition { queue, partition } if partition.is_empty() => {
                (queue, "jobs without a partition".to_owned())
            }
            LimitScope::Partition { queue, partition } => (queue, format!("partition {partition}")),
            LimitScope::EachPartition { queue } => (queue, "each partition by itself".to_owned()),
            LimitScope::Key { key } => (key, "limit key, in every queue".to_owned()),
        };
        let each = matches!(limit.scope, LimitScope::EachPartition { .. });
        Self {
            name: name.clone(),
            about,
            running: limit.running,
            max: limit.max_running,
            each,
            full: !each && limit.max_running.is_some_and(|max| limit.running >= u64::from(max)),
            rate: limit.rate,
            next: limit.next_start.map(|at| When::new(at, now)),
            from_pattern: limit.from_pattern,
            form,
        }
    }
}

#[derive(Template)]
#[template(path = "queues.html")]
struct Queues {
    shell: Shell,
    queues: Vec<QueueView>,
    paused: Vec<PausedView>,
    limits: Vec<LimitView>,
    form: LimitForm,
}

/// `GET /ops/queues`; the query fills the form of a limit in.
pub(super) async fn list(
    State(api): State<Api>,
    _: Caller<QueuesRead>,
    shell: Shell,
    Query(form): Query<LimitForm>,
) -> Screen {
    let now = shell.now;
    let queues = jobs::queues(&api.db).await?;
    let limits = limits::list(&api.db, MOST_SHOWN).await?;
    page(&Queues {
        paused: PausedView::all(&api, &queues).await?,
        queues: queues.into_iter().map(|q| QueueView::new(&Queue::new(q, now), now)).collect(),
        limits: limits.into_iter().map(|l| LimitView::new(l, now)).collect(),
        form,
        shell: shell.at(SCREEN),
    })
}

/// The form of a queue's weight.
#[derive(Debug, Deserialize)]
pub(super) struct WeightForm {
    weight: String,
}

/// `POST /ops/queues/{queue}/weight`
pub(super) async fn weigh(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    headers: HeaderMap,
    Path(queue): Path<String>,
    Form(form): Form<WeightForm>,
) -> Screen {
    let weight = form.weight.trim().parse().ok().filter(|n| (1..=MOST_WEIGHT).contains(n));
    let Some(weight) = weight else {
        let text = format!("Not done: a weight is a number from 1 to {MOST_WEIGHT}.");
        return Ok(back(SCREEN, &Notice::failed(text), &headers));
    };
    let none = "There never was a job in this queue.";
    jobs::weigh(&api.db, &queue, weight).await.map_err(|e| missing(e, none))?;
    let notice = Notice::done(format!("The queue {queue} has weight {weight}."));
    Ok(back(SCREEN, &notice, &headers))
}

/// `POST /ops/limits`
pub(super) async fn set_limit(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    headers: HeaderMap,
    Form(form): Form<LimitForm>,
) -> Screen {
    let done = match form.read() {
        Ok((scope, most, rate)) => match limits::set(&api.db, &scope, most, rate).await {
            Ok(()) => Ok(scope),
            Err(LimitRefusal::Store(fault)) => return Err(fault.into()),
            Err(wrong) => Err(wrong.to_string()),
        },
        Err(wrong) => Err(wrong),
    };
    Ok(match done {
        Ok(scope) => {
            let text = format!("The limit of {} is set.", plain(&scope));
            back(SCREEN, &Notice::done(text), &headers)
        }
        Err(wrong) => {
            let notice = Notice::failed(format!("Not done: {}.", wrong.replace('`', "")));
            back(&form.href(), &notice, &headers)
        }
    })
}

/// `POST /ops/limits/remove`
pub(super) async fn remove_limit(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    headers: HeaderMap,
    Form(form): Form<LimitForm>,
) -> Screen {
    let gone = "There is no such limit any more.";
    let scope = form.scope().map_err(|_| OpsError::not_found(gone))?;
    limits::remove(&api.db, &scope).await.map_err(|e| missing(e, gone))?;
    let notice = Notice::done(format!("There is no limit any more of {}.", plain(&scope)));
    Ok(back(SCREEN, &notice, &headers))
}

fn plain(scope: &LimitScope) -> String {
    scope.to_string().replace('`', "")
}
