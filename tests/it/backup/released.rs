//! A restored system keeps still until it is released: counted at the receiver's socket.

use super::support::{Yard, beside, open_jobs, seldom, until, work};
use crate::outbound::support::{key, policy};
use std::sync::Arc;
use std::time::Duration;
use switchyard_backup::RestorePlan;
use switchyard_backup::Silent;
use switchyard_backup::restore::Destination;
use switchyard_catalog::Platform;
use switchyard_catalog::alarms::Alarms;
use switchyard_catalog::backup::{self as catalog, Mark, RunFault};
use switchyard_catalog::line::Cause;
use switchyard_catalog::outbound::{self as manage, Settings};
use switchyard_providers::{Providers, Webhooks};
use switchyard_queue::{MissedPolicy, NewJob, ScheduleSpec};
use switchyard_store::backups::restored;
use switchyard_store::backups::runs::{Came, RunKind, RunState};
use switchyard_store::schedules::{self, Stretch};
use switchyard_store::{Db, DbConfig, Scope, StoreFault, jobs};
use switchyard_tests::fakes::FakeReceiver;

fn providers() -> Providers {
    Providers::capture().sending_webhooks(Webhooks::new(policy(), key()).unwrap())
}

/// An endpoint with a webhook that nobody has sent yet.
async fn waiting_webhook(db: &Db, receiver: &FakeReceiver) {
    let settings = Settings {
        url: receiver.url(),
        description: String::new(),
        events: vec!["lead.*".to_owned()],
        rate: None,
    };
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    let made = manage::create(&mut tx, &key(), &policy(), None, false, settings).await.unwrap();
    manage::test(&mut tx, made.endpoint.id, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
}

/// The restored platform: the same providers over the other database.
async fn restored_platform(yard: &Yard) -> Platform {
    let (name, to) = beside(&yard.test.url);
    let plan = RestorePlan {
        destination: Destination::New { name: Some(name) },
        ..RestorePlan::newest(to.clone())
    };
    let vault = &yard.backups().vault;
    switchyard_backup::restore(vault, &plan, &Silent, &Mark).await.unwrap();
    let wake = Arc::clone(yard.platform.db.wake());
    let db = Db::connect(DbConfig::new(to), wake).unwrap();
    let backups = yard.platform.backups.clone();
    Platform { backups, ..Platform::new(db, providers(), "https://app.example.test/{id}") }
}

#[tokio::test]
async fn nothing_leaves_a_restored_system_until_it_is_released() {
    let receiver = FakeReceiver::start().await;
    let yard = Yard::over(seldom(), providers(), Alarms::default(), |b| b).await;
    waiting_webhook(&yard.platform.db, &receiver).await;
    // Taken by hand, so that no worker sends what waits.
    let b = yard.backups();
    let db = &yard.platform.db;
    let taken = catalog::in_process(db, b, RunKind::Full, "cli:test", || async {
        let taken =
            switchyard_backup::full(&b.source, &b.vault, Default::default(), &Silent).await?;
        Ok(catalog::came(&taken))
    });
    let taken: Came = taken.await.unwrap();
    assert!(taken.backup.is_some());

    let other = restored_platform(&yard).await;
    assert!(restored::awaits_release(&other.db).await.unwrap());
    assert!(!restored::awaits_release(db).await.unwrap(), "the source is not marked");
    let working = work(&other);
    // A worker that serves all queues is there, and the webhook is due.
    until("the worker", async || {
        jobs::workers(&other.db).await.unwrap().iter().any(|w| w.is_live()).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.record().counts().requests, 0, "nothing may leave");
    assert!(open_jobs(&other.db, "webhook.send").await > 0, "it waits");

    // Not by the back door either.
    let queue = jobs::pause(&other.db, "outbound", false).await;
    let refusal = queue.expect_err("a single queue is not let go on");
    assert_eq!(refusal.constraint(), Some("released_first"));

    let released = catalog::release(&other.db, "cli:test").await.unwrap();
    assert_eq!(released.released_by.as_deref(), Some("cli:test"));
    receiver.record().wait_for(1).await;
    let again = catalog::release(&other.db, "cli:test").await;
    assert!(matches!(again, Err(StoreFault::NotFound)), "released once: {again:?}");
    working.stop().await;
}

#[tokio::test]
async fn a_restored_system_writes_into_no_chain_and_fires_no_schedule() {
    let yard = Yard::new(seldom()).await;
    let working = yard.work();
    assert_eq!(yard.run(RunKind::Full).await.state, RunState::Succeeded);
    working.stop().await;
    let other = restored_platform(&yard).await;
    let b = yard.backups();
    let refused = catalog::in_process(&other.db, b, RunKind::Incremental, "cli:test", || async {
        Ok(Came::default())
    });
    assert!(matches!(refused.await, Err(RunFault::NotReleased)));

    let spec = ScheduleSpec {
        name: "tick",
        cron: "* * * * * *",
        tz: "UTC",
        kind: "backup.watch",
        args: serde_json::json!({}),
        missed: MissedPolicy::All,
    };
    schedules::sync(&other.db, &[&spec]).await.unwrap();
    let fire = async || {
        let (now, rows) = schedules::list(&other.db).await.unwrap();
        let cursor = rows.iter().find(|r| r.name == "tick").unwrap().cursor();
        let stretch = Stretch { name: "tick", cursor, fires: &[now], until: now };
        let job = NewJob::of(&catalog::WatchBackups {}).unwrap();
        schedules::fire(&other.db, &stretch, &job).await.unwrap().len()
    };
    assert_eq!(fire().await, 0, "it does not fire");
    catalog::release(&other.db, "cli:test").await.unwrap();
    assert_eq!(fire().await, 1);
}

#[tokio::test]
async fn a_queue_that_is_new_in_a_restored_system_is_born_paused() {
    let yard = Yard::new(seldom()).await;
    let working = yard.work();
    assert_eq!(yard.run(RunKind::Full).await.state, RunState::Succeeded);
    working.stop().await;
    let other = restored_platform(&yard).await;
    let late = NewJob::raw(
        "leads.rescan_unassigned",
        "brand-new",
        Duration::from_secs(30),
        serde_json::json!({}),
        switchyard_queue::Options::new(),
    );
    super::support::enqueue(&other.db, late).await;
    let queues = jobs::queues(&other.db).await.unwrap();
    assert!(queues.iter().all(|q| q.paused), "{queues:?}");
    catalog::release(&other.db, "cli:test").await.unwrap();
    let queues = jobs::queues(&other.db).await.unwrap();
    assert!(queues.iter().any(|q| q.queue == "brand-new" && !q.paused), "{queues:?}");
}
