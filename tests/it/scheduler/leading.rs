//! Who leads, and that two leaders do no harm.

use super::*;

#[tokio::test]
async fn two_schedulers_make_every_firing_once_and_leave_none_out() {
    let test = TestDb::new().await;
    let running = [start(&test, vec![tick()]), start(&test, vec![tick()])];
    fired_at_least(&test.db, "tick", 4).await;
    for scheduler in running {
        scheduler.stop().await;
    }
    let firings = schedules::firings(&test.db, "tick", 100).await.unwrap();
    for pair in firings.windows(2) {
        assert_eq!(pair[0].fire_time - pair[1].fire_time, chrono::Duration::seconds(1));
        assert!(pair[0].fired_at >= pair[0].fire_time, "never early");
    }
    let of_firings: HashSet<_> = firings.iter().map(|f| f.job_id).collect();
    assert_eq!(of_firings.len(), firings.len(), "a job for each");
    assert_eq!(jobs(&test).await, of_firings, "and no job besides");
}

#[tokio::test]
async fn of_many_that_believe_to_lead_one_deals_with_a_stretch() {
    let test = TestDb::new().await;
    let Planned { spec, job } = tick();
    schedules::sync(&test.db, &[&spec]).await.unwrap();
    let (_, rows) = schedules::list(&test.db).await.unwrap();
    let cursor = rows[0].cursor();
    // Each saw a later firing as the newest of those that were missed.
    let tries = (1..=8).map(|n| {
        let (db, job) = (test.db.clone(), job.clone());
        async move {
            let at = cursor + chrono::Duration::seconds(n);
            let stretch = Stretch { name: "tick", cursor, fires: &[at], until: at };
            schedules::fire(&db, &stretch, &job).await.unwrap().len()
        }
    });
    let made: usize = futures::future::join_all(tries).await.into_iter().sum();
    assert_eq!(made, 1);
    assert_eq!(fired(&test.db, "tick").await.len(), 1);
    assert_eq!(jobs(&test).await.len(), 1);
}

#[tokio::test]
async fn a_leader_whose_connection_is_cut_is_replaced_within_five_seconds() {
    let test = TestDb::new().await;
    let running = [start(&test, vec![tick()]), start(&test, vec![tick()])];
    let first = until("a leader", async || leader(&test).await).await;
    fired_at_least(&test.db, "tick", 1).await;
    sqlx::query("select pg_terminate_backend($1)")
        .bind(first)
        .execute(&mut test.owner().await)
        .await
        .unwrap();
    let cut = Instant::now();
    let next = async || leader(&test).await.filter(|pid| *pid != first);
    until("another leader", next).await;
    assert!(cut.elapsed() < Duration::from_secs(5), "{:?}", cut.elapsed());
    let before = fired(&test.db, "tick").await.len();
    let all = fired_at_least(&test.db, "tick", before + 2).await;
    assert!(all.windows(2).all(|w| w[1] - w[0] == chrono::Duration::seconds(1)), "{all:?}");
    for scheduler in running {
        scheduler.stop().await;
    }
}

#[tokio::test]
async fn a_leader_that_vanishes_is_replaced_within_five_seconds() {
    let test = TestDb::new().await;
    let first = start(&test, vec![tick()]);
    let pid = until("a leader", async || leader(&test).await).await;
    let standby = start(&test, vec![tick()]);
    fired_at_least(&test.db, "tick", 1).await;
    // No good-bye: its sockets are closed in the middle of whatever it does, as a kill would.
    first.task.abort();
    let killed = Instant::now();
    until("another leader", async || leader(&test).await.filter(|p| *p != pid)).await;
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    let before = fired(&test.db, "tick").await.len();
    fired_at_least(&test.db, "tick", before + 2).await;
    standby.stop().await;
}

#[tokio::test]
async fn a_scheduler_that_stops_in_good_order_leaves_the_lead_to_the_standby() {
    let test = TestDb::new().await;
    let first = start(&test, vec![]);
    let pid = until("a leader", async || leader(&test).await).await;
    let standby = start(&test, vec![]);
    first.stop().await;
    let stopped = Instant::now();
    until("another leader", async || leader(&test).await.filter(|p| *p != pid)).await;
    assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
    standby.stop().await;
    until("nobody leads", async || leader(&test).await.is_none().then_some(())).await;
}

#[tokio::test]
async fn the_leader_promotes_what_is_due_and_folds_the_counters() {
    let test = TestDb::new().await;
    let options = Options::new().delay(Duration::from_millis(700));
    let job = NewJob::raw("test.later", "test", Duration::from_secs(5), json!({}), options);
    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    tx.enqueue(job).await.unwrap();
    tx.commit().await.unwrap();
    let running = start(&test, vec![]);
    let mut owner = test.owner().await;
    until("the job is available and counted as that", async || {
        sqlx::query_scalar::<_, i32>(
            "select 1 from engine.jobs j join engine.counters c using (lane, kind)
              where j.stage = 0 and c.state = 0 and c.n = 1
                and not exists (select from engine.counter_deltas)",
        )
        .fetch_optional(&mut owner)
        .await
        .unwrap()
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn the_metrics_tell_who_leads_and_what_fired() {
    // The only test of this process that installs one.
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    let test = TestDb::new().await;
    let running = start(&test, vec![tick()]);
    let all = fired_at_least(&test.db, "tick", 2).await.len();
    let told = || metrics.render();
    assert!(told().contains("switchyard_scheduler_leader 1"), "{}", told());
    running.stop().await;
    let count = "switchyard_schedule_fires_total{schedule=\"tick\"} ";
    let text = told();
    let line = text.lines().find_map(|l| l.strip_prefix(count)).expect("a counter");
    assert!(line.parse::<usize>().unwrap() >= all, "{line}");
    assert!(text.contains("switchyard_schedule_lag_seconds_count{schedule=\"tick\"}"), "{text}");
    assert!(text.contains("switchyard_scheduler_leader 0"), "{text}");
}
