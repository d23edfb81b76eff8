//! The effects of one job outside the database, as operators see them.

use crate::{Db, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_queue::JobId;

/// Effects of one job that are shown; the oldest come first.
const MOST_SHOWN: i64 = 1000;

/// Where an effect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectShown {
    /// The running attempt wrote its intent and has no result yet.
    UnderWay,
    /// It was done, once and for all.
    Done,
    /// It certainly was not done; a retry tries it again.
    Failed,
    /// It may have been done or not: an attempt ended without a result, or had no clear answer.
    InDoubt,
}

impl EffectShown {
    /// The word used in the API, the CLI and the dashboard.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// An effect, without its result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EffectRow {
    /// What names it for good.
    pub key: String,
    /// Where it stands.
    pub state: EffectShown,
    /// When its intent was first written.
    pub begun_at: DateTime<Utc>,
    /// When its state was last written.
    pub updated_at: DateTime<Utc>,
}

impl sqlx::FromRow<'_, PgRow> for EffectRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let state: &str = row.try_get("state")?;
        let state = match (state, row.try_get("under_way")?) {
            ("done", _) => EffectShown::Done,
            ("failed", _) => EffectShown::Failed,
            ("intent", true) => EffectShown::UnderWay,
            // Nobody who could still write its result holds the job.
            _ => EffectShown::InDoubt,
        };
        let (begun_at, updated_at) = (row.try_get("created_at")?, row.try_get("updated_at")?);
        Ok(Self { key: row.try_get("key")?, state, begun_at, updated_at })
    }
}

/// The effects that this job was the last to begin or to end, in the order in which they were begun.
pub(super) async fn of(db: &Db, id: JobId) -> Result<Vec<EffectRow>> {
    let rows = sqlx::query_as(
        "select e.key, e.state, e.created_at, e.updated_at,
           exists (select from engine.jobs j
             where j.id = e.job_id and j.fence = e.fence and j.worker is not null) as under_way
         from engine.effects e where e.job_id = $1 order by e.created_at, e.key limit $2",
    )
    .bind(id.0)
    .bind(MOST_SHOWN)
    .fetch_all(db.engine())
    .await?;
    Ok(rows)
}
