//! Queues with their weights, limits, and kinds that are paused.

use super::support::{Ops, within};
use reqwest::Method;
use std::time::Duration;
use switchyard_queue::{JobState, Options};
use switchyard_store::{jobs, limits};

#[tokio::test]
async fn a_limit_is_set_shown_changed_and_removed() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    let page = session.page("/ops/queues").await;
    assert!(page.contains("No limits") && page.contains("Set a limit"), "{page}");
    ops.job("leads.rescan_unassigned", Options::new()).await;
    let form = [("scope", "queue"), ("queue", "maintenance"), ("key", "left over")];
    let set = [&form[..], &[("max_running", "5"), ("rate", "600/min"), ("burst", "2")]].concat();
    let (to, page) = session.send("/ops/limits", &set).await;
    assert_eq!(to, "/ops/queues");
    assert!(page.contains("The limit of queue maintenance is set."), "{page}");
    assert!(page.contains(r#"<progress max="5" value="0""#) && page.contains("600/min"), "{page}");

    // The link to change it fills the form in.
    let change = page.split('"').find(|s| s.starts_with("/ops/queues?scope=queue")).unwrap();
    let change = change.replace("&#38;", "&");
    let page = session.page(change.trim_end_matches("#set")).await;
    assert!(page.contains(r#"name="max_running" min="1" value="5""#), "{page}");
    assert!(page.contains(r#"name="rate" value="600/min""#), "{page}");

    let each = [("scope", "each_partition"), ("queue", "maintenance"), ("max_running", "1")];
    let (_, page) = session.send("/ops/limits", &each).await;
    assert!(page.contains("at most 1 each"), "{page}");
    let (to, page) = session.send("/ops/limits/remove", &form).await;
    assert_eq!(to, "/ops/queues");
    assert!(page.contains("no limit any more of queue maintenance"), "{page}");
    assert_eq!(limits::list(&ops.db, 9).await.unwrap().len(), 1);
    let gone = session.request(Method::POST, "/ops/limits/remove").form(&form);
    assert_eq!(gone.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_form_that_is_wrong_comes_back_filled_in_with_the_reason() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    for (wrong, reason) in [
        ([("queue", "leads"), ("rate", "often"), ("max_running", "")], "often is no rate"),
        ([("queue", "leads"), ("rate", ""), ("max_running", "")], "or both"),
        ([("queue", "leads"), ("rate", ""), ("max_running", "many")], "is a number"),
        ([("queue", "leads"), ("rate", ""), ("max_running", "0")], "between 1 and"),
        ([("queue", ""), ("rate", "1/s"), ("max_running", "")], "a queue&#39;s name"),
    ] {
        let form = [&[("scope", "queue")], &wrong[..]].concat();
        let (to, page) = session.send("/ops/limits", &form).await;
        assert!(to.starts_with("/ops/queues?scope=queue"), "{to}");
        assert!(page.contains("Not done: ") && page.contains(reason), "{reason}: {page}");
        let queue = format!(r#"name="queue" list="queue-names" value="{}""#, wrong[0].1);
        assert!(page.contains(&queue), "{page}");
    }
    assert!(limits::list(&ops.db, 9).await.unwrap().is_empty());
    let evil = [("scope", "key"), ("key", "\"><script>alert(1)</script>"), ("rate", "1/s")];
    let (_, page) = session.send("/ops/limits", &evil).await;
    assert!(!page.contains("<script>"), "{page}");
}

#[tokio::test]
async fn a_queue_is_weighed_and_paused_from_its_screen() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    ops.job("leads.rescan_unassigned", Options::new()).await;
    let weight = "/ops/queues/maintenance/weight";
    let (_, page) = session.send(weight, &[("weight", "3")]).await;
    assert!(page.contains("has weight 3") && page.contains(r#"max="1000" value="3""#), "{page}");
    for wrong in ["0", "1001", "heavy", ""] {
        let (_, page) = session.send(weight, &[("weight", wrong)]).await;
        assert!(page.contains("Not done: a weight is a number"), "{wrong}: {page}");
    }
    assert_eq!(jobs::queues(&ops.db).await.unwrap()[0].weight, 3);
    let (to, page) = session.press("/ops/queues/maintenance/pause?page=queues").await;
    assert_eq!(to, "/ops/queues");
    assert!(page.contains("/ops/queues/maintenance/resume?page=queues"), "{page}");
    let none = session.request(Method::POST, "/ops/queues/none/weight").form(&[("weight", "3")]);
    assert_eq!(none.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_kind_is_paused_and_goes_on() {
    let ops = Ops::new().await;
    let mut session = ops.sign_in().await;
    ops.job("nobody.knows", Options::new()).await;
    let page = session.page("/ops/kinds").await;
    assert!(page.contains("declared by no worker") && !page.contains("Pause"), "{page}");
    let path = "/ops/kinds/leads.rescan_unassigned";
    for wrong in [format!("{path}/pause"), format!("{path}/explode")] {
        let answer = session.request(Method::POST, &wrong).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{wrong}");
    }
    ops.work();
    within(Duration::from_secs(10), "a worker declares its kinds", async || {
        let kinds = jobs::kinds(&ops.db).await.unwrap();
        kinds.iter().any(|k| k.declared_at.is_some()).then_some(())
    })
    .await;
    let (to, page) = session.press(&format!("{path}/pause")).await;
    assert_eq!(to, "/ops/kinds");
    assert!(page.contains("is paused: what runs goes on"), "{page}");
    assert!(page.contains(&format!("{path}/resume")), "{page}");
    let (_, page) = session.press(&format!("{path}/resume")).await;
    assert!(page.contains("goes on.") && page.contains(&format!("{path}/pause")), "{page}");
    let id = ops.job("leads.rescan_unassigned", Options::new()).await;
    within(Duration::from_secs(10), "it runs", async || {
        (ops.state(id).await == JobState::Completed).then_some(())
    })
    .await;
}
