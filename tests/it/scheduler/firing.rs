//! What fires, what is made up for, and the stored table.

use super::*;

/// A daily schedule that is due in about twelve hours, so that no test runs across a firing.
fn daily(hour_now: u32) -> &'static str {
    format!("0 0 {} * * *", (hour_now + 12) % 24).leak()
}

#[tokio::test]
async fn a_firing_that_is_written_down_is_never_made_again() {
    let test = TestDb::new().await;
    let Planned { spec, job } = tick();
    schedules::sync(&test.db, &[&spec]).await.unwrap();
    let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    for made in [1, 0] {
        // As if the cursor had been restored from an older backup.
        set_back(&test, "tick", at - chrono::Duration::seconds(1)).await;
        let cursor = at - chrono::Duration::seconds(1);
        let stretch = Stretch { name: "tick", cursor, fires: &[at], until: at };
        assert_eq!(schedules::fire(&test.db, &stretch, &job).await.unwrap().len(), made);
    }
    assert_eq!(jobs(&test).await.len(), 1);
}

#[tokio::test]
async fn missed_firings_follow_their_policy() {
    let test = TestDb::new().await;
    let now = Utc::now();
    let cron = daily(now.hour());
    let lines = || {
        vec![
            planned("skip", cron, MissedPolicy::Skip),
            planned("once", cron, MissedPolicy::Once),
            planned("all", cron, MissedPolicy::All),
            tick(),
        ]
    };
    let specs = lines();
    schedules::sync(&test.db, &specs.iter().map(|p| &p.spec).collect::<Vec<_>>()).await.unwrap();
    // The newest firing that is due, and five days without a scheduler before it.
    let next = switchyard_scheduler::next_fire(cron, "UTC", now).unwrap().unwrap();
    let due = |days: i64| next - chrono::Duration::days(days);
    for name in ["skip", "once", "all"] {
        set_back(&test, name, due(6)).await;
    }
    let running = start(&test, lines());
    // Rounds in which nothing more may happen.
    fired_at_least(&test.db, "tick", 3).await;
    running.stop().await;

    assert!(fired(&test.db, "skip").await.is_empty());
    assert_eq!(fired(&test.db, "once").await, [due(1)]);
    assert_eq!(fired(&test.db, "all").await, [due(5), due(4), due(3), due(2), due(1)]);
    let (_, rows) = schedules::list(&test.db).await.unwrap();
    for row in rows.iter().filter(|r| r.name != "tick") {
        assert_eq!(row.cursor(), due(1), "{} is dealt with up to now", row.name);
    }
}

#[tokio::test]
async fn a_thousand_are_made_up_for_at_most_the_newest() {
    let test = TestDb::new().await;
    let Planned { spec, .. } = planned("all", TICK, MissedPolicy::All);
    schedules::sync(&test.db, &[&spec]).await.unwrap();
    let began = Utc::now();
    set_back(&test, "all", began - chrono::Duration::days(3)).await;
    let running = start(&test, vec![planned("all", TICK, MissedPolicy::All)]);
    let made = fired_at_least(&test.db, "all", 1000).await;
    running.stop().await;
    let oldest = began - made[0];
    assert!((900..=1000).contains(&oldest.num_seconds()), "{oldest}");
    assert!(made.windows(2).all(|w| w[1] - w[0] == chrono::Duration::seconds(1)));
}

#[tokio::test]
async fn a_paused_schedule_rests_and_makes_nothing_up() {
    let test = TestDb::new().await;
    let lines = || vec![tick(), planned("other", TICK, MissedPolicy::All)];
    let running = start(&test, lines());
    fired_at_least(&test.db, "tick", 1).await;
    assert!(schedules::pause(&test.db, "tick", true).await.unwrap());
    let paused = fired(&test.db, "tick").await;
    let others = fired(&test.db, "other").await.len();
    fired_at_least(&test.db, "other", others + 3).await;
    assert_eq!(fired(&test.db, "tick").await, paused);

    let (resumed, _) = schedules::list(&test.db).await.unwrap();
    assert!(schedules::pause(&test.db, "tick", false).await.unwrap());
    let all = fired_at_least(&test.db, "tick", paused.len() + 1).await;
    assert!(all[paused.len()] > resumed, "{all:?}");
    assert!(!schedules::pause(&test.db, "no such schedule", true).await.unwrap());
    running.stop().await;
}

#[tokio::test]
async fn the_stored_table_follows_the_programs() {
    let test = TestDb::new().await;
    let sync = async |lines: &[Planned]| {
        let specs: Vec<_> = lines.iter().map(|p| &p.spec).collect();
        schedules::sync(&test.db, &specs).await.unwrap();
        schedules::list(&test.db).await.unwrap().1
    };
    let first = sync(&[tick(), planned("gone", TICK, MissedPolicy::Skip)]).await;
    assert_eq!(first.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["gone", "tick"]);
    schedules::pause(&test.db, "tick", true).await.unwrap();

    let same = sync(&[tick()]).await;
    assert_eq!(same.len(), 1);
    assert_eq!((same[0].since, same[0].paused), (first[1].since, true));

    let changed = sync(&[planned("tick", "0 0 4 * * *", MissedPolicy::Once)]).await;
    assert_eq!((changed[0].cron.as_str(), changed[0].policy.as_str()), ("0 0 4 * * *", "once"));
    assert!(changed[0].since > first[1].since, "other times are not missed times");
}

#[tokio::test]
async fn a_firing_whose_job_still_stands_points_at_it() {
    let test = TestDb::new().await;
    let Planned { spec, job } = tick();
    let job = NewJob { unique_key: Some("test.tick one".to_owned()), ..job };
    let running = start(&test, vec![Planned { spec, job }]);
    fired_at_least(&test.db, "tick", 3).await;
    running.stop().await;
    let firings = schedules::firings(&test.db, "tick", 100).await.unwrap();
    let standing = jobs(&test).await;
    assert_eq!(standing.len(), 1);
    assert!(firings.iter().all(|f| standing.contains(&f.job_id)));
}

#[tokio::test]
async fn old_firings_are_forgotten_and_stay_made() {
    let test = TestDb::new().await;
    let running = start(&test, vec![tick()]);
    fired_at_least(&test.db, "tick", 2).await;
    running.stop().await;
    let mut owner = test.owner().await;
    sqlx::query("update engine.schedule_fires set fired_at = now() - interval '20 days'")
        .execute(&mut owner)
        .await
        .unwrap();
    let all = fired(&test.db, "tick").await;
    let forgotten = schedules::forget_firings(&test.db, 14).await.unwrap();
    assert_eq!(forgotten, all.len() as u64 - 1, "all but the one at the cursor");
    assert_eq!(fired(&test.db, "tick").await, all[all.len() - 1..]);
}

#[test]
fn a_table_that_cannot_be_read_is_told_line_by_line() {
    let bad = planned("bad", "never", MissedPolicy::Skip).spec;
    let lost = ScheduleSpec { tz: "Atlantis", ..tick().spec };
    let faults = switchyard_scheduler::check(&[tick().spec, bad, lost]);
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.iter().any(|f| f.contains("`bad`") && f.contains("never")));
    assert!(faults.iter().any(|f| f.contains("twice")));
    assert!(faults.iter().any(|f| f.contains("Atlantis")));
}

#[tokio::test]
async fn a_line_that_cannot_be_read_holds_up_no_other() {
    let test = TestDb::new().await;
    let running = start(&test, vec![planned("bad", "never", MissedPolicy::Skip), tick()]);
    fired_at_least(&test.db, "tick", 1).await;
    running.stop().await;
}
