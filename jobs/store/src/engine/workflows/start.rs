//! Starting a workflow in the caller's transaction.

use crate::Result;
use crate::engine::enqueue;
use sqlx::PgConnection;
use switchyard_queue::{ArgsCipher, LaneId, Plan, WakeToken, WorkflowFault};

/// Inserts the workflow with its jobs (`lanes[i]` is the lane of `jobs[i]`), in two statements, or
/// nothing; gives the wake-ups of what can run at once.
pub(crate) async fn start(
    connection: &mut PgConnection,
    plan: &Plan,
    lanes: &[LaneId],
    cipher: Option<&dyn ArgsCipher>,
) -> Result<Vec<WakeToken>> {
    // Only a unique key that is taken can leave a part of the jobs out.
    let undo = plan.jobs.iter().any(|j| j.unique_key.is_some());
    if undo {
        sqlx::raw_sql("savepoint workflow").execute(&mut *connection).await?;
    }
    let placed = enqueue::insert(connection, &plan.jobs, lanes, cipher).await?;
    if let Some(at) = placed.iter().position(|p| !p.answer.inserted()) {
        sqlx::raw_sql("rollback to savepoint workflow; release savepoint workflow")
            .execute(connection)
            .await?;
        let (node, job) = (plan.names[at].clone(), placed[at].answer.id);
        return Err(WorkflowFault::KeyHeld { node, job }.into());
    }
    insert(connection, plan).await?;
    if undo {
        sqlx::raw_sql("release savepoint workflow").execute(connection).await?;
    }
    Ok(placed.into_iter().filter_map(|p| p.wake).collect())
}

async fn insert(connection: &mut PgConnection, plan: &Plan) -> Result<()> {
    // Both are at most `MOST_NODES`.
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let (parents, children): (Vec<i32>, Vec<i32>) =
        plan.edges.iter().map(|(p, c)| (number(*p), number(*c))).unzip();
    sqlx::query(
        "with flow as (
           insert into engine.workflows (id, name, policy, total, request_id, created_at)
           values ($1, $2, $3, cardinality($5::uuid[]), $4, statement_timestamp())
         ), nodes as (
           insert into engine.workflow_jobs (workflow, place, job_id, node, kind, waits_on)
           select $1, g.n - 1, g.job, g.node, g.kind, g.waits
           from unnest($5::uuid[], $6::text[], $7::text[], $8::int[])
             with ordinality g(job, node, kind, waits, n)
         )
         insert into engine.workflow_edges (workflow, parent, child)
         select $1, e.parent, e.child from unnest($9::int[], $10::int[]) e(parent, child)",
    )
    .bind(plan.id.0)
    .bind(&plan.name)
    .bind(plan.policy.code())
    .bind(&plan.request_id)
    .bind(plan.jobs.iter().map(|j| j.id.0).collect::<Vec<_>>())
    .bind(plan.names.iter().map(String::as_str).collect::<Vec<_>>())
    .bind(plan.jobs.iter().map(|j| &*j.kind).collect::<Vec<_>>())
    .bind(&plan.waits_on)
    .bind(parents)
    .bind(children)
    .execute(connection)
    .await?;
    Ok(())
}
