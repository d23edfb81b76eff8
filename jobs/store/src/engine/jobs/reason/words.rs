//! The longer sentences of reasons.

use super::{Ahead, HeldBy};
use crate::engine::limits::LimitScope;
use chrono::{DateTime, SecondsFormat, Utc};

pub(in crate::engine::jobs) fn pending(
    workflow: Option<&str>,
    parents: &[String],
    waits_on: i32,
) -> String {
    let Some(workflow) = workflow else {
        return "It waits for another job to end.".to_owned();
    };
    let named: Vec<String> = parents.iter().map(|p| format!("`{p}`")).collect();
    let more = usize::try_from(waits_on).unwrap_or(0).saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("It waits for {}{more} of the workflow `{workflow}`.", named.join(", "))
}

pub(in crate::engine::jobs) fn limited(limit: &LimitScope, by: &HeldBy) -> String {
    match by {
        HeldBy::Slots { running, max_running } => {
            format!("The limit of {limit} is used up: {running} of {max_running} jobs run.")
        }
        HeldBy::Rate { rate, next_start } => {
            let at = next_start.to_rfc3339_opts(SecondsFormat::Millis, true);
            format!("The limit of {limit} allows {rate} starts, the next one at {at}.")
        }
    }
}

pub(in crate::engine::jobs) fn held(queue: &str, partition: &str) -> String {
    if partition.is_empty() {
        return format!("The jobs of its queue `{queue}` that have no partition are paused.");
    }
    format!("Partition `{partition}` of its queue `{queue}` is paused.")
}

pub(in crate::engine::jobs) fn quiet(workers: i64) -> String {
    if workers == 1 {
        return "The one living worker that can run it is quiet: it claims nothing.".to_owned();
    }
    format!("All {workers} living workers that can run it are quiet: they claim nothing.")
}

pub(in crate::engine::jobs) fn waiting(ahead: Ahead, workers: i64) -> String {
    let who = if workers == 1 {
        "one living worker can run it".to_owned()
    } else {
        format!("{workers} living workers can run it")
    };
    match ahead {
        Ahead::Exactly(0) => format!("It is the next of its lane; {who}."),
        Ahead::Exactly(1) => format!("One job of its lane comes before it; {who}."),
        Ahead::Exactly(n) => format!("{n} jobs of its lane come before it; {who}."),
        Ahead::MoreThan(n) => format!("More than {n} jobs of its lane come before it; {who}."),
    }
}

pub(in crate::engine::jobs) fn progress(
    fraction: Option<f32>,
    note: &str,
    at: DateTime<Utc>,
) -> String {
    let share = fraction
        .map_or("It is under way".to_owned(), |f| format!("It is at {:.0} %", (f * 100.0).floor()));
    format!("{share}{}, as it said at {}.", said(&Some(note.to_owned())), instant(at))
}

pub(in crate::engine::jobs) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// An instant in a sentence, or nothing.
pub(in crate::engine::jobs) fn when(before: &str, at: Option<DateTime<Utc>>) -> String {
    at.map(|at| format!("{before}{}", instant(at))).unwrap_or_default()
}

/// The first line of an error in a sentence, which ends with a full stop of its own.
pub(in crate::engine::jobs) fn said(text: &Option<String>) -> String {
    let line = text.as_deref().and_then(|t| t.lines().next()).unwrap_or_default();
    let line = line.trim().trim_end_matches('.');
    if line.is_empty() { String::new() } else { format!(" ({line})") }
}

pub(in crate::engine::jobs) fn list(seen: &[String]) -> String {
    if seen.is_empty() { String::new() } else { format!(": {}", seen.join("; ")) }
}
