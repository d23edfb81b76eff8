//! The slices of history: made ahead, made around what fell into the default, dropped when old.

use super::support::{Bench, count};
use switchyard_queue::{Options, SettleAs};
use switchyard_store::maintenance::KeepDays;
use switchyard_store::{jobs, maintenance};

#[tokio::test]
async fn a_missing_slice_stops_no_result_and_is_made_around_the_rows() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    // The database was made yesterday if it is just after midnight.
    maintenance::ensure_slices(&bench.test.db).await.unwrap();
    sqlx::raw_sql("select engine.drop_slices(current_date + 30)")
        .execute(&mut owner)
        .await
        .unwrap();
    let mine = bench.running(Options::new()).await;
    assert!(bench.settle(&mine, SettleAs::Completed).await);
    let in_default = "select count(*) from engine.job_history_0_default";
    assert_eq!(count(&mut owner, in_default).await, 1);

    let made = maintenance::ensure_slices(&bench.test.db).await.unwrap();
    assert_eq!(made, 18, "yesterday, today and a week, of two tables");
    assert_eq!(maintenance::ensure_slices(&bench.test.db).await.unwrap(), 0);
    assert_eq!(count(&mut owner, in_default).await, 0);
    assert_eq!(jobs::find(&bench.test.db, mine.id).await.unwrap().id, mine.id);
    let indexed = "select count(*) from pg_indexes where tablename = 'job_history_0_'
                   || to_char(now() at time zone 'UTC', 'YYYYMMDD')";
    assert_eq!(count(&mut owner, indexed).await, 4, "as the parent has");
}

#[tokio::test]
async fn old_slices_are_dropped_with_their_rows() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    sqlx::raw_sql("select engine.ensure_slices(current_date - 40, 45)")
        .execute(&mut owner)
        .await
        .unwrap();
    let mine = bench.running(Options::new()).await;
    assert!(bench.settle(&mine, SettleAs::Completed).await);
    let keep = KeepDays { standard: 30, short: 35, long: 40 };
    let dropped = maintenance::drop_slices(&bench.test.db, keep).await.unwrap();
    assert_eq!(dropped, 25, "ten days of two tables, five days of what is kept for a short time");
    assert!(jobs::find(&bench.test.db, mine.id).await.is_ok(), "today's stay");
}
