//! What the scheduler does for workflows. Each call is idempotent and safe to run from several processes
//! at once.

use super::advance::advance;
use crate::{Db, Result};
use uuid::Uuid;

/// Workflows that the scheduler takes up at once.
const SWEPT: i64 = 200;
/// Workflows forgotten in one statement: each may have thousands of jobs.
const FORGOTTEN: i64 = 20;

/// Takes up what a process left behind that died between the end of a job and its meaning for the
/// workflow; gives how many workflows that were.
///
/// # Errors
/// If the database is not available.
pub async fn advance_left(db: &Db) -> Result<u64> {
    let left: Vec<(Uuid, bool)> = sqlx::query_as(
        "select e.workflow, w.id is null
         from (select distinct workflow from engine.workflow_events limit $1) e
         left join engine.workflows w on w.id = e.workflow",
    )
    .bind(SWEPT)
    .fetch_all(db.engine())
    .await?;
    let (gone, due): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, gone)| *gone);
    if !gone.is_empty() {
        // A dead letter that outlived its workflow was retried.
        sqlx::query("delete from engine.workflow_events where workflow = any($1)")
            .bind(gone.into_iter().map(|(id, _)| id).collect::<Vec<_>>())
            .execute(db.engine())
            .await?;
    }
    each(db, due.into_iter().map(|(id, _)| id).collect()).await
}

/// Goes on ending the rest of workflows that failed or were cancelled; gives how many there are.
///
/// # Errors
/// If the database is not available.
pub async fn end_cancelled(db: &Db) -> Result<u64> {
    let ending =
        sqlx::query_scalar("select id from engine.workflows where state in (1, 2) limit $1")
            .bind(SWEPT)
            .fetch_all(db.engine())
            .await?;
    each(db, ending).await
}

async fn each(db: &Db, workflows: Vec<Uuid>) -> Result<u64> {
    if workflows.is_empty() {
        return Ok(0);
    }
    let mut connection = db.engine().acquire().await?;
    for id in &workflows {
        advance(db, &mut connection, &[*id]).await?;
    }
    Ok(workflows.len() as u64)
}

/// Forgets the workflows that finished more than this many days ago; gives how many. Their jobs'
/// history has its own time.
///
/// # Errors
/// If the database is not available.
pub async fn forget(db: &Db, keep_days: u16) -> Result<u64> {
    let mut forgotten = 0;
    loop {
        let n: i64 = sqlx::query_scalar(
            "with gone as (
               delete from engine.workflows where id = any (array(
                 select id from engine.workflows
                 where finished_at < statement_timestamp() - $1 * interval '1 day'
                 order by finished_at limit $2 for update skip locked))
               returning id
             ), nodes as (
               delete from engine.workflow_jobs n using gone g where n.workflow = g.id
             ), edges as (
               delete from engine.workflow_edges e using gone g where e.workflow = g.id
             )
             select count(*) from gone",
        )
        .bind(i32::from(keep_days))
        .bind(FORGOTTEN)
        .fetch_one(db.engine())
        .await?;
        forgotten += n.unsigned_abs();
        if n < FORGOTTEN {
            return Ok(forgotten);
        }
    }
}
