//! Kinds of job: what workers declared, what operators paused, and how many jobs there are.

use super::counts::counts;
use crate::{Db, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use switchyard_queue::JobState;

/// One kind at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindSummary {
    /// Its permanent name.
    pub kind: String,
    /// Other names under which its jobs may be stored.
    pub aliases: Vec<String>,
    /// Where its jobs wait unless they say otherwise; `None` if no worker ever declared it.
    pub queue: Option<String>,
    /// None of its jobs is claimed.
    pub paused: bool,
    /// When a worker last declared something new about it; `None` if none ever declared it.
    pub declared_at: Option<DateTime<Utc>>,
    /// Jobs by state, under all of its names; see [`super::LaneCount`] for what they mean.
    pub counts: BTreeMap<JobState, i64>,
}

/// Every kind that a worker ever declared or that has jobs, by name.
///
/// # Errors
/// If the database is not available.
pub async fn kinds(db: &Db) -> Result<Vec<KindSummary>> {
    let rows: Vec<(String, String, String, bool, DateTime<Utc>)> = sqlx::query_as(
        "select kind, name, queue, paused, declared_at from engine.kinds order by kind",
    )
    .fetch_all(db.engine())
    .await?;
    let names: BTreeMap<String, String> =
        rows.iter().map(|(kind, name, ..)| (kind.clone(), name.clone())).collect();
    let mut kinds: BTreeMap<String, KindSummary> = BTreeMap::new();
    for (kind, name, queue, paused, declared) in rows {
        let summary = entry(&mut kinds, &name);
        summary.paused |= paused;
        if kind == name {
            summary.queue = Some(queue);
            summary.declared_at = Some(declared);
        } else {
            summary.aliases.push(kind);
        }
    }
    for count in counts(db).await? {
        let name = names.get(&count.kind).unwrap_or(&count.kind);
        *entry(&mut kinds, name).counts.entry(count.state).or_default() += count.n;
    }
    for summary in kinds.values_mut() {
        summary.counts.retain(|_, n| *n != 0);
    }
    Ok(kinds.into_values().collect())
}

fn entry<'a>(kinds: &'a mut BTreeMap<String, KindSummary>, name: &str) -> &'a mut KindSummary {
    kinds.entry(name.to_owned()).or_insert_with(|| KindSummary {
        kind: name.to_owned(),
        aliases: Vec::new(),
        queue: None,
        paused: false,
        declared_at: None,
        counts: BTreeMap::new(),
    })
}
