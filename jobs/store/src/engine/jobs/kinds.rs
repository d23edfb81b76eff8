//! Kinds of job: what workers declared, what operators paused, and how many jobs there are.

use super::counts::counts;
use crate::{Db, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use std::time::Duration;
use switchyard_queue::{JobState, KindInfo, Retention, kind_name, kind_version};

/// How the jobs of a kind are run unless they say otherwise, as a worker declared it last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindRules {
    /// Longest time of one attempt.
    pub timeout_seconds: f64,
    /// Attempts before a job becomes a dead letter.
    pub max_attempts: i16,
    /// How long after its enqueue a job may still begin. Workers do not declare it: it is what the
    /// program that asks knows of the kind, see [`KindSummary::known_as`].
    pub deadline_seconds: Option<f64>,
    /// How long finished jobs are kept: `short`, `standard` or `long`.
    pub retention: &'static str,
    /// A running job that is silent for longer is shown as stuck.
    pub stuck_after_seconds: Option<f64>,
    /// Arguments are stored encrypted.
    pub encrypted: bool,
}

/// One kind at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindSummary {
    /// Its permanent name.
    pub kind: String,
    /// Other names under which its jobs may be stored.
    pub aliases: Vec<String>,
    /// The versions after the first that a worker ever declared.
    pub versions: Vec<u16>,
    /// Where its jobs wait unless they say otherwise; `None` if no worker ever declared it.
    pub queue: Option<String>,
    /// None of its jobs is claimed.
    pub paused: bool,
    /// When a worker last declared something new about it; `None` if none ever declared it.
    pub declared_at: Option<DateTime<Utc>>,
    /// What was declared; `None` if nothing ever was.
    #[serde(flatten)]
    pub rules: Option<KindRules>,
    /// Jobs by state, under all of its names; see [`super::LaneCount`] for what they mean.
    pub counts: BTreeMap<JobState, i64>,
}

impl KindSummary {
    /// The same with what this program knows of the kind and no worker has declared.
    #[must_use]
    pub fn known_as(mut self, info: Option<&KindInfo>) -> Self {
        if let Some(info) = info {
            let rules = self.rules.get_or_insert_with(|| KindRules::from(info));
            rules.deadline_seconds = info.deadline.map(|d| d.as_secs_f64());
        }
        self
    }
}

impl From<&KindInfo> for KindRules {
    fn from(k: &KindInfo) -> Self {
        Self {
            timeout_seconds: k.timeout.as_secs_f64(),
            max_attempts: i16::try_from(k.max_attempts).unwrap_or(i16::MAX),
            deadline_seconds: k.deadline.map(|d| d.as_secs_f64()),
            retention: k.retention.as_str(),
            stuck_after_seconds: k.stuck_after.map(|d| d.as_secs_f64()),
            encrypted: k.encrypted,
        }
    }
}

#[derive(sqlx::FromRow)]
struct KindRow {
    kind: String,
    name: String,
    queue: String,
    paused: bool,
    declared_at: DateTime<Utc>,
    max_attempts: i16,
    timeout_ms: i32,
    retention: i16,
    stuck_after_ms: Option<i64>,
    encrypted: bool,
}

impl KindRow {
    fn rules(&self) -> KindRules {
        let classes = [Retention::Standard, Retention::Short, Retention::Long];
        let class = classes.into_iter().find(|c| c.code() == self.retention).unwrap_or_default();
        let millis = |n: u64| Duration::from_millis(n).as_secs_f64();
        KindRules {
            timeout_seconds: millis(self.timeout_ms.unsigned_abs().into()),
            max_attempts: self.max_attempts,
            deadline_seconds: None,
            retention: class.as_str(),
            stuck_after_seconds: self.stuck_after_ms.map(|n| millis(n.unsigned_abs())),
            encrypted: self.encrypted,
        }
    }
}

/// Every kind that a worker ever declared or that has jobs, by name.
///
/// # Errors
/// If the database is not available.
pub async fn kinds(db: &Db) -> Result<Vec<KindSummary>> {
    let rows: Vec<KindRow> = sqlx::query_as(
        "select kind, name, queue, paused, declared_at, max_attempts, timeout_ms, retention,
           stuck_after_ms, encrypted
         from engine.kinds order by kind",
    )
    .fetch_all(db.engine())
    .await?;
    let names: BTreeMap<String, String> =
        rows.iter().map(|row| (row.kind.clone(), row.name.clone())).collect();
    let mut kinds: BTreeMap<String, KindSummary> = BTreeMap::new();
    for row in rows {
        let summary = entry(&mut kinds, &row.name);
        summary.paused |= row.paused;
        if row.kind == row.name {
            summary.rules = Some(row.rules());
            summary.queue = Some(row.queue);
            summary.declared_at = Some(row.declared_at);
        } else if kind_name(&row.kind) == row.kind {
            summary.aliases.push(row.kind);
        } else {
            summary.versions.push(kind_version(&row.kind));
        }
    }
    for summary in kinds.values_mut() {
        summary.versions.sort_unstable();
        summary.versions.dedup();
    }
    for count in counts(db).await? {
        let name = kind_name(&count.kind);
        let name = names.get(name).map_or(name, |name| name);
        *entry(&mut kinds, name).counts.entry(count.state).or_default() += count.n;
    }
    for summary in kinds.values_mut() {
        summary.counts.retain(|_, n| *n != 0);
    }
    Ok(kinds.into_values().collect())
}

/// Every stored kind that these names mean: a kind's own name all of its versions and earlier names as
/// well, a version or an earlier name itself only.
pub(in crate::engine) async fn stored_as(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let stored = sqlx::query_scalar(
        "select kind from engine.kinds where name = any($1) union select unnest($1) order by 1",
    );
    Ok(stored.bind(names).fetch_all(connection).await?)
}

fn entry<'a>(kinds: &'a mut BTreeMap<String, KindSummary>, name: &str) -> &'a mut KindSummary {
    kinds.entry(name.to_owned()).or_insert_with(|| KindSummary {
        kind: name.to_owned(),
        aliases: Vec::new(),
        versions: Vec::new(),
        queue: None,
        paused: false,
        declared_at: None,
        rules: None,
        counts: BTreeMap::new(),
    })
}
