//! How long finished jobs are kept: by the class of their kind, and dropped by it.

use super::support::{Bench, count, job, kind};
use sqlx::{AssertSqlSafe, PgConnection};
use switchyard_queue::{JobId, KindInfo, Options, Retention, SettleAs};
use switchyard_store::maintenance::{self, KeepDays};
use switchyard_store::{StoreFault, jobs};

const ALL: [Retention; 3] = [Retention::Standard, Retention::Short, Retention::Long];

/// From now on kind `k` is kept so.
pub async fn declare(bench: &Bench, retention: Retention) {
    bench.declare(KindInfo { retention, ..kind() }).await;
}

/// One finished job of each class.
async fn finished(bench: &Bench) -> Vec<JobId> {
    let mut ids = Vec::new();
    for class in ALL {
        declare(bench, class).await;
        let mine = bench.running(Options::new()).await;
        assert!(bench.settle(&mine, SettleAs::Completed).await);
        ids.push(mine.id);
    }
    ids
}

pub async fn class(owner: &mut PgConnection, id: JobId) -> i16 {
    sqlx::query_scalar("select class from engine.job_history where id = $1")
        .bind(id.0)
        .fetch_one(owner)
        .await
        .unwrap()
}

/// As if everything had finished so many days ago.
async fn age(owner: &mut PgConnection, days: u32) {
    let sql = format!("update engine.job_history set finished_at = now() - interval '{days} days'");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(owner).await.unwrap();
}

#[tokio::test]
async fn a_finished_job_goes_where_its_kind_says_by_every_way() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    // Nobody declared it: it is kept as most are.
    let unknown = bench.running(Options::new()).await;
    assert!(bench.settle(&unknown, SettleAs::Completed).await);
    assert_eq!(class(&mut owner, unknown.id).await, 0);
    for (wanted, id) in ALL.into_iter().zip(finished(&bench).await) {
        assert_eq!(class(&mut owner, id).await, wanted.code(), "settled by the worker");
        assert_eq!(jobs::show(&bench.test.db, id).await.unwrap().row.id, id);
    }
    for wanted in ALL {
        declare(&bench, wanted).await;
        let mine = bench.running(Options::new()).await;
        let tx = bench.test.db.begin_job(&mine).await.unwrap();
        tx.done().await.unwrap();
        assert_eq!(class(&mut owner, mine.id).await, wanted.code(), "in its own transaction");

        let waits = bench.enqueue(vec![job("old.k", Options::new())]).await[0].id;
        jobs::cancel(&bench.test.db, waits).await.unwrap();
        assert_eq!(class(&mut owner, waits).await, wanted.code(), "cancelled by an operator");
        let again = jobs::retry(&bench.test.db, waits).await.unwrap();
        assert_ne!(again.id, waits, "a copy of what is in history");
        jobs::cancel(&bench.test.db, again.id).await.unwrap();
    }
    let rows = jobs::list(&bench.test.db, &Default::default()).await.unwrap();
    assert_eq!(rows.len(), 1 + 3 + 3 * 3, "the list reads all classes");
}

#[tokio::test]
async fn each_class_is_dropped_when_its_own_days_are_over() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let mut owner = bench.test.owner().await;
    sqlx::raw_sql("select engine.ensure_slices(current_date - 40, 45)")
        .execute(&mut owner)
        .await
        .unwrap();
    let ids = finished(&bench).await;
    let there = async || {
        let mut there = Vec::new();
        for (class, id) in ALL.into_iter().zip(&ids) {
            match jobs::find(db, *id).await {
                Ok(_) => there.push(class.as_str()),
                Err(fault) => assert!(matches!(fault, StoreFault::NotFound), "{fault}"),
            }
        }
        there
    };
    let keep = KeepDays::default();
    for (days, left) in [
        (0, vec!["standard", "short", "long"]),
        (3, vec!["standard", "long"]),
        (14, vec!["standard", "long"]),
        (16, vec!["long"]),
        (399, vec!["long"]),
    ] {
        age(&mut owner, days).await;
        maintenance::drop_slices(db, keep).await.unwrap();
        assert_eq!(there().await, left, "after {days} days");
    }
    // Nobody made a slice for a day so long ago, so it lies in the default one.
    assert_eq!(count(&mut owner, "select count(*) from engine.job_history_2_default").await, 1);
    age(&mut owner, 402).await;
    maintenance::drop_slices(db, keep).await.unwrap();
    assert_eq!(there().await, Vec::<&str>::new());
    // Whatever was dropped, what is to come has its place.
    maintenance::ensure_slices(db).await.unwrap();
    finished(&bench).await;
    let stray =
        "select count(*) from engine.job_history where tableoid::regclass::text ~ 'default$'";
    assert_eq!(count(&mut owner, stray).await, 0);
}

#[tokio::test]
async fn long_history_is_sliced_by_months_without_a_gap() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    sqlx::raw_sql("select engine.ensure_slices('2031-01-30', 32)")
        .execute(&mut owner)
        .await
        .unwrap();
    let slices: Vec<String> = sqlx::query_scalar(
        "select c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid) from pg_class c
         where c.relname ~ '^job_history_2_2031' and c.relkind = 'r' order by 1",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(slices.len(), 3, "January, February, March: {slices:?}");
    assert!(slices[1].starts_with("job_history_2_20310201"), "{slices:?}");
    for (slice, first, after) in [
        (0, "2031-01-01", "2031-02-01"),
        (1, "2031-02-01", "2031-03-01"),
        (2, "2031-03-01", "2031-04-01"),
    ] {
        assert!(slices[slice].contains(first) && slices[slice].contains(after), "{slices:?}");
    }
    // A month is dropped as a whole, once its last day is old enough.
    let drop = |day: &str| {
        let sql = format!("select engine.drop_slices(array[null, null, date '{day}'])");
        AssertSqlSafe(sql)
    };
    let left =
        "select count(*) from pg_class where relname ~ '^job_history_2_2031' and relkind = 'r'";
    sqlx::raw_sql(drop("2031-01-31")).execute(&mut owner).await.unwrap();
    assert_eq!(count(&mut owner, left).await, 3);
    sqlx::raw_sql(drop("2031-02-01")).execute(&mut owner).await.unwrap();
    assert_eq!(count(&mut owner, left).await, 2);
}
