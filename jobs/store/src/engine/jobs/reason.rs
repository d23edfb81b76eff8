//! The reasons why a job is where it is: a stable code, a sentence, and what to do about it.

mod words;

pub(super) use words::when;

use crate::engine::limits::{LimitScope, StartRate};
use chrono::{DateTime, Utc};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::time::Duration;
use words::{held, instant, limited, list, pending, progress, quiet, said, waiting};

/// One thing that is so now and keeps a job from running, or explains where it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Done.
    Completed {
        /// When.
        at: Option<DateTime<Utc>>,
        /// The number of the attempt that did it.
        attempt: i16,
    },
    /// Given up on purpose.
    Cancelled {
        /// When.
        at: Option<DateTime<Utc>>,
        /// What was said about it.
        why: Option<String>,
    },
    /// A living worker holds it.
    Running {
        /// Who.
        worker: String,
        /// When it was claimed.
        since: Option<DateTime<Utc>>,
        /// How long the claim holds unless it is renewed.
        lease_until: Option<DateTime<Utc>>,
    },
    /// The running attempt said how far it is.
    Progress {
        /// From 0 to 1, if it can tell.
        fraction: Option<f32>,
        /// In its own words.
        note: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// The running attempt has been silent for longer than its kind allows.
    Silent {
        /// Since when.
        since: DateTime<Utc>,
        /// How long is allowed.
        allowed: Duration,
    },
    /// The worker that holds it is gone, or let its lease run out: the job is free to be taken over.
    HolderGone {
        /// Who.
        worker: String,
        /// How long the claim held.
        lease_until: Option<DateTime<Utc>>,
    },
    /// Somebody asked to stop it.
    CancelRequested,
    /// Not due yet, never tried or snoozed.
    Scheduled {
        /// When it is due.
        at: DateTime<Utc>,
    },
    /// An attempt failed, and the next one is not due yet.
    Retryable {
        /// When it is due.
        at: DateTime<Utc>,
        /// Attempts used up.
        attempt: i16,
        /// Attempts allowed.
        max_attempts: i16,
        /// Why the last one failed.
        error: Option<String>,
    },
    /// It waits for its time, and nobody is there who looks at the clock.
    NoScheduler,
    /// It waits for other jobs of its workflow.
    Pending {
        /// The workflow's name.
        workflow: Option<String>,
        /// Names of some that it waits for.
        parents: Vec<String>,
        /// For how many it waits.
        waits_on: i32,
    },
    /// It was put aside until a worker that knows its kind asks for it.
    Parked,
    /// Nothing is claimed from its queue.
    QueuePaused {
        /// The queue.
        queue: String,
    },
    /// Nothing is claimed from its partition, whatever its queue is.
    PartitionPaused {
        /// The queue.
        queue: String,
        /// The partition, empty for the jobs that have none.
        partition: String,
    },
    /// No living worker serves its queue.
    QueueUnserved {
        /// The queue.
        queue: String,
    },
    /// No living worker knows its kind.
    KindUnknown {
        /// The kind.
        kind: String,
    },
    /// Some living workers serve its queue and others know its kind; none does both.
    KindNotInQueue {
        /// The kind.
        kind: String,
        /// The queue.
        queue: String,
    },
    /// All living workers that can run it were told to claim nothing.
    WorkersQuiet {
        /// How many.
        workers: i64,
    },
    /// No job of its kind is claimed.
    KindPaused {
        /// The kind.
        kind: String,
    },
    /// A limit allows no start at this moment.
    Limited {
        /// What the limit holds for.
        limit: LimitScope,
        /// What of it is used up.
        by: HeldBy,
    },
    /// Its workers vanished, so it has a worker to itself.
    RunsAlone {
        /// How many, in a row.
        crashes: i16,
    },
    /// Nothing is in its way but the jobs before it.
    Waiting {
        /// How many of its lane come first.
        ahead: Ahead,
        /// Living workers that can run it and are not quiet.
        workers: i64,
    },
    /// It took its worker down too often.
    Quarantined {
        /// Workers that vanished in a row.
        crashes: i16,
        /// How many of them had nothing else in hand.
        lone_crashes: i16,
        /// The last of them and when each was missed, the latest first.
        seen: Vec<String>,
    },
    /// It failed for good, or an operator put it aside.
    DeadLetter {
        /// When its last attempt failed.
        at: Option<DateTime<Utc>>,
        /// Attempts used up.
        attempt: i16,
        /// Attempts allowed.
        max_attempts: i16,
        /// Why.
        error: Option<String>,
    },
}

/// What of a limit is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// As many jobs run as may.
    Slots {
        /// Jobs that run under it.
        running: u64,
        /// Jobs that may.
        max_running: u32,
    },
    /// Its rate.
    Rate {
        /// The rate.
        rate: StartRate,
        /// When it allows the next start.
        next_start: DateTime<Utc>,
    },
}

/// A count that stops somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// So many.
    Exactly(i64),
    /// More than so many.
    MoreThan(i64),
}

impl Reason {
    /// The stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::Cancelled { .. } => "cancelled",
            Self::Running { .. } => "running",
            Self::Progress { .. } => "progress",
            Self::Silent { .. } => "stuck",
            Self::HolderGone { .. } => "holder_gone",
            Self::CancelRequested => "cancel_requested",
            Self::Scheduled { .. } => "scheduled",
            Self::Retryable { .. } => "retryable",
            Self::NoScheduler => "no_scheduler",
            Self::Pending { .. } => "pending",
            Self::Parked => "parked",
            Self::QueuePaused { .. } => "queue_paused",
            Self::PartitionPaused { .. } => "partition_paused",
            Self::QueueUnserved { .. } => "queue_unserved",
            Self::KindUnknown { .. } => "kind_unknown",
            Self::KindNotInQueue { .. } => "kind_not_in_queue",
            Self::WorkersQuiet { .. } => "workers_quiet",
            Self::KindPaused { .. } => "kind_paused",
            Self::Limited { .. } => "limited",
            Self::RunsAlone { .. } => "runs_alone",
            Self::Waiting { .. } => "waiting",
            Self::Quarantined { .. } => "quarantined",
            Self::DeadLetter { .. } => "dead_letter",
        }
    }

    /// Whether the job stays where it is until somebody does something.
    #[must_use]
    pub fn blocks(&self) -> bool {
        matches!(
            self,
            Self::NoScheduler
                | Self::Parked
                | Self::QueuePaused { .. }
                | Self::PartitionPaused { .. }
                | Self::QueueUnserved { .. }
                | Self::KindUnknown { .. }
                | Self::KindNotInQueue { .. }
                | Self::WorkersQuiet { .. }
                | Self::KindPaused { .. }
                | Self::Quarantined { .. }
                | Self::DeadLetter { .. }
        )
    }

    /// One sentence for people.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Completed { at, attempt } => {
                format!("It was completed{}, by attempt {attempt}.", when(" at ", *at))
            }
            Self::Cancelled { at, why } => {
                format!("It was cancelled{}{}.", when(" at ", *at), said(why))
            }
            Self::Running { worker, since, lease_until } => format!(
                "{worker} has run it{}; the claim holds{} and is renewed.",
                when(" since ", *since),
                when(" until ", *lease_until)
            ),
            Self::Progress { fraction, note, at } => progress(*fraction, note, *at),
            Self::Silent { since, allowed } => format!(
                "It has said nothing since {}, and {} s of silence are allowed.",
                instant(*since),
                allowed.as_secs_f64()
            ),
            Self::HolderGone { worker, lease_until } => format!(
                "{worker} held it and is gone, or no longer renews its claim, which holds{}.",
                when(" until ", *lease_until)
            ),
            Self::CancelRequested => "Somebody asked to cancel it while it ran.".to_owned(),
            Self::Scheduled { at } => format!("It is scheduled for {}.", instant(*at)),
            Self::Retryable { at, attempt, max_attempts, error } => format!(
                "Attempt {attempt} of {max_attempts} failed{}; the next one is due at {}.",
                said(error),
                instant(*at)
            ),
            Self::NoScheduler => {
                "No scheduler leads, and only a scheduler makes jobs available when their time comes."
                    .to_owned()
            }
            Self::Pending { workflow, parents, waits_on } => {
                pending(workflow.as_deref(), parents, *waits_on)
            }
            Self::Parked => "It was put aside until a worker knows its kind.".to_owned(),
            Self::QueuePaused { queue } => format!("Its queue `{queue}` is paused."),
            Self::PartitionPaused { queue, partition } => held(queue, partition),
            Self::QueueUnserved { queue } => format!("No living worker serves its queue `{queue}`."),
            Self::KindUnknown { kind } => format!("No living worker knows its kind `{kind}`."),
            Self::KindNotInQueue { kind, queue } => {
                format!("No living worker that serves its queue `{queue}` knows its kind `{kind}`.")
            }
            Self::WorkersQuiet { workers } => quiet(*workers),
            Self::KindPaused { kind } => format!("Its kind `{kind}` is paused."),
            Self::Limited { limit, by } => limited(limit, by),
            Self::RunsAlone { crashes } => format!(
                "{crashes} workers in a row vanished while they held it, so it runs alone: a worker \
                 takes it when it has nothing else in hand."
            ),
            Self::Waiting { ahead, workers } => waiting(*ahead, *workers),
            Self::Quarantined { crashes, lone_crashes, seen } => format!(
                "{crashes} workers in a row vanished while they held it, {lone_crashes} of them with \
                 no other job in hand{}.",
                list(seen)
            ),
            Self::DeadLetter { at, attempt, max_attempts, error } => format!(
                "It is a dead letter{} after {attempt} of {max_attempts} attempts{}.",
                when(" since ", *at),
                said(error)
            ),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "Nothing. Retry it to run a copy.",
            Self::Cancelled { .. } => "Retry it to run a copy.",
            Self::Running { .. } => "Wait, or cancel it to ask the worker to stop.",
            Self::Progress { .. } => "Wait, or look again.",
            Self::Silent { .. } => {
                "Look into its worker's log for what it waits for; cancel it to ask it to stop, then retry it."
            }
            Self::HolderGone { .. } => {
                "Nothing: a living worker takes it over, at the latest when the claim has run out."
            }
            Self::CancelRequested => {
                "Wait: it ends as cancelled when its worker hears of it, unless it completes first."
            }
            Self::Scheduled { .. } => "Wait, or retry it to run it now.",
            Self::Retryable { .. } => {
                "Mend what the error names and wait, or retry it to run it now."
            }
            Self::NoScheduler => "Start `switchyard schedule`, or retry the job to run it now.",
            Self::Pending { .. } => {
                "Look at the jobs that it waits for (`switchyard workflows show`): a dead letter among \
                 them holds it until somebody retries or cancels that."
            }
            Self::Parked | Self::KindUnknown { .. } => {
                "Start a worker of a version that knows the kind; see `switchyard doctor`."
            }
            Self::QueuePaused { .. } => {
                "Resume the queue when what it was paused for is over (`switchyard queues resume`)."
            }
            Self::PartitionPaused { .. } => {
                "Resume the partition when what it was paused for is over (`switchyard queues resume \
                 QUEUE --partition PARTITION`)."
            }
            Self::QueueUnserved { .. } => {
                "Start `switchyard work`, or add the queue to `worker.queues` of one that runs."
            }
            Self::KindNotInQueue { .. } => {
                "Let a worker of the version that knows the kind serve the queue (`worker.queues`)."
            }
            Self::WorkersQuiet { .. } => {
                "Let one of them claim again (`switchyard workers resume`), or start another one."
            }
            Self::KindPaused { .. } => {
                "Resume the kind when what it was paused for is over (`switchyard kinds resume`)."
            }
            Self::Limited { .. } => {
                "Wait; if the limit is too tight, change it (`switchyard limits set`)."
            }
            Self::RunsAlone { .. } => {
                "Wait; if it takes its worker down alone too, it is quarantined."
            }
            Self::Waiting { .. } => "Wait, or start more workers if the queue grows.",
            Self::Quarantined { .. } => {
                "Find out in the workers' logs what killed them, mend it, then retry or cancel the job."
            }
            Self::DeadLetter { .. } => "Mend what the error names, then retry it, or cancel it.",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reason = serializer.serialize_struct("Reason", 3)?;
        reason.serialize_field("code", self.code())?;
        reason.serialize_field("message", &self.message())?;
        reason.serialize_field("remedy", self.remedy())?;
        reason.end()
    }
}
