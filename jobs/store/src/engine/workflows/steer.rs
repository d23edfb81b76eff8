//! What an operator can do with a workflow.

use super::advance::{Flow, advance_soon, take_up};
use super::read::{WorkflowRow, find};
use crate::{Db, StoreFault};
use switchyard_queue::{WorkflowId, WorkflowState};
use uuid::Uuid;

/// Why an action was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such workflow, or it was forgotten.
    #[error("there is no such workflow")]
    NotFound,
    /// It has ended.
    #[error("the workflow is {0}")]
    Finished(WorkflowState),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<sqlx::Error> for Refusal {
    fn from(e: sqlx::Error) -> Self {
        Self::Store(e.into())
    }
}

/// Cancels what has not ended of a workflow, in one transaction. Jobs that run are asked to stop, and
/// end as cancelled unless they complete first; dead letters stay.
///
/// # Errors
/// [`Refusal::Finished`] if it has ended.
pub async fn cancel(db: &Db, id: WorkflowId) -> Result<WorkflowRow, Refusal> {
    let mut tx = db.begin_engine().await?;
    sqlx::query("select set_config('lock_timeout', '3s', true)").execute(&mut *tx).await?;
    let row: Option<(Uuid, i16, i16)> =
        sqlx::query_as("select id, policy, state from engine.workflows where id = $1 for update")
            .bind(id.0)
            .fetch_optional(&mut *tx)
            .await?;
    let flow = Flow::of(row.ok_or(Refusal::NotFound)?);
    if flow.state().is_final() {
        return Err(Refusal::Finished(flow.state()));
    }
    sqlx::query("update engine.workflows set state = 2 where id = $1")
        .bind(id.0)
        .execute(&mut *tx)
        .await?;
    let wakes = take_up(&mut tx, vec![flow.cancelled()]).await?;
    tx.commit().await?;
    if !wakes.is_empty() {
        db.wake().send(&wakes);
    }
    // Whoever ended a job meanwhile stepped over the lock that was held here.
    advance_soon(db, &[id.0]).await;
    match find(db, id).await {
        Ok(row) => Ok(row),
        Err(StoreFault::NotFound) => Err(Refusal::NotFound),
        Err(fault) => Err(fault.into()),
    }
}
