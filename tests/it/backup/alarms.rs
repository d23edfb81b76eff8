//! Alarms at a real mail server and a real webhook, when something goes wrong and when it is over.

use super::support::{Yard, good, seldom, until};
use crate::outbound::support::policy;
use std::time::Duration;
use switchyard_catalog::alarms::Alarms;
use switchyard_catalog::backup::{Backups, Promise};
use switchyard_providers::{GuardedClient, Providers};
use switchyard_store::Scope;
use switchyard_store::backups::alarms::{self, Alarm};
use switchyard_store::backups::runs::{RunKind, RunState};
use switchyard_tests::fakes::{FakeReceiver, FakeSmtp, text_of};

fn told(url: String) -> Alarms {
    Alarms {
        email: vec!["ops@example.com".to_owned()],
        webhook: Some(url),
        client: Some(GuardedClient::new(policy()).unwrap()),
        repeat: Duration::from_secs(3600),
    }
}

async fn open(yard: &Yard) -> Vec<Alarm> {
    let mut tx = yard.platform.db.begin(Scope::Platform).await.unwrap();
    alarms::open(&mut tx).await.unwrap()
}

#[tokio::test]
async fn a_broken_promise_is_told_once_by_mail_and_webhook_and_its_end_too() {
    let (smtp, receiver) = (FakeSmtp::start().await, FakeReceiver::start().await);
    let providers = Providers::from_config(&smtp.config(None)).unwrap();
    // What was promised is broken as soon as the backup is a second old.
    let hasty =
        |b: Backups| Backups { promise: Promise { rpo: Duration::from_secs(1), ..b.promise }, ..b };
    let mut yard = Yard::over(seldom(), providers, told(receiver.url()), hasty).await;
    let working = yard.work();
    assert_eq!(yard.run(RunKind::Full).await.state, RunState::Succeeded);
    tokio::time::sleep(Duration::from_secs(2)).await;
    yard.watch().await;
    // Other alarms may come before it.
    let mail = until("the mail", async || {
        let mails = smtp.record().accepted();
        mails.into_iter().find(|m| m.body["subject"] == "[Switchyard critical] backup.rpo")
    })
    .await;
    assert_eq!(mail.recipient, "ops@example.com");
    let drills = super::support::all(&yard.platform.db, RunKind::Drill).await;
    assert!(drills.iter().all(|d| d.state != RunState::Failed), "{drills:?}");
    until("the webhook", async || {
        let hooks = receiver.record().accepted();
        let told = |text: String| {
            let hook: serde_json::Value = serde_json::from_str(&text).unwrap();
            hook["alarm"] == "backup.rpo" && hook["state"] == "open"
        };
        hooks.iter().any(|hook| told(text_of(hook))).then_some(())
    })
    .await;
    let alarms = open(&yard).await;
    assert!(alarms.iter().any(|a| a.key == "backup.rpo" && a.told_at.is_some()), "{alarms:?}");

    // Looked at again: it stands, and nobody is told a second time.
    let told = || {
        let mails = smtp.record().accepted();
        mails.iter().filter(|m| m.body["subject"] == "[Switchyard critical] backup.rpo").count()
    };
    let before = told();
    yard.watch().await;
    until("the second look", async || {
        (super::support::open_jobs(&yard.platform.db, "backup.watch").await == 0).then_some(())
    })
    .await;
    assert_eq!(told(), before);
    working.stop().await;

    // With a promise that holds it is over, and that is told.
    let patient = yard.backups().clone();
    let promise = Promise { rpo: Duration::from_secs(10 * 24 * 3600), ..patient.promise };
    yard.platform.backups = Some(std::sync::Arc::new(Backups { promise, ..patient }));
    let _working = yard.work();
    yard.watch().await;
    let mails = until("the end", async || {
        let mails = smtp.record().accepted();
        let over = mails.iter().any(|m| m.body["subject"] == "[Switchyard over] backup.rpo");
        over.then_some(mails)
    })
    .await;
    assert!(mails.len() >= 2);
    assert!(open(&yard).await.iter().all(|a| a.key != "backup.rpo"));
}

#[tokio::test]
async fn an_archive_that_is_away_is_an_alarm_and_the_failed_run_is_on_record() {
    let yard = Yard::new(seldom()).await;
    // A file where the folder should be.
    let place = yard.folder.path().join("full");
    std::fs::write(&place, "in the way").unwrap();
    let _working = yard.work();
    let run = yard.run(RunKind::Full).await;
    assert_eq!(run.state, RunState::Failed);
    assert!(run.error.is_some_and(|e| !e.is_empty()));
    yard.watch().await;
    until("the alarm", async || {
        open(&yard).await.iter().any(|a| a.key == "backup.failed.full").then_some(())
    })
    .await;
    std::fs::remove_file(&place).unwrap();
    // The failed one's own next try may come before it, and have begun with the file in the way.
    yard.run(RunKind::Full).await;
    until("a full backup", async || (all_states(&yard).await.0 == 1).then_some(())).await;
    yard.watch().await;
    until("its end", async || {
        open(&yard).await.iter().all(|a| a.key != "backup.failed.full").then_some(())
    })
    .await;
    assert_eq!(all_states(&yard).await, (1, 1), "a failure stays on record");
}

async fn all_states(yard: &Yard) -> (usize, usize) {
    let runs = super::support::all(&yard.platform.db, RunKind::Full).await;
    let n = |state| runs.iter().filter(|r| r.state == state).count();
    (n(RunState::Succeeded).min(1), n(RunState::Failed).min(1))
}

#[tokio::test]
async fn a_drill_of_a_damaged_backup_fails_and_says_why() {
    let yard = Yard::new(seldom()).await;
    let _working = yard.work();
    yard.run(RunKind::Full).await;
    assert_eq!(good(&yard.platform.db, RunKind::Full).await.len(), 1);
    // One byte of one file.
    let data = walk(yard.folder.path()).into_iter().find(|p| p.ends_with(".copy.gz.age")).unwrap();
    let mut bytes = std::fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let drill = yard.run(RunKind::Drill).await;
    assert_eq!(drill.state, RunState::Failed);
    assert!(drill.error.is_some());
    let verify = yard.run(RunKind::Verify).await;
    assert_eq!(verify.state, RunState::Failed, "{verify:?}");
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
