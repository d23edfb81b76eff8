//! Workflows on the screen.

use super::support::Ops;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use switchyard_queue::{JobId, NewJob, Options, Workflow};
use switchyard_store::{Scope, jobs};

const EVIL: &str = "<script>alert(1)</script>";

fn job() -> NewJob {
    NewJob::raw("nobody.knows", "maintenance", Duration::from_secs(30), json!({}), Options::new())
}

#[tokio::test]
async fn a_workflow_is_drawn_linked_and_cancelled() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    assert!(session.page("/ops/workflows").await.contains("No workflow yet"));
    let flow =
        Workflow::new(EVIL).add("a", job()).add("b", job()).add_after(EVIL, job(), ["a", "b"]);
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let flow = tx.start_workflow(flow).await.unwrap();
    tx.commit().await.unwrap();
    let here = format!("/ops/workflows/{}", flow.id);

    let list = session.page("/ops/workflows?state=running").await;
    assert!(list.contains(&here) && list.contains("0 of 3"), "{list}");
    let page = session.page(&here).await;
    let picture = &page[page.find("class=\"dag\"").unwrap()..];
    assert_eq!((picture.matches("<rect").count(), picture.matches("<path d=").count()), (3, 2));
    assert_eq!(picture.matches("node st-pending").count(), 1);
    for page in [&list, &page] {
        assert!(!page.contains("<script>alert") && page.contains("&#60;script&#62;alert"));
    }
    for id in &flow.jobs {
        assert!(page.contains(&format!("/ops/jobs/{id}")));
    }
    assert!(page.contains("sse-connect=\"/ops/live?jobs="), "it is live");
    let of_job = session.page(&format!("/ops/jobs/{}", flow.jobs[2])).await;
    assert!(of_job.contains(&here), "the way back");
    assert!(of_job.contains("It waits for `a`, `b` of the workflow"), "{of_job}");
    assert!(!of_job.contains("/discard\""), "what waits cannot be made a dead letter");

    jobs::cancel(&ops.db, flow.jobs[0]).await.unwrap();
    assert!(session.page(&here).await.contains("st-failed"), "and the rest went with it");
    let (to, page) = session.press(&format!("{here}/cancel")).await;
    assert_eq!(to, here);
    assert!(page.contains("Not done: the workflow is failed"), "{page}");
    for path in [format!("{here}/retry"), format!("/ops/workflows/{}/cancel", JobId::new())] {
        let answer = session.request(Method::POST, &path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_large_workflow_is_listed_in_part_and_cancelled() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    let flow = Workflow::batch("large", (0..600).map(|_| job())).then(job());
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    let flow = tx.start_workflow(flow).await.unwrap();
    tx.commit().await.unwrap();
    let here = format!("/ops/workflows/{}", flow.id);
    let page = session.page(&here).await;
    assert!(page.contains("and 101 more") && !page.contains("class=\"dag\""));
    let (_, page) = session.press(&format!("{here}/cancel")).await;
    assert!(page.contains("large is cancelled.") && page.contains("601 cancelled"), "{page}");
}
