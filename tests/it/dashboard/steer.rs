//! Paused partitions, drains, quiet workers, quarantined jobs, effects, rules of kinds and keys, on the
//! screens.

use super::support::Ops;
use crate::engine::support::{LONG, claim_alone, claim_as, info, job, kind, settlement};
use reqwest::Method;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use switchyard_queue::{
    ArgsCipher, ClaimedJob, JobId, JobStore, KindInfo, NewJob, Options, Presence, SettleAs,
    WorkerInfo,
};
use switchyard_store::effects::{self, EffectOutcome};
use switchyard_store::jobs::{self, QueueSummary};
use switchyard_store::{PgJobStore, Scope};
use switchyard_tests::kit::ring;

/// A worker that is played by the test.
async fn worker(ops: &Ops, kind: KindInfo) -> (PgJobStore, Presence) {
    let store = PgJobStore::new(&ops.db);
    let who = WorkerInfo { declares: vec![kind], ..info() };
    let presence = store.register(&who).await.unwrap();
    (store, presence)
}

async fn put(ops: &Ops, job: NewJob) -> JobId {
    let id = job.id;
    let mut tx = ops.db.begin(Scope::Platform).await.unwrap();
    tx.enqueue(job).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// A job of partition `a` of queue `q` that runs.
async fn running(ops: &Ops) -> (PgJobStore, Presence, ClaimedJob) {
    put(ops, job("k", Options::new().partition("a"))).await;
    let (store, presence) = worker(ops, kind()).await;
    let claimed = claim_as(&store, presence.id, 1, LONG, &[]).await.pop().unwrap();
    (store, presence, claimed)
}

async fn queue(ops: &Ops) -> QueueSummary {
    let all = jobs::queues(&ops.db).await.unwrap();
    all.into_iter().find(|q| q.queue == "q").unwrap()
}

async fn held(ops: &Ops) -> Vec<String> {
    queue(ops).await.held
}

/// The part of a page between two of its ids.
fn part<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let rest = &page[page.find(from).unwrap()..];
    &rest[..rest.find(to).unwrap()]
}

#[tokio::test]
async fn a_partition_is_paused_listed_and_resumed() {
    let ops = Ops::new().await;
    let (_store, _present, _running) = running(&ops).await;
    put(&ops, job("k", Options::new().partition("a"))).await;
    let mut session = ops.sign_in().await;
    assert!(session.page("/ops/queues").await.contains("Nothing is paused."));
    let form = [("queue", "q"), ("partition", "a")];
    let (to, page) = session.send("/ops/partitions/pause", &form).await;
    assert_eq!(to, "/ops/queues");
    assert!(page.contains("The partition a of q is paused: what runs goes on"), "{page}");
    assert_eq!(held(&ops).await, ["a"]);
    let list = part(&page, "id=\"paused\"", "limit-form");
    assert!(list.contains("partition of q") && list.contains("/ops/partitions/resume"), "{list}");
    for count in [r#"data-label="Still running">1<"#, r#"data-label="Waiting">1<"#] {
        assert!(list.contains(count), "{count}: {list}");
    }
    let (_, page) = session.send("/ops/partitions/drain", &form).await;
    assert!(page.contains("The partition a of q is paused; 1 of its jobs still runs."), "{page}");
    let (_, page) = session.send("/ops/partitions/resume", &form).await;
    assert!(page.contains("The partition a of q goes on."), "{page}");
    assert!(page.contains("Nothing is paused.") && held(&ops).await.is_empty(), "{page}");

    // A field that was left out is not all that has no partition.
    for (verb, form, reason) in [
        ("pause", [("queue", "q"), ("partition", " ")], "name the partition"),
        ("drain", [("queue", "q"), ("partition", "")], "name the partition"),
        ("pause", [("queue", "none"), ("partition", "a")], "never was a job in a queue none"),
    ] {
        let (_, page) = session.send(&format!("/ops/partitions/{verb}"), &form).await;
        assert!(page.contains("Not done: ") && page.contains(reason), "{page}");
    }
    assert!(held(&ops).await.is_empty());
    jobs::pause_partition(&ops.db, "q", "", true).await.unwrap();
    assert!(session.page("/ops/queues").await.contains("no partition"));
    session.send("/ops/partitions/resume", &[("queue", "q"), ("partition", "")]).await;
    assert!(held(&ops).await.is_empty());
    let evil = [("queue", "q"), ("partition", "<script>alert(1)</script>")];
    let (_, page) = session.send("/ops/partitions/pause", &evil).await;
    assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    let path = "/ops/partitions/explode";
    let answer = session.request(Method::POST, path).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn a_drain_tells_how_many_jobs_still_run_and_that_none_does() {
    let ops = Ops::new().await;
    let (store, _present, claimed) = running(&ops).await;
    let mut session = ops.sign_in().await;
    let drain = "/ops/queues/q/drain?page=queues";
    let (to, page) = session.press(drain).await;
    assert_eq!(to, "/ops/queues");
    assert!(page.contains("The queue q is paused; 1 of its jobs still runs."), "{page}");
    let list = part(&page, "id=\"paused\"", "limit-form");
    assert!(list.contains("the whole queue"), "{list}");
    assert!(list.contains(r#"data-label="Still running">1<"#), "{list}");
    let (to, page) = session.press("/ops/kinds/k/drain").await;
    assert_eq!(to, "/ops/kinds");
    assert!(page.contains("The kind k is paused; 1 of its jobs still runs."), "{page}");
    let kinds = jobs::kinds(&ops.db).await.unwrap();
    assert!(kinds.iter().find(|k| k.kind == "k").unwrap().paused);
    store.settle(&[settlement(&claimed, SettleAs::Completed)]).await.unwrap();
    let (_, page) = session.press(drain).await;
    assert!(page.contains("The queue q is paused and none of its jobs runs."), "{page}");
    let (_, page) = session.press("/ops/kinds/k/drain").await;
    assert!(page.contains("The kind k is paused and none of its jobs runs."), "{page}");
    assert!(queue(&ops).await.paused);
    for path in ["/ops/queues/none/drain", "/ops/kinds/no.such/drain"] {
        let answer = session.request(Method::POST, path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_worker_is_quieted_and_goes_on() {
    let ops = Ops::new().await;
    let (_store, present) = worker(&ops, kind()).await;
    let mut session = ops.sign_in().await;
    let path = format!("/ops/workers/{}", present.id.0);
    assert!(session.page("/ops/workers").await.contains(&format!("{path}/quiet")));
    let (to, page) = session.press(&format!("{path}/quiet")).await;
    assert_eq!(to, "/ops/workers");
    assert!(page.contains("finishes what it has and claims no more"), "{page}");
    assert!(page.contains("st-quiet") && page.contains(&format!("{path}/resume")), "{page}");
    assert!(jobs::workers(&ops.db).await.unwrap()[0].quiet);
    let (_, page) = session.press(&format!("{path}/resume")).await;
    assert!(page.contains("claims again") && !page.contains("st-quiet"), "{page}");
    assert!(!jobs::workers(&ops.db).await.unwrap()[0].quiet);
}

#[tokio::test]
async fn a_quarantined_job_is_shown_with_its_evidence_and_retried() {
    let ops = Ops::new().await;
    let (store, present) = worker(&ops, kind()).await;
    let id = put(&ops, job("k", Options::new())).await;
    // Its worker dies of it, three times while it runs alone.
    let dead = [present.id];
    claim_as(&store, present.id, 1, LONG, &dead).await;
    while claim_alone(&store, present.id, &dead).await.is_some() {}
    let mut session = ops.sign_in().await;
    let list = session.page("/ops/jobs?state=quarantined").await;
    assert!(list.contains(&id.to_string()) && list.contains("st-quarantined"), "{list}");
    assert!(list.contains("took its worker down; runs only if retried"), "{list}");
    let page = session.page(&format!("/ops/jobs/{id}")).await;
    assert!(page.contains("3 of them while it ran alone"), "the evidence: {page}");
    assert_eq!(page.matches("st-crash").count(), 4, "one written down for each: {page}");
    let (_, page) = session.press(&format!("/ops/jobs/{id}/retry")).await;
    assert!(page.contains("k runs again.") && page.contains("st-available"), "{page}");
}

#[tokio::test]
async fn the_effects_of_a_job_are_on_its_page_and_one_in_doubt_is_named() {
    let ops = Ops::new().await;
    let (store, _present, claimed) = running(&ops).await;
    let mut session = ops.sign_in().await;
    let path = format!("/ops/jobs/{}", claimed.id);
    assert!(!session.page(&path).await.contains("id=\"effects\""));
    for (key, done) in [("mail 1", true), ("mail <b>2</b>", false)] {
        let mut tx = ops.db.begin_job(&claimed).await.unwrap();
        effects::begin(&mut tx, key).await.unwrap();
        if done {
            let done = EffectOutcome::Done(json!("xyzzy"));
            effects::finish(&mut tx, key, done).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    let effects = |page: &str| part(page, "id=\"effects\"", "</section>").to_owned();
    let shown = effects(&session.page(&path).await);
    assert!(shown.contains("mail &#60;b&#62;2") && shown.contains(">under way<"), "{shown}");
    assert!(shown.contains(">done<") && !shown.contains("in doubt"), "{shown}");
    store.settle(&[settlement(&claimed, SettleAs::Completed)]).await.unwrap();
    let shown = effects(&session.page(&path).await);
    assert!(shown.contains(">in doubt<") && shown.contains("nobody knows"), "{shown}");
    assert!(!shown.contains("under way"), "{shown}");
}

#[tokio::test]
async fn a_kind_says_how_its_jobs_are_run() {
    let ops = Ops::new().await;
    let rules = KindInfo {
        timeout: Duration::from_secs(45),
        max_attempts: 7,
        stuck_after: Some(Duration::from_secs(300)),
        encrypted: true,
        ..kind()
    };
    let (_store, _present) = worker(&ops, rules).await;
    let mut session = ops.sign_in().await;
    let page = session.page("/ops/kinds").await;
    let row = part(&page, "id=\"kind-k\"", "</tr>");
    let rules = "timeout 45 s · 7 attempts · standard retention · stuck after 5 min";
    assert!(row.contains(rules) && row.contains(">encrypted<"), "{row}");
}

#[tokio::test]
async fn keys_are_counted_on_demand_and_sealed_arguments_stay_hidden() {
    let ops = Ops::new().await;
    let (_store, _present) = worker(&ops, KindInfo { encrypted: true, ..kind() }).await;
    let (new, old) = (ring(&[7]).keys().remove(0), ring(&[8]).keys().remove(0));
    let before = ops.db.clone().sealing_with(Some(Arc::new(ring(&[8]))));
    let mut secret = job("k", Options::new());
    secret.args = json!({"word": "xyzzy"});
    secret.encrypted = true;
    let id = secret.id;
    let mut tx = before.begin(Scope::Platform).await.unwrap();
    tx.enqueue(secret).await.unwrap();
    tx.commit().await.unwrap();

    let mut session = ops.sign_in().await;
    let page = session.page("/ops/keys").await;
    assert!(page.contains(&new) && page.contains(&old) && page.contains(">current<"), "{page}");
    assert!(!page.contains("Wait for rotation"), "nothing is counted unasked: {page}");
    let page = session.page("/ops/keys?count=true").await;
    let row = part(&page, &old, "</tr>");
    for count in [r#"data-label="Open jobs">1<"#, r#"data-label="Wait for rotation">1<"#] {
        assert!(row.contains(count), "{count}: {row}");
    }
    assert!(page.contains("1 open job waits for rotation"), "{page}");
    let job = format!("/ops/jobs/{id}");
    for path in [&*job, "/ops/jobs", "/ops/jobs?kind=k", "/ops/keys?count=true", "/ops/kinds"] {
        assert!(!session.page(path).await.contains("xyzzy"), "{path} shows what is sealed");
    }
    let page = session.page(&job).await;
    assert!(page.contains("$sealed") && page.contains(&old), "its key is named: {page}");
    switchyard_store::sealing::reseal(&ops.db).await.unwrap();
    let page = session.page("/ops/keys?count=true").await;
    assert!(page.contains("Every open job lies under the current key."), "{page}");
}
