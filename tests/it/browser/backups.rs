//! Backups clicked through: take one, see it, verify it, and ask for a restore, which asks back.

use super::driver::Browser;
use crate::backup::support::{backups, good, seldom, until, work};
use crate::dashboard::support::Ops;
use std::sync::Arc;
use switchyard_catalog::Platform;
use switchyard_providers::Providers;
use switchyard_store::Scope;
use switchyard_store::backups::requests;
use switchyard_store::backups::runs::RunKind;
use switchyard_tests::TestDb;

const NOW: &str = "button[formaction='/ops/backups/now";

#[tokio::test]
async fn an_operator_takes_a_backup_verifies_it_and_confirms_a_restore() {
    let test = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    let made = Arc::new(backups(&test.url, &folder, seldom()));
    let ops = Ops::over(test, Some(Arc::clone(&made))).await;
    let platform = Platform {
        backups: Some(made),
        ..Platform::new(ops.db.clone(), Providers::capture(), "https://x.test/{id}")
    };
    let working = work(&platform);
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    browser.click("nav a[href='/ops/backups']").await;
    browser.until("the screen", "return document.title.startsWith('Backups')").await;
    assert!(browser.text("#main").await.contains("No run yet"));

    browser.click(&format!("{NOW}/full']")).await;
    browser.told("It is in the queue").await;
    let full =
        until("the full backup", async || good(&ops.db, RunKind::Full).await.into_iter().next())
            .await;
    let backup = full.backup.expect("a full backup has a name");
    browser.go(&ops, "/backups").await;
    let runs = browser.text("#main table.rows").await;
    assert!(runs.contains(&backup) && runs.contains("succeeded"), "{runs}");
    browser.click(&format!("{NOW}/verify']")).await;
    browser.told("It is in the queue").await;
    until("the verification", async || good(&ops.db, RunKind::Verify).await.into_iter().next())
        .await;
    browser.go(&ops, "/backups").await;
    assert!(browser.text("#main table.rows").await.contains("verify"));

    // The restore is asked for and confirmed; this test does not wait for a second database.
    working.stop().await;
    let restore = format!("form[action='/ops/backups/restore/{backup}'] button");
    browser.click(&restore).await;
    browser.until("it asks back", "return document.title.startsWith('Restore')").await;
    browser.fill("input[name=phrase]", "yes").await;
    browser.click("form[action^='/ops/backups/confirm/'] button").await;
    browser.told("Not done").await;
    assert_eq!(confirmed(&ops).await, 0, "half a confirmation is none");
    browser.client.set_window_size(390, 844).await.unwrap();
    browser.fits("/backups").await;
    browser.click(&restore).await;
    browser.until("it asks again", "return document.title.startsWith('Restore')").await;
    browser.fits("/backups/restore").await;
    browser.fill("input[name=phrase]", &backup).await;
    browser.click("form[action^='/ops/backups/confirm/'] button").await;
    browser.told("Confirmed; the restore is in the queue.").await;
    assert_eq!(confirmed(&ops).await, 1);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

async fn confirmed(ops: &Ops) -> usize {
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let asked = requests::list(&mut tx, 10).await.unwrap();
    asked.iter().filter(|r| r.confirmed_at.is_some()).count()
}
