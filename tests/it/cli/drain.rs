//! Draining with jobs that run, workers that are quieted, and what is said of running jobs.

use super::Desk;
use crate::engine::support::{claim_as, held, info, job, kind, settlement};
use serde_json::{Value, json};
use std::pin::pin;
use std::time::Duration;
use switchyard_queue::{
    ClaimedJob, JobStore, KindInfo, NewJob, Options, Presence, SettleAs, WorkerInfo,
};
use switchyard_store::effects::{self, EffectOutcome};
use switchyard_store::{PgJobStore, Scope};

const LONG: Duration = Duration::from_secs(600);

/// A worker that is played by the test.
struct Worker {
    store: PgJobStore,
    presence: Presence,
}

impl Desk {
    async fn worker(&self, kind: KindInfo) -> Worker {
        let store = PgJobStore::new(&self.test.db);
        let who = WorkerInfo { declares: vec![kind], ..info() };
        let presence = store.register(&who).await.unwrap();
        Worker { store, presence }
    }

    async fn put(&self, job: NewJob) {
        let mut tx = self.test.db.begin(Scope::Platform).await.unwrap();
        tx.enqueue(job).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A command that must fail; its error.
    async fn refused(&self, args: &[&str]) -> Value {
        let said = self.say(&[&["--json"], args].concat()).await;
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        said.err_json()["error"].clone()
    }
}

impl Worker {
    async fn take(&self) -> ClaimedJob {
        claim_as(&self.store, self.presence.id, 1, LONG, &[]).await.pop().unwrap()
    }

    async fn end(&self, job: &ClaimedJob) {
        let done = self.store.settle(&[settlement(job, SettleAs::Completed)]).await.unwrap();
        assert_eq!(done, [job.id]);
    }
}

#[tokio::test]
async fn a_drain_waits_for_what_runs_and_says_so_if_that_takes_too_long() {
    let desk = Desk::new().await;
    let worker = desk.worker(kind()).await;
    // What runs in another partition is not waited for, but belongs to the queue and to the kind.
    desk.put(job("k", Options::new().partition("b"))).await;
    let other = worker.take().await;
    for (drain, resume, answer, many) in [
        (
            &["queues", "drain", "q", "--partition", "a"][..],
            &["queues", "resume", "q", "--partition", "a"][..],
            json!({"queue": "q", "partition": "a", "paused": true, "running": 0}),
            1,
        ),
        (
            &["queues", "drain", "q"],
            &["queues", "resume", "q"],
            json!({"queue": "q", "partition": null, "paused": true, "running": 0}),
            2,
        ),
        (
            &["kinds", "drain", "old.k"],
            &["kinds", "resume", "k"],
            json!({"kind": "old.k", "paused": true, "running": 0}),
            1,
        ),
    ] {
        desk.put(job("k", Options::new().partition("a"))).await;
        let mine = worker.take().await;
        let late = desk.refused(&[drain, &["--wait", "0"]].concat()).await;
        assert_eq!(late["code"], "still_running");
        let message = late["message"].as_str().unwrap();
        assert!(message.contains(&format!("{many} of its jobs still run")), "{message}");
        let args = [&["--json"], drain].concat();
        let mut waiting = pin!(desk.say(&args));
        tokio::select! {
            said = &mut waiting => panic!("{drain:?} did not wait: {said:?}"),
            () = tokio::time::sleep(Duration::from_secs(3)) => {}
        }
        worker.end(&mine).await;
        if many == 2 {
            worker.end(&other).await;
        }
        let said = waiting.await;
        assert_eq!((said.code, said.json()), (Some(0), answer), "{said:?}");
        desk.told(resume).await;
    }
    let missing = desk.refused(&["queues", "drain", "no-such", "--partition", "a"]).await;
    assert_eq!(missing["code"], "not_found");
    let missing = desk.refused(&["kinds", "drain", "no.such"]).await;
    assert!(missing["remedy"].as_str().unwrap().contains("switchyard kinds list"), "{missing}");
}

#[tokio::test]
async fn a_worker_is_quieted_and_goes_on() {
    let desk = Desk::new().await;
    let worker = desk.worker(kind()).await;
    let id = worker.presence.id.0.to_string();
    let quiet = async || {
        let listed = desk.told(&["workers", "list"]).await;
        let people = desk.say(&["workers", "list"]).await.out;
        (listed["workers"][0]["quiet"].clone(), people.contains(" quiet "))
    };
    assert_eq!(quiet().await, (json!(false), false));
    let told = desk.told(&["workers", "quiet", &id]).await;
    assert_eq!(told, json!({"worker": worker.presence.id.0, "quiet": true}));
    assert_eq!(quiet().await, (json!(true), true));
    desk.told(&["workers", "resume", &id]).await;
    assert_eq!(quiet().await, (json!(false), false));
}

#[tokio::test]
async fn a_silent_job_is_listed_as_stuck_and_kinds_say_when_that_is() {
    let desk = Desk::new().await;
    let rules = KindInfo {
        stuck_after: Some(Duration::from_secs(90)),
        max_attempts: 7,
        encrypted: true,
        ..kind()
    };
    let worker = desk.worker(rules).await;
    for _ in 0..2 {
        desk.put(job("k", Options::new())).await;
    }
    let (silent, fresh) = (worker.take().await, worker.take().await);
    let stuck = async || desk.told(&["jobs", "list", "--stuck"]).await["jobs"].clone();
    assert_eq!(stuck().await, json!([]));
    let earlier =
        "update engine.jobs set claimed_at = claimed_at - interval '1 hour' where id = $1";
    sqlx::query(earlier).bind(silent.id.0).execute(&mut desk.test.owner().await).await.unwrap();
    let listed = stuck().await;
    assert_eq!((listed[0]["id"].clone(), &listed[1]), (json!(silent.id), &Value::Null));
    let people = desk.say(&["jobs", "list", "--state", "running"]).await.out;
    let line = |id: String| people.lines().find(|l| l.starts_with(&id)).unwrap().to_owned();
    assert!(line(silent.id.to_string()).contains("running, stuck"), "{people}");
    assert!(!line(fresh.id.to_string()).contains("stuck"), "{people}");

    let kind = desk.told(&["kinds", "list"]).await["kinds"][0].clone();
    for (name, value) in [
        ("kind", json!("k")),
        ("timeout_seconds", json!(30.0)),
        ("max_attempts", json!(7)),
        ("deadline_seconds", Value::Null),
        ("retention", json!("standard")),
        ("stuck_after_seconds", json!(90.0)),
        ("encrypted", json!(true)),
    ] {
        assert_eq!(kind[name], value, "{name}: {kind}");
    }
    let people = desk.say(&["kinds", "list"]).await.out;
    assert!(people.contains("STUCK AFTER") && people.contains("90s"), "{people}");
}

#[tokio::test]
async fn effects_of_a_job_are_shown_and_one_in_doubt_is_named() {
    let desk = Desk::new().await;
    let first = desk.worker(kind()).await;
    desk.put(job("k", Options::new())).await;
    let running = first.take().await;
    let db = &desk.test.db;
    for (key, outcome) in [
        ("mail 1", Some(EffectOutcome::Done(json!("m-1")))),
        ("mail 2", Some(EffectOutcome::Failed("refused".into()))),
        ("mail 3", None),
    ] {
        let mut tx = db.begin_job(&running).await.unwrap();
        effects::begin(&mut tx, key).await.unwrap();
        if let Some(outcome) = outcome {
            effects::finish(&mut tx, key, outcome).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    let id = running.id.to_string();
    let shown = async || {
        let effects = desk.told(&["jobs", "show", &id]).await["effects"].clone();
        assert!(effects[0]["begun_at"].is_string() && effects[0]["updated_at"].is_string());
        let all = effects.as_array().unwrap().iter();
        all.map(|e| format!("{} {}", e["key"], e["state"]).replace('"', "")).collect::<Vec<_>>()
    };
    assert_eq!(shown().await, ["mail 1 done", "mail 2 failed", "mail 3 under_way"]);
    // Its worker dies: nobody who could still write the result holds the job.
    let second = desk.worker(kind()).await;
    let dead = [first.presence.id];
    let again = claim_as(&second.store, second.presence.id, 1, LONG, &dead).await.pop().unwrap();
    assert_eq!(again.id, running.id);
    assert_ne!(held(&again), held(&running));
    assert_eq!(shown().await, ["mail 1 done", "mail 2 failed", "mail 3 in_doubt"]);
}
