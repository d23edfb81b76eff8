//! Statements whose plans must not depend on what the statistics say of a queue: it is empty most of the time,
//! and analysed then.

use super::support::{Bench, claim_as, failure, held, job, settlement};
use std::time::Duration;
use switchyard_queue::{ClaimedJob, JobStore, Options, SettleAs};

const WAITING: i64 = 200_000;
/// Each took many seconds when the list was compared with every row, and takes some ten
/// milliseconds as it is.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn results_are_written_soon_where_a_full_queue_is_taken_for_empty() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new().unique_by("first"))]).await;
    fill_and_take_for_empty(&bench).await;
    let mine = claim_as(&bench.store, bench.presence.id, 500, super::support::LONG, &[]).await;
    assert_eq!(mine.len(), 500);

    let all: Vec<_> = mine.iter().map(held).collect();
    let renewed = soon("renew", bench.store.renew(&all, super::support::LONG)).await.unwrap();
    assert_eq!(renewed.len(), 500);
    let write = async |what, part: &[ClaimedJob], how: &dyn Fn() -> SettleAs| {
        let results: Vec<_> = part.iter().map(|j| settlement(j, how())).collect();
        soon(what, bench.store.settle(&results)).await.unwrap().len()
    };
    let again = || SettleAs::Retry(Duration::from_secs(60), failure());
    assert_eq!(write("fail", &mine[..400], &again).await, 400);
    assert_eq!(write("complete", &mine[400..], &|| SettleAs::Completed).await, 100);
}

/// Fills the queue with as many jobs, each with a unique key, and has the tables analysed before anybody can
/// see them.
async fn fill_and_take_for_empty(bench: &Bench) {
    let mut owner = bench.test.owner().await;
    sqlx::raw_sql("begin").execute(&mut owner).await.unwrap();
    for fill in [
        "insert into engine.jobs (id, lane, kind, priority, run_at, stage, max_attempts, timeout_ms, args,
           created_at, unique_key)
         select gen_random_uuid(), lane, kind, priority, run_at, stage, max_attempts, timeout_ms, args,
           created_at, 'k ' || n from engine.jobs, generate_series(1, $1) n",
        "insert into engine.job_uniques (key, job_id)
         select unique_key, id from engine.jobs where $1 > 0 on conflict do nothing",
    ] {
        sqlx::query(fill).bind(WAITING).execute(&mut owner).await.unwrap();
    }
    let analyze = "analyze engine.jobs, engine.job_uniques";
    sqlx::raw_sql(analyze).execute(&mut bench.test.owner().await).await.unwrap();
    sqlx::raw_sql("commit").execute(&mut owner).await.unwrap();
}

async fn soon<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, done).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}
