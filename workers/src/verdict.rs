//! From what an attempt came to, to what is written about it. No I/O.

use crate::flight::Stop;
use std::time::Duration;
use switchyard_queue::{
    ClaimedJob, Entropy, ErrorClass, ErrorReport, JobError, JobResult, Outcome, RetryPolicy,
    SettleAs, check_result,
};

/// Longest error text that is kept, in bytes; what is longer is cut.
const MAX_MESSAGE: usize = 16 * 1024;

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// `run` gave an answer.
    Returned(JobResult),
    /// It took longer than it may.
    TimedOut,
    /// It panicked, with this message.
    Panicked(String),
    /// It was told to stop, did not within the grace, and was dropped.
    Dropped,
    /// It was told to stop before it began.
    NeverBegan,
}

/// What is to be done about it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The store is to write this.
    Write(SettleAs),
    /// It was written in the job's own transaction.
    Settled,
    /// The job is somebody else's.
    Nothing,
}

impl Verdict {
    /// The word for the metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Write(SettleAs::Completed | SettleAs::CompletedWith(_)) | Self::Settled => {
                "completed"
            }
            Self::Write(SettleAs::Cancelled(_)) => "cancelled",
            Self::Write(SettleAs::Retry(..)) => "retried",
            Self::Write(SettleAs::Snooze(_)) => "snoozed",
            Self::Write(SettleAs::Discard(_)) => "discarded",
            Self::Write(SettleAs::GiveBack) => "given_back",
            Self::Nothing => "lost",
        }
    }

    /// The evidence, if the attempt failed.
    pub(crate) fn error(&self) -> Option<&ErrorReport> {
        match self {
            Self::Write(SettleAs::Retry(_, report) | SettleAs::Discard(report)) => Some(report),
            _ => None,
        }
    }
}

/// Decides.
///
/// A success counts whatever else happened, because the work is done; only a claim that is known
/// to be lost has nothing written. A failure of an attempt that was told to stop is put down to
/// that: cancelled if an operator wanted it so, given back (no attempt used up) if the worker is
/// leaving or in doubt about its claim.
pub(crate) fn decide(
    job: &ClaimedJob,
    ended: Ended,
    stopped: Option<Stop>,
    policy: &RetryPolicy,
    entropy: &dyn Entropy,
) -> Verdict {
    if let Ended::Returned(Ok(Outcome::Settled(_))) = ended {
        return Verdict::Settled;
    }
    if stopped == Some(Stop::Lost) {
        return Verdict::Nothing;
    }
    let result = match ended {
        Ended::Returned(Ok(outcome)) => return success(outcome, stopped),
        Ended::NeverBegan | Ended::Dropped => return stop(&ended, stopped),
        Ended::Returned(Err(error)) => failure(error),
        Ended::Panicked(message) => Failure::report("panic", message),
        Ended::TimedOut => {
            let seconds = job.timeout.as_secs_f64();
            Failure::report("timeout", format!("the attempt took longer than {seconds} s"))
        }
    };
    match (result, stopped) {
        (Failure::Lost, _) => Verdict::Nothing,
        (_, Some(Stop::Operator)) => cancelled("cancelled by an operator while it ran"),
        (Failure::Permanent(report), _) => Verdict::Write(SettleAs::Discard(report)),
        (Failure::Retry { report, .. }, Some(_)) if report.class == "error" => {
            Verdict::Write(SettleAs::GiveBack)
        }
        (Failure::Retry { report, .. }, _) if job.attempt >= job.max_attempts => {
            Verdict::Write(SettleAs::Discard(report))
        }
        (Failure::Retry { after, report }, _) => {
            let failed = u16::try_from(job.attempt).unwrap_or(1);
            let wait = after.unwrap_or_else(|| policy.delay(failed, entropy));
            Verdict::Write(SettleAs::Retry(wait, report))
        }
    }
}

enum Failure {
    Retry { after: Option<Duration>, report: ErrorReport },
    Permanent(ErrorReport),
    Lost,
}

impl Failure {
    fn report(class: &'static str, message: String) -> Self {
        Self::Retry { after: None, report: report(class, message) }
    }
}

fn failure(error: JobError) -> Failure {
    let evidence = || report("error", error.chain().join("\n"));
    match error.class() {
        ErrorClass::Retry { after } => Failure::Retry { after, report: evidence() },
        ErrorClass::Permanent => Failure::Permanent(evidence()),
        ErrorClass::Lost => Failure::Lost,
    }
}

fn success(outcome: Outcome, stopped: Option<Stop>) -> Verdict {
    match outcome {
        Outcome::Done => Verdict::Write(SettleAs::Completed),
        // A result that cannot be written would be refused again and again.
        Outcome::DoneWith(value) => Verdict::Write(match check_result(&value) {
            Ok(()) => SettleAs::CompletedWith(value),
            Err(why) => SettleAs::Discard(report("error", why)),
        }),
        Outcome::Settled(_) => Verdict::Settled,
        Outcome::Cancel(reason) => cancelled(&reason),
        Outcome::Snooze(_) if stopped == Some(Stop::Operator) => {
            cancelled("cancelled by an operator while it ran")
        }
        Outcome::Snooze(wait) => Verdict::Write(SettleAs::Snooze(wait)),
    }
}

/// The end of an attempt that gave no answer of its own because it was told to stop.
fn stop(ended: &Ended, stopped: Option<Stop>) -> Verdict {
    match (stopped, ended) {
        (Some(Stop::Operator), Ended::NeverBegan) => {
            cancelled("cancelled by an operator before it began")
        }
        (Some(Stop::Operator), _) => {
            cancelled("cancelled by an operator; it did not stop by itself and was dropped")
        }
        _ => Verdict::Write(SettleAs::GiveBack),
    }
}

fn cancelled(reason: &str) -> Verdict {
    Verdict::Write(SettleAs::Cancelled(clean(reason.to_owned())))
}

fn report(class: &'static str, message: String) -> ErrorReport {
    ErrorReport { class, message: clean(message) }
}

/// PostgreSQL's text holds no NUL, and nobody reads a megabyte of error.
fn clean(mut text: String) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
