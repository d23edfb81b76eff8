//! Statements whose plans must not depend on what the statistics say of a queue: it is empty most of the time,
//! and analysed then.

use super::support::{Bench, LONG, claim_as, failure, held, job, reads_when_alone, settlement};
use switchyard_queue::{
    ClaimRequest, ClaimedJob, JobStore, LaneTake, Options, Place, SettleAs, Stretch,
};
use switchyard_store::{DbConfig, PgJobStore};
use switchyard_tests::TestDb;

const WAITING: i64 = 200_000;
/// What 500 jobs may make a statement read; a list that is compared with every row reads all that wait.
const FEW: i64 = 20_000;

#[tokio::test]
async fn results_are_written_by_few_reads_where_a_full_queue_is_taken_for_empty() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new().unique_by("first"))]).await;
    fill_and_take_for_empty(&bench).await;
    let mine = claim_as(&bench.store, bench.presence.id, 500, LONG, &[]).await;
    assert_eq!(mine.len(), 500);
    let Bench { test, store, presence: _here } = bench;
    drop(store);
    test.db.close().await;

    let all: Vec<_> = mine.iter().map(held).collect();
    let renewed =
        few_reads(&test, "renew", async |store| store.renew(&all, LONG).await.unwrap().len());
    assert_eq!(renewed.await, 500);
    let written = async |what, part: &[ClaimedJob], how: &dyn Fn() -> SettleAs| {
        let results: Vec<_> = part.iter().map(|j| settlement(j, how())).collect();
        let settle = async |store: PgJobStore| store.settle(&results).await.unwrap().len();
        few_reads(&test, what, settle).await
    };
    let again = || SettleAs::Retry(LONG, failure());
    assert_eq!(written("fail", &mine[..400], &again).await, 400);
    assert_eq!(written("complete", &mine[400..], &|| SettleAs::Completed).await, 100);
}

#[tokio::test]
async fn a_claim_out_of_turn_reads_few_rows_where_a_full_queue_is_taken_for_empty() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new().unique_by("first"))]).await;
    bench.enqueue((0..30).map(|_| job("k", Options::new().priority(5))).collect()).await;
    fill_and_take_for_empty(&bench).await;
    let Bench { test, store, presence } = bench;
    let lane = store.active_lanes(&["q".to_owned()]).await.unwrap()[0].lane;
    drop(store);
    test.db.close().await;

    // As a worker asks: some that are less urgent, and the rest of what is urgent, by ranges that
    // share no place.
    let urgent = Stretch { last_priority: 0, ..Stretch::whole() };
    let others = Stretch { after: Place { priority: 0, ..Place::last() }, ..Stretch::whole() };
    let take = |take, stretch| LaneTake { stretches: vec![stretch], ..LaneTake::whole(lane, take) };
    let lanes = [take(20, others), take(80, urgent)];
    let kinds = ["k".to_owned()];
    let claim = async |store: PgJobStore| {
        let request = ClaimRequest {
            worker: presence.id,
            kinds: &kinds,
            lanes: &lanes,
            lease: LONG,
            dead: &[],
            alone: false,
        };
        store.claim(&request).await.unwrap().jobs
    };
    let jobs = few_reads(&test, "claim out of turn", claim).await;
    assert_eq!(jobs.len(), 100);
    assert_eq!(jobs.iter().filter(|j| j.priority == 5).count(), 20);
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
           created_at, 'k ' || n from engine.jobs, generate_series(1, $1) n where unique_key is not null",
        "insert into engine.job_uniques (key, job_id)
         select unique_key, id from engine.jobs where $1 > 0 and unique_key is not null
         on conflict do nothing",
    ] {
        sqlx::query(fill).bind(WAITING).execute(&mut owner).await.unwrap();
    }
    let analyze = "analyze engine.jobs, engine.job_uniques";
    sqlx::raw_sql(analyze).execute(&mut bench.test.owner().await).await.unwrap();
    sqlx::raw_sql("commit").execute(&mut owner).await.unwrap();
}

/// What `done` answers, if it reads few rows of the queue. A session tells what it read when it ends.
async fn few_reads<T>(test: &TestDb, what: &str, done: impl AsyncFnOnce(PgJobStore) -> T) -> T {
    const OF: &[&str] = &["engine.jobs", "engine.job_uniques"];
    let mut owner = test.owner().await;
    let before = reads_when_alone(&mut owner, OF).await;
    let db = test.reached_by(DbConfig::new(test.url.clone()));
    let answer = done(PgJobStore::new(&db)).await;
    db.close().await;
    let read = reads_when_alone(&mut owner, OF).await - before;
    assert!((1..FEW).contains(&read), "{what} reads {read} rows");
    answer
}
