//! Pausing, draining and resuming queues and their partitions, and what is paused.

use super::data::Data;
use super::error::{OpsError, Screen};
use super::format::grouped;
use super::job_view::NoticePart;
use super::jobs::missing;
use super::overview::{QueueView, QueuesPart};
use super::session::back;
use super::shell::Notice;
use crate::Api;
use crate::auth::{Caller, QueuesManage};
use askama::Template;
use axum::Form;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse};
use serde::Deserialize;
use switchyard_queue::JobState;
use switchyard_store::Result;
use switchyard_store::jobs::{self, Drained, LaneCount, QueueSummary};

const SCREEN: &str = "/ops/queues";

/// What a button asks for.
#[derive(Clone, Copy)]
pub(super) enum Verb {
    Pause,
    Resume,
    Drain,
}

impl Verb {
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "pause" => Some(Self::Pause),
            "resume" => Some(Self::Resume),
            "drain" => Some(Self::Drain),
            _ => None,
        }
    }

    /// Does it, and says what it came to; `name` is who is spoken of: "The queue leads".
    pub(super) async fn apply(self, api: &Api, what: Drained<'_>, name: &str) -> Result<Notice> {
        let paused = matches!(self, Self::Pause);
        let text = match (self, what) {
            (Self::Drain, _) => match jobs::drain(&api.db, what).await? {
                0 => format!("{name} is paused and none of its jobs runs."),
                1 => format!("{name} is paused; 1 of its jobs still runs."),
                n => format!("{name} is paused; {} of its jobs still run.", grouped(n)),
            },
            (_, Drained::Queue(queue)) => {
                jobs::pause(&api.db, queue, paused).await?;
                steered(name, paused)
            }
            (_, Drained::Partition { queue, partition }) => {
                jobs::pause_partition(&api.db, queue, partition, paused).await?;
                steered(name, paused)
            }
            (_, Drained::Kind(kind)) => {
                jobs::pause_kind(&api.db, kind, paused).await?;
                steered(name, paused)
            }
        };
        Ok(Notice::done(text))
    }
}

fn steered(name: &str, paused: bool) -> String {
    let word =
        if paused { "is paused: what runs goes on, nothing new is started" } else { "goes on" };
    format!("{name} {word}.")
}

/// A queue or a partition that is paused by itself.
pub(super) struct PausedView {
    pub queue: String,
    /// `None`: the whole queue; empty: its jobs without a partition.
    pub partition: Option<String>,
    pub running: i64,
    pub waiting: i64,
}

impl PausedView {
    /// All that is paused, with what still runs and what waits.
    pub(super) async fn all(api: &Api, queues: &[QueueSummary]) -> Result<Vec<Self>> {
        let held = queues.iter().any(|q| !q.held.is_empty());
        let lanes = if held { jobs::counts(&api.db).await? } else { Vec::new() };
        let mut all = Vec::new();
        for q in queues {
            let count = |state| q.counts.get(&state).copied().unwrap_or_default();
            if q.paused {
                all.push(Self::new(q, None, count));
            }
            for partition in &q.held {
                let of = |l: &&LaneCount| l.queue == q.queue && l.partition == *partition;
                let count =
                    |state| lanes.iter().filter(of).filter(|l| l.state == state).map(|l| l.n).sum();
                all.push(Self::new(q, Some(partition.clone()), count));
            }
        }
        Ok(all)
    }

    fn new(q: &QueueSummary, partition: Option<String>, count: impl Fn(JobState) -> i64) -> Self {
        let (running, waiting) = (count(JobState::Running), count(JobState::Available));
        Self { queue: q.queue.clone(), partition, running, waiting }
    }

    /// Who it is, for buttons: "partition a of leads".
    pub(super) fn name(&self) -> String {
        match self.partition.as_deref() {
            None => format!("queue {}", self.queue),
            Some("") => format!("jobs of {} without a partition", self.queue),
            Some(partition) => format!("partition {partition} of {}", self.queue),
        }
    }
}

/// `POST /ops/queues/{queue}/{verb}`: `pause`, `resume` or `drain`; from the screen of the queues,
/// which `?page=queues` says, back to it.
pub(super) async fn queue(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    headers: HeaderMap,
    Path((queue, verb)): Path<(String, String)>,
    RawQuery(from): RawQuery,
) -> Screen {
    let verb = Verb::of(&verb)
        .ok_or_else(|| OpsError::not_found("Queues can be paused, resumed and drained."))?;
    let done = verb.apply(&api, Drained::Queue(&queue), &format!("The queue {queue}")).await;
    let notice = done.map_err(|e| missing(e, "There never was a job in this queue."))?;
    if headers.contains_key("hx-request") {
        return queues_part(&api, &notice).await;
    }
    let screen = if from.as_deref() == Some("page=queues") { SCREEN } else { "/ops" };
    Ok(back(screen, &notice, &headers))
}

async fn queues_part(api: &Api, notice: &Notice) -> Screen {
    let data = Data::fetch(api, None).await?;
    let html = QueuesPart { queues: QueueView::all(&data, api.clock.now()) }.render()?;
    let notice = NoticePart { notice: notice.clone() }.render()?;
    Ok(Html(format!("{html}{notice}")).into_response())
}

/// The form of a partition.
#[derive(Debug, Deserialize)]
pub(super) struct PartitionForm {
    queue: String,
    /// An empty one can only be resumed here: a field that was left out by mistake would otherwise
    /// pause everything that has no partition.
    #[serde(default)]
    partition: String,
}

/// `POST /ops/partitions/{verb}`: `pause`, `resume` or `drain`.
pub(super) async fn partition(
    State(api): State<Api>,
    _: Caller<QueuesManage>,
    headers: HeaderMap,
    Path(verb): Path<String>,
    Form(form): Form<PartitionForm>,
) -> Screen {
    let verb = Verb::of(&verb)
        .ok_or_else(|| OpsError::not_found("Partitions can be paused, resumed and drained."))?;
    let (queue, partition) = (form.queue.trim(), form.partition.trim());
    if partition.is_empty() && !matches!(verb, Verb::Resume) {
        let notice = Notice::failed("Not done: name the partition, an agency's id for one.");
        return Ok(back(SCREEN, &notice, &headers));
    }
    let name = format!("The partition {partition} of {queue}");
    let done = verb.apply(&api, Drained::Partition { queue, partition }, &name).await;
    let notice = match done {
        Err(switchyard_store::StoreFault::NotFound) => {
            Notice::failed(format!("Not done: there never was a job in a queue {queue}."))
        }
        other => other?,
    };
    Ok(back(SCREEN, &notice, &headers))
}
