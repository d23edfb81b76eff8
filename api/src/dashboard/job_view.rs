//! One job, as rows, buttons and facts.

use super::data::Data;
use super::format::{When, first_line, short};
use super::shell::Notice;
use crate::Api;
use askama::Template;
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use switchyard_queue::{JobId, JobState};
use switchyard_store::jobs::{self, JobRow};
use switchyard_store::{Result, StoreFault, overview};

/// A job's row.
#[derive(Clone)]
pub(super) struct JobView {
    pub id: JobId,
    pub short: String,
    pub kind: String,
    pub queue: String,
    pub state: JobState,
    pub attempt: i16,
    pub max_attempts: i16,
    pub when: When,
    pub args: String,
    pub error: Option<String>,
    /// What the state leaves open: "due", "held since".
    pub note: &'static str,
    pub note_at: Option<When>,
    /// How far it is, in percent, and what it said last.
    pub progress: Option<i32>,
    pub progress_note: Option<String>,
    /// It has been silent for longer than its kind allows, since then.
    pub stuck: Option<When>,
    /// It waits, and no living worker knows its kind.
    pub unserved: bool,
}

/// A button.
pub(super) struct Act {
    pub verb: &'static str,
    pub label: &'static str,
    pub danger: bool,
    pub confirm: Option<&'static str>,
}

impl JobView {
    pub(super) fn new(row: &JobRow, args: Option<&str>, data: &Data, now: DateTime<Utc>) -> Self {
        let when = |at| Some(When::new(at, now));
        let (note, note_at) = match row.state {
            JobState::Running if row.cancel_requested => ("asked to stop", None),
            JobState::Running => ("since", row.started_at.and_then(when)),
            JobState::Scheduled => ("due", when(row.run_at)),
            JobState::Retryable => ("again", when(row.run_at)),
            JobState::Quarantined => ("took its worker down; runs only if retried", None),
            JobState::Discarded => ("dead letter: retry it or leave it", None),
            JobState::Pending => ("waits for another job", None),
            _ => ("", None),
        };
        // The stored number counts attempts that ended; a running one is the next.
        let attempt = if row.state == JobState::Running { row.attempt + 1 } else { row.attempt };
        Self {
            id: row.id,
            short: short(row.id),
            kind: row.kind.clone(),
            queue: row.queue.clone(),
            state: row.state,
            attempt,
            max_attempts: row.max_attempts,
            when: When::new(row.created_at, now),
            args: args.unwrap_or_default().to_owned(),
            error: row
                .error
                .as_deref()
                .map(first_line)
                .filter(|_| row.state != JobState::Completed),
            note,
            note_at,
            // Between 0 and 100.
            #[allow(clippy::cast_possible_truncation)]
            progress: row.progress.map(|f| (f * 100.0).floor() as i32),
            progress_note: row.progress_note.clone().filter(|n| !n.is_empty()),
            stuck: row.stuck_since.and_then(when),
            unserved: !row.state.is_final() && data.unserved(&row.kind),
        }
    }

    /// Views of many jobs, their arguments read at once.
    pub(super) async fn all(
        api: &Api,
        data: &Data,
        rows: &[JobRow],
        now: DateTime<Utc>,
    ) -> Result<Vec<Self>> {
        let ids: Vec<JobId> = rows.iter().map(|r| r.id).collect();
        let args = overview::job_args(&api.db, &ids).await?;
        let view = |r: &JobRow| Self::new(r, args.get(&r.id).map(String::as_str), data, now);
        Ok(rows.iter().map(view).collect())
    }

    /// The view of one job; `None` if it is gone.
    pub(super) async fn find(api: &Api, data: &Data, id: JobId) -> Result<Option<Self>> {
        match jobs::find(&api.db, id).await {
            Ok(row) => {
                let mut views = Self::all(api, data, &[row], api.clock.now()).await?;
                Ok(views.pop())
            }
            Err(StoreFault::NotFound) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The buttons that make sense.
    pub(super) fn actions(&self) -> Vec<Act> {
        let act = |verb, label| Act { verb, label, danger: false, confirm: None };
        let cancel = Act {
            danger: true,
            confirm: Some("Cancel this job? It will not run unless somebody runs it again."),
            ..act("cancel", "Cancel")
        };
        let discard = Act {
            danger: true,
            confirm: Some(
                "Make this job a dead letter? It will not run until somebody retries it.",
            ),
            ..act("discard", "Discard")
        };
        match self.state {
            JobState::Pending => vec![cancel],
            JobState::Available => vec![cancel, discard],
            JobState::Running => {
                vec![Act { confirm: Some("Ask the worker to stop this job?"), ..cancel }]
            }
            JobState::Scheduled | JobState::Retryable => {
                vec![act("retry", "Run now"), cancel, discard]
            }
            JobState::Quarantined => vec![act("retry", "Retry"), cancel, discard],
            JobState::Discarded => vec![act("retry", "Retry"), cancel],
            JobState::Completed => {
                let confirm = Some("This job has done its work. Run a copy of it?");
                vec![Act { confirm, ..act("retry", "Run again") }]
            }
            JobState::Cancelled => vec![act("retry", "Run again")],
        }
    }
}

/// A row alone: as the answer to an action, or as an event.
#[derive(Template)]
#[template(path = "parts/job_row.html")]
pub(super) struct JobRowPart {
    pub j: JobView,
    pub oob: bool,
}

/// The answer to an action: the row and what it came to.
#[derive(Template)]
#[template(path = "parts/job_done.html")]
pub(super) struct JobDone {
    pub j: JobView,
    pub oob: bool,
    pub notice: Notice,
}

/// A notice alone, swapped into its place.
#[derive(Template)]
#[template(path = "parts/notice.html")]
pub(super) struct NoticePart {
    pub notice: Notice,
}

/// Jobs by the ids in their arguments: which job is about which message, lead or event.
pub(super) fn about(views: &[JobView]) -> HashMap<String, Vec<JobView>> {
    let mut map: HashMap<String, Vec<JobView>> = HashMap::new();
    for view in views {
        let args: serde_json::Value = serde_json::from_str(&view.args).unwrap_or_default();
        for id in args.as_object().into_iter().flatten().filter_map(|(_, v)| v.as_str()) {
            map.entry(id.to_owned()).or_default().push(view.clone());
        }
    }
    map
}
