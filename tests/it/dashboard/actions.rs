//! Buttons.

use super::support::Ops;
use reqwest::Method;
use std::time::Duration;
use switchyard_queue::{JobId, JobState, Options};
use switchyard_store::{Scope, jobs, portals};

#[tokio::test]
async fn a_job_is_discarded_retried_and_cancelled() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    let id = ops.job("leads.rescan_unassigned", Options::new()).await;
    for (verb, state, words) in [
        ("discard", JobState::Discarded, "is a dead letter now"),
        ("retry", JobState::Available, "runs again"),
        ("cancel", JobState::Cancelled, "is cancelled"),
    ] {
        let (to, page) = session.press(&format!("/ops/jobs/{id}/{verb}")).await;
        assert_eq!(to, format!("/ops/jobs/{id}"));
        assert!(page.contains(words), "{verb}: {page}");
        assert_eq!(ops.state(id).await, state, "{verb}");
    }
    let (to, page) = session.press(&format!("/ops/jobs/{id}/retry")).await;
    assert_ne!(to, format!("/ops/jobs/{id}"), "of a finished job a copy runs");
    assert!(page.contains("a copy of the job was enqueued"), "{page}");
}

#[tokio::test]
async fn an_action_that_makes_no_sense_is_refused_with_the_reason() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    let id = ops.job("leads.rescan_unassigned", Options::new()).await;
    let (_, page) = session.press(&format!("/ops/jobs/{id}/retry")).await;
    assert!(page.contains("Not done: the job is available"), "{page}");
    assert!(page.contains(r#"role="alert""#));
    let path = format!("/ops/jobs/{id}/retry");
    let part = session.request(Method::POST, &path).header("hx-request", "true");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 409);
    let part = part.text().await.unwrap();
    assert!(part.contains(r#"hx-swap-oob="true""#) && part.contains("Not done"), "{part}");
    for path in [
        format!("/ops/jobs/{}/retry", JobId::new()),
        format!("/ops/jobs/{id}/explode"),
        "/ops/queues/none/pause".to_owned(),
        format!("/ops/messages/{}/resend", JobId::new()),
        format!("/ops/deliveries/{}/rerun", JobId::new()),
    ] {
        let answer = session.request(Method::POST, &path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    assert_eq!(ops.state(id).await, JobState::Available);
}

#[tokio::test]
async fn the_answer_to_a_button_is_the_row_and_a_notice() {
    let ops = Ops::new().await;
    let session = ops.sign_in().await;
    let id = ops.dead_letter().await;
    let path = format!("/ops/jobs/{id}/retry");
    let part = session.request(Method::POST, &path).header("hx-request", "true");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 200);
    assert_eq!(part.headers()["hx-trigger"], "acted");
    let part = part.text().await.unwrap();
    assert!(part.starts_with(&format!(r#"<tr id="job-{id}" hx-swap-oob="true">"#)), "{part}");
    assert!(part.contains("st-available") && part.contains(r#"id="notices""#), "{part}");
}

#[tokio::test]
async fn all_dead_letters_of_a_group_of_failures_are_retried_and_cancelled() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    assert!(session.page("/ops/errors").await.contains("Nothing has failed"));
    let group = ops.test.fail_for_good("nobody.knows", 2).await;
    let page = session.page("/ops/errors").await;
    assert!(page.contains("try &#60;n&#62; had no answer") && page.contains(&group), "{page}");
    let all = format!("/ops/jobs?fingerprint={group}");
    assert!(page.contains(&all), "{page}");
    let found = session.page(&all).await;
    assert_eq!(found.matches("<tr id=\"job-").count(), 2, "{found}");
    for (verb, left) in [("retry", JobState::Available), ("cancel", JobState::Cancelled)] {
        // In the background: the request has not done it.
        let (to, page) = session.press(&format!("/ops/errors/{group}/{verb}")).await;
        assert!(to.starts_with("/ops/bulk/") && page.contains("waits for a scheduler"), "{to}");
        assert!(session.page("/ops/errors").await.contains("Retry all"), "{verb}");
        jobs::bulk::work(&ops.db).await.unwrap();
        assert!(session.page(&to).await.contains("<strong>2</strong>"), "{verb}");
        let state = Some(left);
        let kind = Some("nobody.knows".to_owned());
        let done = jobs::JobFilter { state, kind, ..jobs::JobFilter::default() };
        assert_eq!(jobs::list(&ops.db, &done).await.unwrap().len(), 2, "{verb}");
        assert!(!session.page("/ops/errors").await.contains("Retry all"), "{verb}");
        ops.test.fail_for_good("nobody.knows", 0).await;
    }
    for path in ["/ops/errors/none/retry".to_owned(), format!("/ops/errors/{group}/explode")] {
        let answer = session.request(Method::POST, &path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_queue_is_paused_and_goes_on() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    let id = ops.job("leads.rescan_unassigned", Options::new()).await;
    let (to, page) = session.press("/ops/queues/maintenance/pause").await;
    assert_eq!(to, "/ops");
    assert!(page.contains("The queue maintenance is paused"), "{page}");
    assert!(page.contains("/ops/queues/maintenance/resume"));
    ops.work();
    // What is paused stays, however long one looks; what is in another queue runs.
    let other = ops.deliver(&super::support::person("p-1", "Paul", "Paused")).await;
    ops.arrived(other).await;
    assert_eq!(ops.state(id).await, JobState::Available);
    session.press("/ops/queues/maintenance/resume").await;
    super::support::within(Duration::from_secs(10), "the job runs", async || {
        (jobs::find(&ops.db, id).await.unwrap().state == JobState::Completed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_delivery_is_tried_through_todays_mapping_and_brought_up_to_date() {
    let ops = Ops::new().await;
    ops.work();
    let mut session = ops.sign_in().await;
    let event = ops.deliver(&super::support::person("r1", "Ada", "Lovelace")).await;
    ops.arrived(event).await;
    let path = format!("/ops/deliveries/{event}");
    assert!(session.page(&path).await.contains("Try today's mapping"));
    let tried = session.page(&format!("{path}/replay")).await;
    assert!(tried.contains("Nothing would change"), "{tried}");

    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let portal = portals::by_code(&mut tx, "demo").await.unwrap().unwrap();
    let mut settings = portal.settings.clone();
    settings["mapping"]["fields"]["company"] = serde_json::json!({"const": "Analytical Engines"});
    portals::set_settings(&mut tx, portal.id, &settings).await.unwrap();
    tx.commit().await.unwrap();
    let tried = session.page(&format!("{path}/replay")).await;
    assert!(tried.contains("Analytical Engines") && tried.contains("company"), "{tried}");
    let (to, page) = session.press(&format!("{path}/replay")).await;
    assert_eq!(to, path);
    assert!(page.contains("brought up to date"), "{page}");
    let tried = session.page(&format!("{path}/replay")).await;
    assert!(tried.contains("Nothing would change"), "{tried}");

    let (to, page) = session.press("/ops/portals/demo/rollback/1").await;
    assert_eq!(to, "/ops/portals/demo");
    assert!(page.contains("as version 3"), "{page}");
    let (_, page) = session.press("/ops/portals/demo/pause").await;
    assert!(page.contains("Let it go on"), "{page}");
    let (_, page) = session.press("/ops/portals/demo/resume").await;
    assert!(page.contains("What was held is judged now"), "{page}");
}
