//! Callers that go away in the middle: a client that hangs up, a chore that is stopped.

use futures::FutureExt;
use sqlx::PgConnection;
use std::time::Duration;
use switchyard_store::Scope;
use switchyard_tests::TestDb;

#[tokio::test]
async fn a_begin_that_is_cut_off_leaves_no_connection_inside_a_transaction() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    // Warm, so that what is cut off is `begin` and not the connecting.
    test.db.ping().await.unwrap();
    let mut cut = 0;
    for polls in (1..=6).cycle().take(120) {
        let mut begin = Box::pin(test.db.begin(Scope::Platform));
        let mut ended = false;
        for _ in 0..polls {
            if begin.as_mut().now_or_never().is_some() {
                ended = true;
                break;
            }
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
        cut += u32::from(!ended);
        drop(begin);
        assert!(none_is_inside(&mut owner).await, "cut off after {polls} looks");
    }
    assert!(cut >= 10, "only {cut} were cut off");
}

/// A rollback that is on its way arrives; a transaction that nobody knows of stays.
async fn none_is_inside(owner: &mut PgConnection) -> bool {
    for _ in 0..40 {
        let inside: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database()
             and state like 'idle in transaction%' and application_name = 'switchyard app'",
        )
        .fetch_one(&mut *owner)
        .await
        .unwrap();
        if inside == 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
