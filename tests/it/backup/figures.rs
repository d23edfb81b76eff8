//! What the record of runs says: how much could have been lost, and which run was the last.

use chrono::{DateTime, TimeDelta, Utc};
use switchyard_store::Scope;
use switchyard_store::backups::runs::{self, Figures, RunKind};
use switchyard_tests::TestDb;

/// A run on record.
struct Past {
    kind: &'static str,
    /// Minutes after the beginning.
    began: i64,
    ended: i64,
    covers: Option<i64>,
    evidence: Option<&'static str>,
}

fn taken(kind: &'static str, minute: i64) -> Past {
    Past { kind, began: minute, ended: minute, covers: Some(minute), evidence: None }
}

fn failed(minute: i64) -> Past {
    Past { kind: "incremental", began: minute, ended: minute, covers: None, evidence: None }
}

async fn write_down(test: &TestDb, begin: DateTime<Utc>, runs: &[Past]) {
    let mut owner = test.owner().await;
    let at = |minute: i64| begin + TimeDelta::minutes(minute);
    for run in runs {
        let (state, error) = match run.covers {
            Some(_) => ("succeeded", None),
            None => ("failed", Some("it broke")),
        };
        sqlx::query(
            "insert into switchyard.backup_runs
               (id, kind, state, asked_by, covers, evidence, error, began_at, finished_at)
             values (gen_random_uuid(), $1, $2, 'schedule', $3, $4::jsonb, $5, $6, $7)",
        )
        .bind(run.kind)
        .bind(state)
        .bind(run.covers.map(at))
        .bind(run.evidence)
        .bind(error)
        .bind(at(run.began))
        .bind(at(run.ended))
        .execute(&mut owner)
        .await
        .unwrap();
    }
}

async fn figures(test: &TestDb) -> Figures {
    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    runs::figures(&mut tx, 3600.0).await.unwrap()
}

#[tokio::test]
async fn an_outage_of_backups_counts_and_a_night_that_the_system_was_off_does_not() {
    let test = TestDb::new().await;
    let begin = Utc::now() - TimeDelta::days(3);
    let mut past = vec![taken("full", 0)];
    past.extend((1..=6).map(|n| taken("incremental", n * 10)));
    // Off for a day: nothing was tried.
    past.extend([taken("incremental", 1500), taken("incremental", 1510)]);
    write_down(&test, begin, &past).await;
    let quiet = figures(&test).await;
    assert_eq!(quiet.rpo_worst, Some(600.0), "{quiet:?}");

    // The archive was away for two hours, and every attempt failed.
    let outage = [failed(1520), failed(1550), failed(1600), taken("incremental", 1630)];
    write_down(&test, begin, &outage).await;
    let after = figures(&test).await;
    assert_eq!(after.rpo_worst, Some(7200.0), "{after:?}");
    assert!(after.rpo_p99 > quiet.rpo_p99, "{after:?}");
    assert_eq!((after.ended, after.succeeded), (13, 10), "{after:?}");
}

#[tokio::test]
async fn an_increment_that_a_migration_made_needless_is_no_failure_and_a_full_backup_ends_the_gap()
{
    let test = TestDb::new().await;
    let begin = Utc::now() - TimeDelta::days(1);
    let wants = Past { evidence: Some(r#"{"full_needed": "a migration"}"#), ..failed(20) };
    let past = [taken("full", 0), taken("incremental", 10), wants, taken("full", 21)];
    write_down(&test, begin, &past).await;
    let found = figures(&test).await;
    assert_eq!((found.ended, found.succeeded), (3, 3), "{found:?}");
    assert_eq!(found.rpo_worst, Some(660.0), "{found:?}");
}

#[tokio::test]
async fn a_run_that_was_stamped_by_a_clock_ahead_is_not_the_last_one() {
    let test = TestDb::new().await;
    let begin = Utc::now() - TimeDelta::hours(1);
    let year = 365 * 1440;
    let past = [taken("full", 0), taken("incremental", year), taken("incremental", 30)];
    write_down(&test, begin, &past).await;
    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    let latest = runs::latest(&mut tx).await.unwrap();
    let increment = latest.iter().find(|r| r.kind == RunKind::Incremental).unwrap();
    assert!(increment.began_at < Utc::now(), "{increment:?}");
    assert_eq!(runs::awaited(&mut tx).await.unwrap(), None, "there is a full backup");
}

#[tokio::test]
async fn a_first_full_backup_is_awaited_from_the_first_look_on() {
    let test = TestDb::new().await;
    let awaited = async || {
        let mut tx = test.db.begin(Scope::Platform).await.unwrap();
        runs::awaited(&mut tx).await.unwrap()
    };
    assert_eq!(awaited().await, None, "nobody has looked yet");
    let job = switchyard_catalog::backup::by_hand(RunKind::Full, "schedule").unwrap();
    super::support::enqueue(&test.db, job).await;
    assert!(awaited().await.is_some());
    let begin = Utc::now() - TimeDelta::hours(2);
    let tried = Past { kind: "full", ..failed(0) };
    write_down(&test, begin, &[tried]).await;
    let since = awaited().await.unwrap();
    assert!((since - begin).num_seconds().abs() < 1, "since the first attempt: {since}");
}
