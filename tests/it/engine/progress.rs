//! Progress at the store: fenced, out of everybody's way, and missed when it stays away.

use super::support::{Bench, count, held, job, kind};
use sqlx::{AssertSqlSafe, PgConnection};
use std::time::Duration;
use switchyard_queue::{
    Fence, Held, JobId, JobState, JobStore, KindInfo, Options, Report, SettleAs,
};
use switchyard_store::jobs::{self, Filter, JobFilter, Reason, Verdict};

const ALLOWED: Duration = Duration::from_secs(3600);

fn half() -> Report {
    Report { fraction: Some(0.5), note: "half".to_owned() }
}

/// Kind `k` may be silent for an hour.
async fn watched() -> Bench {
    let bench = Bench::new().await;
    bench.declare(KindInfo { stuck_after: Some(ALLOWED), ..kind() }).await;
    bench
}

async fn age(owner: &mut PgConnection, column: &str, hours: u32) {
    let sql = format!("update engine.jobs set {column} = {column} - interval '{hours} hours'");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(owner).await.unwrap();
}

async fn stuck(bench: &Bench) -> Vec<JobId> {
    let filter = JobFilter { stuck: true, ..JobFilter::default() };
    let rows = jobs::list(&bench.test.db, &filter).await.unwrap();
    let total: i64 = jobs::stuck(&bench.test.db).await.unwrap().iter().map(|k| k.n).sum();
    assert_eq!(total, i64::try_from(rows.len()).unwrap(), "the count and the list agree");
    assert!(rows.iter().all(|r| r.stuck_since.is_some()));
    let filter = Filter { stuck: true, ..Filter::default() };
    let found = jobs::search(&bench.test.db, &filter, None, 0).await.unwrap();
    let ids = |rows: &[jobs::JobRow]| rows.iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!((ids(&found.rows), found.next), (ids(&rows), None), "the search and the list agree");
    rows.into_iter().map(|r| r.id).collect()
}

#[tokio::test]
async fn only_the_holder_is_believed() {
    let bench = Bench::new().await;
    let mine = bench.running(Options::new()).await;
    let waits = bench.enqueue(vec![job("k", Options::new())]).await[0].id;
    let others = [
        (Held { id: mine.id, fence: Fence(mine.fence.0 - 1) }, half()),
        (Held { id: waits, fence: Fence(0) }, half()),
        (Held { id: JobId::new(), fence: Fence(1) }, half()),
    ];
    assert_eq!(bench.store.report(&others).await.unwrap(), []);
    assert_eq!(bench.store.report(&[(held(&mine), half())]).await.unwrap(), [mine.id]);
    assert!(bench.settle(&mine, SettleAs::Retry(Duration::ZERO, super::support::failure())).await);
    assert_eq!(bench.store.report(&[(held(&mine), half())]).await.unwrap(), [], "it is over");
    let row = jobs::find(&bench.test.db, mine.id).await.unwrap();
    assert_eq!((row.progress, row.progress_note), (None, None), "of a job that does not run");
}

#[tokio::test]
async fn what_is_written_so_often_is_in_no_index() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let indexed = "select count(*) from pg_index i join pg_attribute a on a.attrelid = i.indrelid
                   where i.indrelid = 'engine.jobs'::regclass and a.attname ~ '^progress'
                     and (a.attnum = any (i.indkey) or pg_get_indexdef(i.indexrelid) ~ a.attname)";
    assert_eq!(count(&mut owner, indexed).await, 0);
    let columns = "select count(*) from pg_attribute
                   where attrelid = 'engine.jobs'::regclass and attname ~ '^progress'";
    assert_eq!(count(&mut owner, columns).await, 3);
}

#[tokio::test]
async fn a_job_that_stays_silent_is_stuck_until_it_says_something() {
    let bench = watched().await;
    let mut owner = bench.test.owner().await;
    let mine = bench.running(Options::new()).await;
    assert_eq!(stuck(&bench).await, [], "it has just begun");
    age(&mut owner, "claimed_at", 2).await;
    assert_eq!(stuck(&bench).await, [mine.id], "it never said a word");

    bench.store.report(&[(held(&mine), half())]).await.unwrap();
    assert_eq!(stuck(&bench).await, []);
    age(&mut owner, "progress_at", 2).await;
    // Now the word is as old as the claim.
    age(&mut owner, "claimed_at", 1).await;
    assert_eq!(stuck(&bench).await, [mine.id]);
    let why = jobs::why(&bench.test.db, mine.id).await.unwrap();
    let codes: Vec<_> = why.reasons.iter().map(Reason::code).collect();
    assert_eq!((why.verdict, codes), (Verdict::Running, vec!["running", "progress", "stuck"]));
    assert!(why.reasons[2].message().contains("3600 s"), "{:?}", why.reasons[2].message());

    let none = JobFilter { stuck: true, state: Some(JobState::Available), ..JobFilter::default() };
    assert_eq!(jobs::list(&bench.test.db, &none).await.unwrap(), []);
    let other = JobFilter { stuck: true, kind: Some("x".to_owned()), ..JobFilter::default() };
    assert_eq!(jobs::list(&bench.test.db, &other).await.unwrap(), []);
    assert!(bench.settle(&mine, SettleAs::Snooze(Duration::from_secs(9))).await);
    assert_eq!(stuck(&bench).await, [], "it does not run");
    let why = jobs::why(&bench.test.db, mine.id).await.unwrap();
    assert!(why.reasons.iter().all(|r| r.code() != "stuck"), "{why:?}");
}

#[tokio::test]
async fn a_kind_that_said_nothing_of_it_is_never_stuck() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    bench.running(Options::new()).await;
    age(&mut owner, "claimed_at", 1000).await;
    assert_eq!(stuck(&bench).await, []);
    assert_eq!(jobs::stuck(&bench.test.db).await.unwrap(), []);
}
