//! Server-sent events.

use super::support::{Ops, person, within};
use std::time::{Duration, Instant};
use switchyard_store::jobs;

#[tokio::test]
async fn a_lead_travels_live_within_a_second() {
    let ops = Ops::new().await;
    ops.work();
    let session = ops.sign_in().await;
    // The first of its kind warms everything up; the second is timed.
    ops.arrived(ops.deliver(&person("w-1", "Warm", "Up")).await).await;
    let mut events = session.live("/ops/live?on=overview").await;
    events.until("lines", |data| data.contains("Warm Up")).await;
    let begun = Instant::now();
    ops.deliver(&person("s-1", "Live", "Lead\r\ndata: x")).await;
    let line = events
        .until("lines", |data| {
            let row =
                data.split("<tr").find(|row| row.contains("s-1@") || row.contains("Live Lead"));
            row.is_some_and(|row| row.matches("stop done").count() == 5)
        })
        .await;
    assert!(line.contains("jan@nordhaus.test"));
    // The claim is one second; the bound leaves room for a machine that is busy with other tests.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_job_s_row_is_sent_when_it_changes_and_only_to_who_shows_it() {
    let ops = Ops::new().await;
    let session = ops.sign_in().await;
    let (mine, other) = (ops.dead_letter().await, ops.dead_letter().await);
    let mut events = session.live(&format!("/ops/live?jobs={mine},nonsense")).await;
    events.until("row", |data| data.contains("st-discarded")).await;
    jobs::retry(&ops.db, other).await.unwrap();
    jobs::cancel(&ops.db, mine).await.unwrap();
    let row = events.until("row", |data| !data.contains("st-discarded")).await;
    assert!(row.contains(&mine.to_string()) && row.contains("st-cancelled"), "{row}");
    assert!(row.contains(r#"hx-swap-oob="true""#));
}

#[tokio::test]
async fn nothing_is_sent_while_nothing_changes_and_nobody_polls_when_nobody_looks() {
    let ops = Ops::new().await;
    let session = ops.sign_in().await;
    let mut events = session.live("/ops/live").await;
    events.until("newest", |_| true).await;
    events.until("health", |_| true).await;
    let quiet = tokio::time::timeout(Duration::from_millis(1500), events.next()).await;
    assert!(quiet.is_err(), "an event without a change: {quiet:?}");
    assert!(idle(&ops).await < Duration::from_secs(1), "the poller looks");
    drop(events);
    within(Duration::from_secs(10), "the poller ends", async || {
        (idle(&ops).await > Duration::from_millis(1500)).then_some(())
    })
    .await;
    // And begins again for the next viewer.
    session.live("/ops/live").await.until("newest", |_| true).await;
}

/// How long the application's connections have not been asked anything.
async fn idle(ops: &Ops) -> Duration {
    let seconds: f64 = sqlx::query_scalar(
        "select coalesce(extract(epoch from clock_timestamp() - max(query_start)), 3600)::float8
         from pg_stat_activity
         where datname = current_database() and application_name = 'switchyard engine'",
    )
    .fetch_one(&mut ops.test.owner().await)
    .await
    .unwrap();
    Duration::from_secs_f64(seconds.max(0.0))
}

#[tokio::test]
async fn open_streams_do_not_hold_a_shutdown_up() {
    let ops = Ops::new().await;
    let session = ops.sign_in().await;
    let mut events = session.live("/ops/live?on=overview").await;
    events.until("tiles", |_| true).await;
    let begun = Instant::now();
    ops.shutdown.cancel();
    while events.next().await.is_some() {}
    let served = tokio::time::timeout(Duration::from_secs(10), ops.server).await;
    served.expect("the server ends").unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
