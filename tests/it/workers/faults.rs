//! The database goes away, in part or whole.

use super::stage::{Act, Stage, brisk, eventually};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::time::{Duration, Instant};
use switchyard_queue::{JobState, Options};
use switchyard_tests::server_url;
use switchyard_workers::WorkerConfig;

/// A connection to the server that survives what is done to the test's database, and its name.
pub async fn admin(stage: &Stage) -> (PgConnection, String) {
    let mut owner = stage.test.owner().await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&mut owner).await.unwrap();
    (PgConnection::connect(&server_url()).await.unwrap(), name)
}

/// Ends the connections of this name (`%` for all).
pub async fn cut(admin: &mut PgConnection, database: &str, application: &str) -> i64 {
    sqlx::query_scalar(
        "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
         where datname = $1 and application_name like $2",
    )
    .bind(database)
    .bind(application)
    .fetch_one(admin)
    .await
    .unwrap()
}

async fn allow(admin: &mut PgConnection, database: &str, allowed: bool) {
    let sql = format!("alter database {database} with allow_connections {allowed}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.unwrap();
}

#[tokio::test]
async fn a_worker_whose_presence_is_cut_stops_its_jobs_and_comes_back_under_a_new_number() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let id = stage.enqueue(Act::Obey, Options::new()).await;
    let first = stage.running(id, 0).await;
    let (mut admin, name) = admin(&stage).await;
    assert_eq!(cut(&mut admin, &name, "switchyard presence").await, 1);

    let second = stage.running(id, 1).await;
    assert_ne!(first.job.worker, second.job.worker);
    assert!(stage.record.runs_of(id)[0].ended, "the first attempt was stopped");
    let (attempt, crashes) = (second.job.attempt, second.job.crashes);
    assert_eq!((attempt, crashes), (1, 0), "no attempt was used up, nobody is to blame");
    eventually("the old number is found dead", async || {
        (stage.live_workers().await == [second.job.worker]).then_some(())
    })
    .await;
    // What comes next is claimed under the new number.
    let next = stage.enqueue(Act::Finish, Options::new()).await;
    stage.until(next, JobState::Completed).await;
    assert_eq!(stage.record.runs_of(next)[0].job.worker, second.job.worker);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_wait_while_the_database_is_away_and_go_on_when_it_is_back() {
    let stage = Stage::new().await;
    let workers = [stage.worker(brisk()), stage.worker(brisk())];
    let acts = (0..500).map(|n| (Act::Finish, Options::new().partition(n % 3))).collect();
    stage.enqueue_all(acts).await;
    let slow = stage.enqueue(Act::Wait("go".to_owned()), Options::new().priority(-1)).await;
    stage.running(slow, 0).await;

    let (mut admin, name) = admin(&stage).await;
    allow(&mut admin, &name, false).await;
    let away = Instant::now();
    eventually("the database was away for a second and a half", async || {
        cut(&mut admin, &name, "%").await;
        (away.elapsed() > Duration::from_millis(1500)).then_some(())
    })
    .await;
    stage.record.open("go");
    allow(&mut admin, &name, true).await;

    stage.completed(501).await;
    let more = stage.enqueue(Act::Finish, Options::new()).await;
    stage.until(more, JobState::Completed).await;
    eventually("both workers are back", async || {
        (stage.live_workers().await.len() == 2).then_some(())
    })
    .await;
    for worker in workers {
        worker.leave().await;
    }
    let mut owner = stage.test.owner().await;
    let (all, different): (i64, i64) =
        sqlx::query_as("select count(*), count(distinct id) from engine.job_history")
            .fetch_one(&mut owner)
            .await
            .unwrap();
    assert_eq!((all, different), (502, 502), "each job ended once");
    let open: i64 =
        sqlx::query_scalar("select count(*) from engine.jobs").fetch_one(&mut owner).await.unwrap();
    assert_eq!(open, 0);
}

#[tokio::test]
async fn a_worker_leaves_even_if_the_database_is_away() {
    let stage = Stage::new().await;
    let config = WorkerConfig { drain_timeout: Duration::from_millis(500), ..brisk() };
    let worker = stage.worker(config);
    let id = stage.enqueue(Act::Wait("go".to_owned()), Options::new()).await;
    stage.running(id, 0).await;
    let (mut admin, name) = admin(&stage).await;
    allow(&mut admin, &name, false).await;
    cut(&mut admin, &name, "%").await;
    stage.record.open("go");
    // 10 s for the last results, which cannot be written, and a little for the rest.
    let took = worker.leave().await;
    assert!(took < Duration::from_secs(15), "{took:?}");
    allow(&mut admin, &name, true).await;
}

#[tokio::test]
async fn cutting_any_one_connection_loses_nothing() {
    let stage = Stage::new().await;
    let worker = stage.worker(brisk());
    let (mut admin, name) = admin(&stage).await;
    let mut done = 0;
    for line in ["switchyard claim", "switchyard settle", "switchyard renew"] {
        let acts = (0..50).map(|_| (Act::Finish, Options::new())).collect();
        stage.enqueue_all(acts).await;
        eventually("a connection was cut", async || {
            (cut(&mut admin, &name, line).await > 0).then_some(())
        })
        .await;
        done += 50;
        stage.completed(done).await;
    }
    worker.leave().await;
    assert_eq!(stage.live_workers().await, []);
}
