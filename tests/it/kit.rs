//! The kit for people who write jobs, used as they would.
#![allow(clippy::unwrap_used)]

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use switchyard_queue::testing::{Expected, Trial};
use switchyard_queue::{
    Context, Job, JobError, JobResult, JobState, NewJob, Options, Outcome, QueueName, Registry,
};
use switchyard_store::{Db, Scope};
use switchyard_tests::kit::Kit;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Asks somebody for an answer, and reminds them a day later.
#[derive(Serialize, Deserialize)]
struct Ask {
    whom: String,
    again: bool,
}

impl Job for Ask {
    type State = Option<Db>;

    const KIND: &'static str = "test.ask";
    const ABOUT: &'static str = "Asks somebody for an answer.";
    const QUEUE: QueueName = QueueName("asking");
    const MAX_ATTEMPTS: u16 = 2;

    fn options(&self) -> Options {
        let options = Options::new().unique_by(&self.whom).unique_for(DAY / 2);
        if self.again { options.delay(DAY) } else { options }
    }

    async fn run(self, cx: &Context<Option<Db>>) -> JobResult {
        if cx.clock().now().format("%a").to_string() == "Sun" {
            return Ok(Outcome::Snooze(DAY));
        }
        cx.progress(0.5, format!("asking {}", self.whom));
        match (self.whom.as_str(), cx.state()) {
            ("nobody", _) => Err(JobError::permanent("there is nobody")),
            ("busy", _) if cx.job().attempt == 1 => Err(JobError::retry_after(DAY, "busy")),
            (_, None) => Ok(Outcome::Done),
            (_, Some(_)) if self.again => Ok(Outcome::Done),
            (_, Some(db)) => {
                let mut tx = db.begin_job(cx.job()).await?;
                let again = Ask { whom: self.whom, again: true };
                let options = Options::new().delay(DAY);
                tx.enqueue(cx.follow_up(NewJob::with_options(&again, options)?)).await?;
                tx.done().await
            }
        }
    }
}

fn ask(whom: &str) -> Ask {
    Ask { whom: whom.to_owned(), again: false }
}

#[tokio::test]
async fn a_job_is_tried_without_a_database() {
    let saturday = "2026-03-07T12:00:00Z".parse().unwrap();
    let trial = Trial::new(None).at(saturday);
    assert!(matches!(trial.run(&ask("Ada")).await, Ok(Outcome::Done)));
    let said = trial.reports();
    assert_eq!((said.len(), said[0].fraction, &*said[0].note), (1, Some(0.5), "asking Ada"));
    assert!(trial.run(&ask("busy")).await.is_err());
    assert!(trial.clone().attempt(2).run(&ask("busy")).await.is_ok());
    trial.clock().advance(chrono::Duration::days(1));
    assert!(matches!(trial.run(&ask("Ada")).await, Ok(Outcome::Snooze(_))));
}

/// Keeps whom it asks to itself.
#[derive(Serialize, Deserialize)]
struct AskInSecret {
    whom: String,
}

impl Job for AskInSecret {
    type State = Option<Db>;

    const KIND: &'static str = "test.ask_in_secret";
    const ABOUT: &'static str = "Asks somebody in secret.";
    const QUEUE: QueueName = QueueName("asking");
    const ENCRYPTED: bool = true;

    async fn run(self, _: &Context<Option<Db>>) -> JobResult {
        if self.whom == "Ada" { Ok(Outcome::Done) } else { Err(JobError::permanent("not Ada")) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_encrypted_arguments_is_tried_run_and_found() {
    let job = AskInSecret { whom: "Ada".to_owned() };
    assert!(matches!(Trial::new(None).run(&job).await, Ok(Outcome::Done)));
    let kit = Kit::new(|| Registry::new().with::<AskInSecret>(), |db| Some(db.clone())).await;
    let done = kit.run(&job).await;
    assert_eq!(done.row.state, JobState::Completed);
    assert!(!done.args.to_string().contains("Ada"), "as anybody sees it");
    assert_eq!(kit.args(done.row.id).await, json!({"whom": "Ada"}));
    kit.assert_enqueued(&Expected::kind("test.ask_in_secret").args(json!({"whom": "Ada"}))).await;
}

async fn kit() -> Kit<Option<Db>> {
    let kit = Kit::new(|| Registry::new().with::<Ask>(), |db| Some(db.clone())).await;
    kit.clock().set("2026-03-02T12:00:00Z".parse().unwrap());
    kit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_run_on_a_database_and_what_follows_is_seen() {
    let kit = kit().await;
    assert_eq!(kit.run(&ask("Ada")).await.row.state, JobState::Completed);
    let reminder = Expected::kind("test.ask").args(json!({"whom": "Ada", "again": true}));
    let found = kit.assert_enqueued(&reminder.clone().due_in(DAY)).await;
    assert_eq!(found.row.state, JobState::Scheduled);
    kit.assert_not_enqueued(&reminder.clone().due_in(DAY * 2)).await;
    kit.assert_not_enqueued(&Expected::kind("test.ask").args(json!({"whom": "Bob"}))).await;

    kit.skip(DAY).await;
    let jobs = kit.drain("asking").await;
    let states: Vec<_> = jobs.iter().map(|j| j.state).collect();
    assert_eq!(states, [JobState::Completed, JobState::Completed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_passes_for_retries_and_keys() {
    let kit = kit().await;
    assert_eq!(kit.run(&ask("nobody")).await.row.state, JobState::Discarded);
    let busy = kit.run(&ask("busy")).await.row;
    assert_eq!((busy.state, busy.attempt), (JobState::Retryable, 1));
    assert!(!kit.enqueue(&ask("busy")).await.inserted(), "once in half a day");
    kit.skip(DAY).await;
    kit.drain("asking").await;
    assert_eq!(kit.show(busy.id).await.row.state, JobState::Completed);
    assert!(kit.enqueue(&ask("busy")).await.inserted(), "the time of the key is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_passes_for_deadlines() {
    let kit = kit().await;
    let enqueue = async |whom: &str, deadline: Duration| {
        let job = NewJob::with_options(&ask(whom), Options::new().deadline(deadline)).unwrap();
        let mut tx = kit.db().begin(Scope::Platform).await.unwrap();
        let id = tx.enqueue(job).await.unwrap().id;
        tx.commit().await.unwrap();
        id
    };
    let (soon, later) = (enqueue("Ada", DAY).await, enqueue("Bob", DAY * 3).await);
    kit.skip(DAY / 2).await;
    assert_eq!(kit.show(soon).await.row.state, JobState::Available, "half a day is left");
    kit.skip(DAY).await;
    let dead = kit.show(soon).await.row;
    assert_eq!(dead.state, JobState::Discarded);
    assert!(dead.error.unwrap().starts_with("deadline"), "it says why");
    kit.drain("asking").await;
    assert_eq!(kit.show(later).await.row.state, JobState::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "nothing like")]
async fn what_was_not_enqueued_is_told() {
    kit().await.assert_enqueued(&Expected::kind("test.ask")).await;
}
