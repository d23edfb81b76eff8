//! Searching: every filter finds exactly the jobs that meet it, in open jobs, in today's history, in
//! past days and in sealed ones; sealing is done once.

use super::support::{Bench, count, job};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::collections::BTreeSet;
use switchyard_queue::{Entropy, JobState, Options, SeededEntropy, SettleAs};
use switchyard_store::jobs::{self, ArgMatch, Cursor, Filter, filter_of};
use switchyard_store::{Db, maintenance};
use uuid::Uuid;

/// What the plain rule knows of a job.
#[derive(Clone, Debug)]
struct Known {
    id: Uuid,
    lane: i32,
    kind: &'static str,
    state: JobState,
    tenant: Option<Uuid>,
    args: Value,
    error: Option<String>,
    request: Option<String>,
    worker: Option<i64>,
    fingerprint: Option<String>,
    created: DateTime<Utc>,
    finished: Option<DateTime<Utc>>,
}

const KINDS: [&str; 3] = ["k", "l.m", "n_o"];
const ERRORS: [&str; 5] = [
    "error: 50% of it",
    "panic: at_the disco",
    "timeout: \\o/ Zażółć",
    "error: it' or 1=1 --",
    "ab",
];
/// Queue and partition by lane, made in this order.
const LANES: [(&str, &str); 3] = [("q", ""), ("q", "p"), ("r", "p")];

struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, n: usize) -> usize {
        ((self.0.unit() * n as f64) as usize).min(n - 1)
    }

    fn one<T: Clone>(&self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn maybe<T>(&self, some: impl FnOnce(&Self) -> T) -> Option<T> {
        (self.below(3) == 0).then(|| some(self))
    }

    fn tenant(&self) -> Uuid {
        Uuid::from_u128(1 + self.below(2) as u128)
    }

    fn args(&self) -> Value {
        let value = match self.below(5) {
            0 => json!(self.below(3)),
            1 => json!(self.below(3).to_string()),
            2 => json!(self.below(2) == 0),
            3 => json!(null),
            _ => json!("x' \" % \\ ż"),
        };
        match self.below(4) {
            0 => json!({ "a": value }),
            1 => json!({ "a": { "b": value }, "n": self.below(3) }),
            2 => json!({ "items": [{ "b": value }, { "b": 7 }] }),
            _ => Value::Null,
        }
    }

    fn known(&self, lanes: &[i32], now: DateTime<Utc>) -> Known {
        let state = self.one(&JobState::ALL);
        let state = if self.below(3) == 0 {
            state
        } else {
            self.one(&[JobState::Completed, JobState::Cancelled])
        };
        let finished =
            state.is_final().then(|| now - TimeDelta::seconds(self.below(4 * 86_400) as i64));
        let created = finished.unwrap_or(now) - TimeDelta::seconds(self.below(100_000) as i64);
        let running = state == JobState::Running;
        Known {
            id: Uuid::now_v7(),
            lane: self.one(lanes),
            kind: self.one(&KINDS),
            state,
            tenant: self.maybe(Self::tenant),
            args: self.args(),
            error: self.maybe(|d| d.one(&ERRORS).to_owned()),
            request: self.maybe(|d| format!("r{}", d.below(3))),
            worker: (running || (state.is_final() && self.below(2) == 0))
                .then(|| 1 + self.below(2) as i64),
            fingerprint: if state.is_final() {
                None
            } else {
                self.maybe(|d| format!("f{}", d.below(2)))
            },
            created,
            finished,
        }
    }

    /// A filter of up to four random conditions, whose values are sometimes those of a job.
    fn filter(&self, now: DateTime<Utc>) -> Filter {
        let mut filter = Filter::default();
        let ago = |d: &Self| (now - TimeDelta::seconds(d.below(5 * 86_400) as i64)).to_rfc3339();
        for _ in 0..=self.below(4) {
            let (name, value) = match self.below(16) {
                0 | 1 => ("state", self.one(&JobState::ALL).to_string()),
                2 => ("state", "discarded,quarantined,cancelled".to_owned()),
                3 | 4 => ("kind", self.one(&KINDS).to_owned()),
                5 => ("queue", self.one(&["q", "r", "none"]).to_owned()),
                6 => ("partition", "p".to_owned()),
                7 => ("tenant", self.tenant().to_string()),
                8 | 9 => {
                    let path = self.one(&["a", "a.b", "n", "items[].b", "none"]);
                    let value = self.one(&["0", "1", "\"1\"", "true", "null", "x' \" % \\ ż", "7"]);
                    ("arg", format!("{path}={value}"))
                }
                10 | 11 => {
                    let text =
                        ["50%", "t_t", "IT' OR 1=1", "\\o/", "ab", "b", "error", "%", "_", "disco"];
                    ("error", self.one(&text).to_owned())
                }
                12 => ("request_id", format!("r{}", self.below(3))),
                13 => ("worker", (1 + self.below(2)).to_string()),
                14 => self.one(&["created_from", "created_to"].map(|n| (n, ago(self)))),
                _ => match self.below(3) {
                    0 => ("finished_from", ago(self)),
                    1 => ("finished_to", ago(self)),
                    _ => ("fingerprint", format!("f{}", self.below(2))),
                },
            };
            filter.set(name, &value).unwrap();
        }
        filter
    }
}

/// `@>` of PostgreSQL, for objects, lists of objects and plain values.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(w), Value::Object(p)) => {
            p.iter().all(|(k, v)| w.get(k).is_some_and(|w| contains(w, v)))
        }
        (Value::Array(w), Value::Array(p)) => p.iter().all(|p| w.iter().any(|w| contains(w, p))),
        (w, p) => w == p,
    }
}

/// The plain rule.
fn meets(k: &Known, f: &Filter) -> bool {
    let (queue, partition) = LANES[k.lane as usize - 1];
    let some = |wanted: &Option<String>, has: Option<&str>| {
        wanted.as_deref().is_none_or(|w| has == Some(w))
    };
    let error = |text: &String| {
        k.error.as_ref().is_some_and(|e| e.to_lowercase().contains(&text.to_lowercase()))
    };
    let arg = |a: &ArgMatch| a.documents().iter().any(|d| contains(&k.args, d));
    (f.states.is_empty() || f.states.contains(&k.state))
        && (f.kinds.is_empty() || f.kinds.iter().any(|x| x == k.kind))
        && some(&f.queue, Some(queue))
        && some(&f.partition, Some(partition))
        && f.tenant.is_none_or(|t| k.tenant == Some(t))
        && f.args.iter().all(arg)
        && f.error.as_ref().is_none_or(error)
        && some(&f.request_id, k.request.as_deref())
        && f.worker.is_none_or(|w| k.worker == Some(w))
        && some(&f.fingerprint, k.fingerprint.as_deref())
        && f.created_from.is_none_or(|t| k.created >= t)
        && f.created_to.is_none_or(|t| k.created < t)
        && f.finished_from.is_none_or(|t| k.finished.is_some_and(|at| at >= t))
        && f.finished_to.is_none_or(|t| k.finished.is_some_and(|at| at < t))
}

async fn store(owner: &mut PgConnection, k: &Known) {
    if k.finished.is_some() {
        sqlx::query(
            "insert into engine.job_history (id, class, lane, kind, priority, outcome, attempt, max_attempts,
               crashes, timeout_ms, worker, tenant, args, error, request_id, created_at, run_at, finished_at)
             values ($1, hashtext($1::text) & 2, $2, $3, 0, $4, 1, 9, 0, 1000, $5, $6, $7, $8, $9, $10, $10,
               $11)",
        )
        .bind(k.id)
        .bind(k.lane)
        .bind(k.kind)
        .bind(k.state.code())
        .bind(k.worker)
        .bind(k.tenant)
        .bind(&k.args)
        .bind(&k.error)
        .bind(&k.request)
        .bind(k.created)
        .bind(k.finished)
        .execute(owner)
        .await
        .unwrap();
        return;
    }
    let (stage, attempt): (i16, i16) = match k.state {
        JobState::Scheduled => (1, 0),
        JobState::Retryable => (1, 1),
        JobState::Pending => (2, 0),
        JobState::Quarantined => (4, 0),
        JobState::Discarded => (5, 1),
        _ => (0, 0),
    };
    sqlx::query(
        "with counted as (insert into engine.counter_deltas values ($2, $3, $13, 1))
         insert into engine.jobs (id, lane, kind, stage, attempt, max_attempts, timeout_ms, worker,
           claimed_at, lease_until, tenant, args, last_error, request_id, fingerprint, created_at)
         values ($1, $2, $3, $4, $5, 9, 1000, $6, case when $6::int8 is not null then now() end,
           case when $6::int8 is not null then now() end, $7, $8, $9, $10, $11, $12)",
    )
    .bind(k.id)
    .bind(k.lane)
    .bind(k.kind)
    .bind(stage)
    .bind(attempt)
    .bind(k.worker)
    .bind(k.tenant)
    .bind(&k.args)
    .bind(&k.error)
    .bind(&k.request)
    .bind(&k.fingerprint)
    .bind(k.created)
    .bind(k.state.code())
    .execute(owner)
    .await
    .unwrap();
}

/// Everything that is found, page after page; fails if a job comes twice.
async fn found(db: &Db, filter: &Filter, page: u32) -> BTreeSet<Uuid> {
    let (mut all, mut cursor) = (BTreeSet::new(), None);
    loop {
        let found = jobs::search(db, filter, cursor, page).await.unwrap();
        assert!(found.rows.len() <= page as usize);
        for row in found.rows {
            assert!(all.insert(row.id.0), "{} comes twice with {filter:?}", row.id);
        }
        match found.next {
            // As it goes over the wire.
            Some(next) => cursor = Some(next.to_string().parse::<Cursor>().unwrap()),
            None => return all,
        }
    }
}

/// Slices for some past days and lanes for the queues.
async fn ground(owner: &mut PgConnection) -> Vec<i32> {
    sqlx::raw_sql("select engine.ensure_slices(current_date - 5, 6); insert into engine.queues values ('q'), ('r')")
        .execute(&mut *owner)
        .await
        .unwrap();
    let mut lanes = Vec::new();
    for (queue, partition) in LANES {
        let lane = "insert into engine.lanes (queue, partition) values ($1, $2) returning id";
        let lane = sqlx::query_scalar(lane).bind(queue).bind(partition);
        lanes.push(lane.fetch_one(&mut *owner).await.unwrap());
    }
    assert_eq!(lanes, [1, 2, 3]);
    lanes
}

#[tokio::test]
async fn every_filter_finds_exactly_what_meets_it() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    let lanes = ground(&mut owner).await;
    let dice = Dice(SeededEntropy::new(11));
    let now = Utc::now().duration_trunc(TimeDelta::microseconds(1)).unwrap();
    let all: Vec<Known> = (0..700).map(|_| dice.known(&lanes, now)).collect();
    for known in &all {
        store(&mut owner, known).await;
    }
    let (mut some, mut none) = (0, 0);
    // With no day sealed, some of them (of each class), and all.
    for seals in [0, 6, 6] {
        for _ in 0..seals {
            maintenance::seal_slice(db).await.unwrap();
        }
        for _ in 0..120 {
            let filter = dice.filter(now);
            let expected: BTreeSet<Uuid> =
                all.iter().filter(|k| meets(k, &filter)).map(|k| k.id).collect();
            let page = 1 + 3 * u32::try_from(dice.below(90)).unwrap();
            assert_eq!(found(db, &filter, page).await, expected, "{filter:?}");
            if expected.is_empty() { none += 1 } else { some += 1 }
        }
    }
    assert!(some > 100 && none > 20, "{some} with, {none} without jobs: the filters prove little");
}

#[tokio::test]
async fn what_is_frequent_is_found_whole_too() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    ground(&mut owner).await;
    // More than an index is asked for at once, over all days and on one.
    sqlx::raw_sql(
        "insert into engine.job_history (id, lane, kind, priority, outcome, attempt, max_attempts, crashes,
           timeout_ms, args, error, created_at, run_at, finished_at)
         select gen_random_uuid(), 1, 'k', 0, 8, 1, 9, 0, 1000, jsonb_build_object('n', n % 2), 'often', t, t, t
         from (select n, current_date - case when n < 5200 then 2 else 3 end + n % 7000 * interval '9 s' as t
               from generate_series(1, 7000) n) s",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    while maintenance::seal_slice(db).await.unwrap() > 0 {}
    assert_eq!(found(db, &filter_of([("arg", "n=1")]).unwrap(), 999).await.len(), 3500);
    assert_eq!(found(db, &filter_of([("error", "OFTEN")]).unwrap(), 1000).await.len(), 7000);
    let rows = jobs::search(db, &filter_of([("arg", "n=0")]).unwrap(), None, 5).await.unwrap().rows;
    assert!(rows.windows(2).all(|w| w[0].finished_at > w[1].finished_at), "the latest first");
}

#[tokio::test]
async fn a_day_is_sealed_once_when_it_is_over_whoever_comes() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    sqlx::raw_sql("select engine.ensure_slices(current_date - 3, 4)")
        .execute(&mut owner)
        .await
        .unwrap();
    // A retention class of its own, as it would be added later.
    sqlx::raw_sql(
        "create table engine.job_history_7 partition of engine.job_history for values in (7) partition by range (finished_at);
         create table engine.job_history_7_default partition of engine.job_history_7 default;
         select engine.ensure_slice('job_history_7', 'finished_at', current_date - 2)",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let seals = (0..12).map(|_| async { maintenance::seal_slice(db).await.unwrap() });
    let mut sealed: u64 = futures::future::join_all(seals).await.into_iter().sum();
    while maintenance::seal_slice(db).await.unwrap() > 0 {
        sealed += 1;
    }
    assert_eq!(maintenance::seal_slice(db).await.unwrap(), 0);
    let indexes = "select count(*) from pg_indexes where schemaname = 'engine' and indexname like '%\\_sealed\\_%'";
    // Before ten past midnight yesterday is not over yet.
    let over = count(
        &mut owner,
        "select (1 + 2 * (today - first) + (date_trunc('month', today) > date_trunc('month', first))::int)::int8
         from (select ((now() at time zone 'UTC') - interval '10 minutes')::date, current_date - 3)
           t(today, first)",
    );
    let over = over.await;
    assert_eq!(i64::try_from(sealed).unwrap(), over, "of days and of a month, no slice twice");
    assert_eq!(count(&mut owner, indexes).await, 3 * over);
    let of_today =
        "select count(*) from engine.history_spans() where sealed and past > current_date";
    assert_eq!(count(&mut owner, of_today).await, 0, "today is written to");
    let refused = sqlx::raw_sql("set role switchyard_app; select engine.seal_slice()");
    assert!(refused.execute(&mut owner).await.is_err(), "the application seals nothing");
}

#[tokio::test]
async fn a_page_that_takes_too_long_says_how_far_it_looked() {
    let bench = Bench::new().await;
    let (db, mut owner) = (&bench.test.db, bench.test.owner().await);
    let id = bench.enqueue(vec![job("k", Options::new().partition("deep"))]).await[0].id;
    let mine = bench.claim(1).await.pop().unwrap();
    assert!(bench.settle(&mine, SettleAs::Completed).await);
    // What finished later is more than one page can look through.
    sqlx::raw_sql(
        "insert into engine.job_history (id, lane, kind, priority, outcome, attempt, max_attempts, crashes,
           timeout_ms, args, created_at, run_at, finished_at)
         select gen_random_uuid(), 1, 'k', 0, 8, 1, 9, 0, 1000, '{}', now(), now(), now() + n * interval '1 ms'
         from generate_series(1, 150000) n",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let filter = filter_of([("arg", "n=1")]).unwrap();
    let first = jobs::search(db, &filter, None, 50).await.unwrap();
    assert!(first.rows.is_empty(), "it lies deeper: {first:?}");
    let looked = first.looked_back_to.expect("a time to which it looked");
    assert!(looked > Utc::now() - TimeDelta::hours(1) && first.next.is_some());
    assert_eq!(found(db, &filter, 50).await, BTreeSet::from([id.0]), "going on finds it");
}
