//! Partitions that are paused by hand, drains, and the pages of what runs, wide and on a phone.

use super::driver::Browser;
use crate::dashboard::support::Ops;
use crate::engine::support::{LONG, claim_as, info, job, kind};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use switchyard_queue::{JobStore, KindInfo, Options, WorkerInfo};
use switchyard_store::effects::{self, EffectOutcome};
use switchyard_store::{PgJobStore, Scope, jobs};

/// In a wide window and on a phone, if somebody wants to look at the page.
async fn shoot(browser: &Browser, ops: &Ops, path: &str, name: &str) {
    for (size, (width, height)) in [("wide", (1440, 900)), ("phone", (390, 844))] {
        browser.client.set_window_size(width, height).await.unwrap();
        browser.go(ops, path).await;
        if size == "phone" {
            browser.fits(path).await;
        }
        let Some(folder) = std::env::var_os("SWITCHYARD_TEST_SCREENSHOTS") else { continue };
        let whole = "return Math.ceil(document.documentElement.scrollHeight) + 100";
        let height = browser.run(whole).await.as_u64().unwrap_or(900);
        let height = u32::try_from(height).unwrap_or(900);
        browser.client.set_window_size(width, height).await.unwrap();
        let file = PathBuf::from(folder).join(format!("{name}-{size}.png"));
        std::fs::write(file, browser.client.screenshot().await.unwrap()).unwrap();
    }
    browser.client.set_window_size(1440, 900).await.unwrap();
}

#[tokio::test]
async fn an_operator_pauses_a_partition_drains_a_queue_and_sees_what_runs() {
    let ops = Ops::new().await;
    let store = PgJobStore::new(&ops.db);
    let rules = KindInfo { stuck_after: Some(Duration::from_secs(300)), encrypted: true, ..kind() };
    let declares =
        switchyard_catalog::registry().kinds().copied().chain(std::iter::once(rules)).collect();
    let present = store.register(&WorkerInfo { declares, ..info() }).await.unwrap();
    let agency = "0198c2d4-7a10-7cc3-98a1-5f0a2b3c4d5e";
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let many = (0..3).map(|_| job("k", Options::new().partition(agency)));
    tx.enqueue_all(many.collect()).await.unwrap();
    tx.commit().await.unwrap();
    let running = claim_as(&store, present.id, 1, LONG, &[]).await.pop().unwrap();
    for (key, outcome) in [
        (format!("message {agency}"), Some(EffectOutcome::Done(json!("m-1")))),
        ("payout of a name that is as long as it has to be to be cut".to_owned(), None),
        ("receipt".to_owned(), Some(EffectOutcome::Unknown("no answer".into()))),
        ("letter".to_owned(), Some(EffectOutcome::Failed("refused".into()))),
    ] {
        let mut tx = ops.db.begin_job(&running).await.unwrap();
        effects::begin(&mut tx, &key).await.unwrap();
        if let Some(outcome) = outcome {
            effects::finish(&mut tx, &key, outcome).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    browser.go(&ops, "/queues").await;
    browser.fill("form[action='/ops/partitions/pause'] input[name=queue]", "q").await;
    browser.fill("form[action='/ops/partitions/pause'] input[name=partition]", agency).await;
    browser.click("button[formaction='/ops/partitions/drain']").await;
    browser.told("is paused; 1 of its jobs still runs.").await;
    let held = async || {
        let all = jobs::queues(&ops.db).await.unwrap();
        all.into_iter().find(|q| q.queue == "q").unwrap().held
    };
    assert_eq!(held().await, [agency]);
    browser.click("form[action='/ops/queues/q/drain?page=queues'] button").await;
    browser.client.accept_alert().await.unwrap();
    browser.told("The queue q is paused; 1 of its jobs still runs.").await;
    let listed = "return document.querySelectorAll('#paused tbody tr').length === 2";
    browser.until("both are listed", listed).await;
    shoot(&browser, &ops, "/queues", "queues").await;
    browser.click("#paused form[action='/ops/partitions/resume'] button").await;
    browser.told("goes on.").await;
    assert!(held().await.is_empty());

    shoot(&browser, &ops, "/kinds", "kinds").await;
    shoot(&browser, &ops, "/keys", "keys").await;
    shoot(&browser, &ops, "/keys?count=true", "keys-counted").await;
    let page = format!("/jobs/{}", running.id);
    browser.go(&ops, &page).await;
    let doubt = browser.text("#effects").await;
    assert!(doubt.contains("in doubt") && doubt.contains("under way"), "{doubt}");
    shoot(&browser, &ops, &page, "job").await;
    ops.test.fail_for_good("nobody.knows", 2).await;
    shoot(&browser, &ops, "/errors", "errors").await;
    browser.go(&ops, "/errors").await;
    browser.click("form[action$='/retry'] button").await;
    browser
        .until("the operation's page", "return location.pathname.startsWith('/ops/bulk/')")
        .await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}
