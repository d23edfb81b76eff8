//! Schedulers against a real database: who leads, what fires, what is made up for.
#![allow(clippy::unwrap_used)]

mod firing;
mod leading;

use chrono::{DateTime, Timelike, Utc};
use serde_json::json;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use switchyard_queue::{MissedPolicy, NewJob, Options, ScheduleSpec};
use switchyard_scheduler::{Planned, SchedulerConfig};
use switchyard_store::schedules::{self, Stretch};
use switchyard_store::{Db, Scope};
use switchyard_tests::TestDb;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const TICK: &str = "* * * * * *";

fn planned(name: &'static str, cron: &'static str, missed: MissedPolicy) -> Planned {
    let args = json!({ "schedule": name });
    let timeout = Duration::from_secs(30);
    let job = NewJob::raw("test.tick", "test", timeout, args.clone(), Options::new());
    Planned { spec: ScheduleSpec { name, cron, tz: "UTC", kind: "test.tick", args, missed }, job }
}

fn tick() -> Planned {
    planned("tick", TICK, MissedPolicy::All)
}

/// One scheduler, as a process of its own would run it.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn start(test: &TestDb, schedules: Vec<Planned>) -> Running {
    start_with(test, schedules, SchedulerConfig::default())
}

fn start_with(test: &TestDb, schedules: Vec<Planned>, config: SchedulerConfig) -> Running {
    let db = test.with_wake(test.db.wake().clone());
    let stop = CancellationToken::new();
    let task = tokio::spawn(switchyard_scheduler::run(db, schedules, config, stop.clone()));
    Running { stop, task }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("an end").unwrap();
    }
}

/// Asks again and again until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn fired(db: &Db, name: &str) -> Vec<DateTime<Utc>> {
    let firings = schedules::firings(db, name, 5000).await.unwrap();
    firings.iter().rev().map(|f| f.fire_time).collect()
}

async fn fired_at_least(db: &Db, name: &str, n: usize) -> Vec<DateTime<Utc>> {
    let enough = async || Some(fired(db, name).await).filter(|times| times.len() >= n);
    until("enough firings", enough).await
}

/// The backend that holds the lead.
async fn leader(test: &TestDb) -> Option<i32> {
    sqlx::query_scalar(
        "select l.pid from pg_locks l join pg_database d on d.oid = l.database
          where l.locktype = 'advisory' and l.granted and d.datname = current_database()
            and l.classid = $1::int4::oid and l.objsubid = 2",
    )
    .bind(0x5357_4c44)
    .fetch_optional(&mut test.owner().await)
    .await
    .unwrap()
}

/// How many jobs wait, and how many different firings they say they are of.
async fn jobs(test: &TestDb) -> HashSet<uuid::Uuid> {
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar("select id from engine.jobs")
        .fetch_all(&mut test.owner().await)
        .await
        .unwrap();
    ids.into_iter().collect()
}

async fn set_back(test: &TestDb, name: &str, last_fire: DateTime<Utc>) {
    let done = sqlx::query(
        "update engine.schedules set since = $2 - interval '1 day', last_fire = $2 where name = $1",
    )
    .bind(name)
    .bind(last_fire)
    .execute(&mut test.owner().await)
    .await
    .unwrap();
    assert_eq!(done.rows_affected(), 1);
}
