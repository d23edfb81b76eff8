//! The dashboard in a real browser: Chromium, headless, driven by chromedriver.
#![allow(clippy::unwrap_used)]

mod backups;
mod commissions;
mod driver;
mod steer;

use crate::dashboard::support::{Ops, person};
use driver::Browser;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use switchyard_queue::{JobState, Options};
use switchyard_store::jobs;
use switchyard_store::limits::{self, LimitScope};

#[tokio::test]
async fn an_operator_watches_a_lead_and_retries_a_job() {
    let ops = Ops::new().await;
    ops.work();
    let dead = ops.dead_letter().await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;

    // The lead comes to the page that is open; the page is not loaded anew.
    browser.run("window.same = true").await;
    let event = ops.deliver(&person("b-1", "Anna", "Nowak")).await;
    let row = format!("#line-{event}");
    browser.see(&row).await;
    let reached = format!("return document.querySelectorAll('{row} .stop.done').length === 5");
    browser.until("all five stations are reached", &reached).await;
    assert_eq!(browser.run("return window.same === true").await, json!(true));
    browser
        .until("the clock ticks", "return !!document.querySelector('time[data-relative]')")
        .await;

    // From the lead to one of its jobs.
    browser.click(&format!("#line-{event}-go")).await;
    browser.until("the lead's page", "return document.title.startsWith('Anna Nowak')").await;
    let way = browser.text("#page .way").await;
    for text in ["Webhook from Demo portal", "Offered to Nordhaus Immobilien", "WhatsApp to Jan"] {
        assert!(way.contains(text), "{way}");
    }
    browser.click(".chip[href^='/ops/jobs/']").await;
    browser.until("the job's page", "return document.title.startsWith('webhook.process')").await;
    assert_eq!(browser.text("#state").await, "completed");

    // The dead letter runs again, and its page says so by itself.
    browser.client.goto(&format!("{}/ops/jobs/{dead}", ops.base)).await.unwrap();
    assert_eq!(browser.text("#state").await, "discarded");
    browser.see("#live[data-live=on]").await;
    browser.run("window.same = true").await;
    browser.click("form[action$='/retry'] button").await;
    let state = "return document.getElementById('state')?.textContent === 'completed'";
    browser.until("the job completes", state).await;
    assert!(browser.text("#notices").await.contains("runs again"));
    assert_eq!(browser.run("return window.same === true").await, json!(true));
    assert_eq!(ops.state(dead).await, JobState::Completed);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

#[tokio::test]
async fn rows_change_in_place_and_the_mail_is_seen() {
    let ops = Ops::new().await;
    let late = Options::new().delay(Duration::from_secs(3600));
    let id = ops.job("leads.rescan_unassigned", late.clone()).await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    browser.client.goto(&format!("{}/ops/jobs", ops.base)).await.unwrap();
    browser.see("#live[data-live=on]").await;
    browser.run("window.same = true").await;
    // Somebody else acts; the row follows.
    jobs::cancel(&ops.db, id).await.unwrap();
    browser.see(&format!("#job-{id} .st-cancelled")).await;
    // A new job does not push the rows away, it is announced.
    ops.job("leads.rescan_unassigned", Options::new()).await;
    browser.until("the bar", "return document.getElementById('newer').hidden === false").await;
    assert_eq!(browser.run("return window.same === true").await, json!(true));
    // The page of a job ends with what came last, however soon that came after the one before.
    for _ in 0..3 {
        let id = ops.job("leads.rescan_unassigned", late.clone()).await;
        browser.client.goto(&format!("{}/ops/jobs/{id}", ops.base)).await.unwrap();
        browser.see("#live[data-live=on]").await;
        jobs::retry(&ops.db, id).await.unwrap();
        browser.see("#state.st-available").await;
        jobs::cancel(&ops.db, id).await.unwrap();
        browser.see("#state.st-cancelled").await;
    }

    ops.work();
    let line = ops.arrived(ops.deliver(&person("b-2", "Ewa", "Mail")).await).await;
    let mail = line.assignments[0].messages.iter().find(|m| m.channel == "email").unwrap();
    browser.client.goto(&format!("{}/ops/messages/{}", ops.base, mail.id)).await.unwrap();
    browser.see("iframe.mail").await.enter_frame().await.unwrap();
    assert!(browser.text("body").await.contains("Ewa"));
    browser.client.enter_parent_frame().await.unwrap();
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

/// Tables scroll in their own frame, or become cards: the page itself never moves sideways.
#[tokio::test]
async fn no_screen_is_wider_than_a_phone() {
    let ops = Ops::new().await;
    ops.work();
    let dead = ops.dead_letter().await;
    ops.test.fail_for_good("nobody.knows.a.kind.with.so.long.a.name", 1).await;
    let line = ops.arrived(ops.deliver(&person("n-1", "Anna", "Nowak")).await).await;
    let lead = line.lead.as_ref().unwrap().id;
    let mail = line.assignments[0].messages[0].id;
    let mut bad = person("n-2", "Rita", "Mazur");
    bad["email"] = json!("not an address");
    let rejected = ops.deliver(&bad).await;
    let sold = commissions::sold(&ops).await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    browser.client.set_window_size(390, 844).await.unwrap();
    let queue = LimitScope::Queue { queue: "maintenance".into() };
    let rate = "600/min".parse().unwrap();
    limits::set(&ops.db, &queue, Some(5), Some(rate)).await.unwrap();
    let lists =
        ["", "/leads", "/deliveries", "/messages", "/jobs", "/errors", "/workflows", "/schedules"];
    let lists = lists.into_iter().map(str::to_owned);
    let more =
        ["/workers", "/queues", "/kinds", "/portals", "/portals/demo", "/jobs?state=pending"];
    let newer = [
        "/leads/new",
        "/commissions",
        "/commissions/periods",
        "/commissions/plans",
        "/backups",
        "/bulk",
        "/endpoints",
        "/keys?count=true",
    ];
    let more = more.into_iter().chain(newer).map(str::to_owned);
    let single = [
        format!("/jobs/{dead}"),
        format!("/leads/{lead}"),
        format!("/messages/{mail}"),
        format!("/deliveries/{rejected}"),
        format!("/leads/{}", sold.lead),
        format!("/commissions/{}", sold.lead),
        format!("/commissions/{}", sold.refused),
        format!("/commissions/periods/{}/{}", sold.agency, sold.month),
        format!(
            "/commissions/statements/{}?agency={}&agent={}&currency=EUR",
            sold.month, sold.agency, sold.agent
        ),
    ];
    for path in lists.chain(more).chain(single) {
        browser.go(&ops, &path).await;
        browser.fits(&path).await;
    }
    browser.end().await;
}

/// Draws the picture of the README: `SWITCHYARD_TEST_SCREENSHOT=docs/dashboard.png`, run with
/// `--run-ignored only`.
#[tokio::test]
#[ignore = "makes a picture, proves nothing"]
async fn picture() {
    let to = std::env::var_os("SWITCHYARD_TEST_SCREENSHOT")
        .expect("SWITCHYARD_TEST_SCREENSHOT names a file");
    let ops = Ops::new().await;
    ops.work();
    ops.dead_letter().await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    let people =
        [("Piotr", "Zieliński"), ("Marta", "Lis"), ("Ewa", "Wójcik"), ("Jan", "Dąbrowski")];
    for (first, last) in people {
        ops.arrived(ops.deliver(&person(&format!("p-{first}"), first, last)).await).await;
    }
    let mut uncovered = person("p-u", "Tomasz", "Kaczmarek");
    uncovered["postal_code"] = json!("99-999");
    ops.deliver(&uncovered).await;
    let mut rejected = person("p-r", "Rita", "Mazur");
    rejected["email"] = json!("not an address");
    rejected["phone"] = json!(null);
    ops.deliver(&rejected).await;
    let event = ops.deliver(&person("p-a", "Anna", "Nowak")).await;
    ops.arrived(event).await;
    let reached =
        format!("return document.querySelectorAll('#line-{event} .stop.done').length === 5");
    browser.until("all five stations are reached", &reached).await;
    std::fs::write(to, browser.client.screenshot().await.unwrap()).unwrap();
    browser.end().await;
}

#[tokio::test]
async fn an_operator_cancels_all_that_match_and_undoes_it() {
    let ops = Ops::new().await;
    for _ in 0..3 {
        ops.job("leads.rescan_unassigned", Options::new().delay(Duration::from_secs(900))).await;
    }
    ops.dead_letter().await;
    let browser = Browser::start().await;
    browser.sign_in(&ops).await;
    // In both colour schemes, if somebody wants to look at the pages.
    let shoot = async |name: &str| {
        let Some(folder) = std::env::var_os("SWITCHYARD_TEST_SCREENSHOTS") else { return };
        let path = PathBuf::from(folder).join(format!("{name}.png"));
        std::fs::write(path, browser.client.screenshot().await.unwrap()).unwrap();
    };
    browser.client.goto(&format!("{}/ops/jobs", ops.base)).await.unwrap();
    browser.see("input[name=error]").await.send_keys("BY AN OPERATOR").await.unwrap();
    browser.click("form[role=search] button.primary").await;
    browser
        .until("one job is found", "return document.querySelectorAll('tbody tr').length === 1")
        .await;
    shoot("found").await;
    browser.client.goto(&format!("{}/ops/jobs?state=scheduled", ops.base)).await.unwrap();
    browser.click("button[name=do][value=cancel]").await;
    assert!(browser.text("section.card h2").await.starts_with("3 jobs"));
    shoot("count").await;
    browser.click("button.primary").await;
    assert!(browser.text("#op").await.contains("waits for a scheduler"));
    shoot("waiting").await;
    jobs::bulk::work(&ops.db).await.unwrap();
    browser.see("#op .st-done").await;
    assert!(browser.text("#op").await.contains("3 of 3 done"));
    shoot("done").await;
    browser.click("form[action$='/undo'] button").await;
    browser.client.accept_alert().await.unwrap();
    browser.until("the undo has a page", "return location.pathname.startsWith('/ops/bulk/') && document.body.innerText.includes('It undoes')").await;
    jobs::bulk::work(&ops.db).await.unwrap();
    browser.see("#op .st-done").await;
    shoot("undone").await;
    let wanted = jobs::JobFilter { state: Some(JobState::Scheduled), ..Default::default() };
    assert_eq!(jobs::list(&ops.db, &wanted).await.unwrap().len(), 3);
    browser.client.goto(&format!("{}/ops/bulk", ops.base)).await.unwrap();
    browser.see("tbody tr").await;
    shoot("list").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}
