//! A platform of one test: its portals, agencies and a tiny worker that runs what is due.

use chrono::{Duration as Span, Utc};
use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_catalog::line::{self, Cause, Delivery};
use switchyard_catalog::{Platform, SettleMessages, registry};
use switchyard_domain::delivery::DeliveryKey;
use switchyard_domain::{AgencyId, AgentId, EventId, Headers, LeadId, PortalId};
use switchyard_providers::Providers;
use switchyard_queue::{
    ActiveLane, ClaimRequest, ClaimedJob, Dispatcher, ErrorClass, ErrorReport, Held, JobResult,
    JobStore, LaneTake, NewJob, Outcome, Presence, SettleAs, Settlement, SystemClock,
    SystemEntropy, WorkerId, WorkerInfo,
};
use switchyard_store::events::{self, EventFilter, NewEvent};
use switchyard_store::leads::{self, Lead, LeadFilter, Place};
use switchyard_store::{Db, PgJobStore, Scope, Tx, maintenance, portals};
use switchyard_tests::TestDb;
use tokio_util::sync::CancellationToken;

/// Whoever stores a lead looks at its portal's row.
pub const PORTAL: &str = "select from switchyard.portals for update";

/// What one attempt came to: the kind, and `settled`, `done`, `retry`, `permanent`, ...
pub type Ran = (String, &'static str);

pub struct Line {
    pub test: TestDb,
    pub db: Db,
    pub portal: PortalId,
    store: PgJobStore,
    dispatcher: Dispatcher,
}

impl Line {
    pub async fn new() -> Self {
        Self::with_providers(Providers::capture()).await
    }

    pub async fn with_providers(providers: Providers) -> Self {
        let test = TestDb::new().await;
        let db = test.db.clone();
        let platform = Platform::new(db.clone(), providers, "https://app.example.test/leads/{id}");
        let dispatcher = registry().bind(platform, Arc::new(SystemClock), Arc::new(SystemEntropy));
        let store = PgJobStore::new(&db);
        let mut tx = db.begin(Scope::Platform).await.unwrap();
        let portal = portals::upsert(
            &mut tx,
            &portals::NewPortal {
                code: "demo".into(),
                name: "Demo".into(),
                active: true,
                settings: settings("email"),
                api_key_hash: Some(vec![1; 32]),
                signing_secret: None,
            },
        )
        .await
        .unwrap()
        .id;
        tx.commit().await.unwrap();
        Self { test, db, portal, store, dispatcher }
    }

    pub async fn platform(&self) -> Tx {
        self.db.begin(Scope::Platform).await.unwrap()
    }

    pub async fn tenant(&self, agency: AgencyId) -> Tx {
        self.db.begin(Scope::Tenant(agency)).await.unwrap()
    }

    /// An agency that subscribes and has one agent with an e-mail address.
    pub async fn agency(&self, name: &str, codes: &[&str]) -> AgencyId {
        let id = self.bare_agency(name, false).await;
        self.cover(id, codes).await;
        let mut tx = self.platform().await;
        let email = format!("agent@{name}.test");
        switchyard_store::agents::upsert(&mut tx, AgentId::new(), id, "Ann", Some(&email), None)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub async fn bare_agency(&self, name: &str, catch_all: bool) -> AgencyId {
        let id = AgencyId::new();
        sqlx::query(
            "insert into switchyard.agencies
               (id, name, email, phone, password_hash, subscribed_until, catch_all)
             values ($1, $2, $3, '+48221234567', 'x', $4, $5)",
        )
        .bind(id.0)
        .bind(name)
        .bind(format!("office@{name}.test"))
        .bind(Utc::now() + Span::days(30))
        .bind(catch_all)
        .execute(&mut self.test.owner().await)
        .await
        .unwrap();
        id
    }

    pub async fn cover(&self, agency: AgencyId, codes: &[&str]) {
        if codes.is_empty() {
            return;
        }
        let places: Vec<_> = codes.iter().map(|code| place("PL", code)).collect();
        let mut tx = self.tenant(agency).await;
        line::add_territories(&mut tx, agency, &places, &Cause::default()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A delivery of the demo portal with the sender's id.
    pub fn delivery(&self, id: &str, body: &Value) -> NewEvent {
        self.keyed(DeliveryKey::Sender(id.to_owned()), body)
    }

    pub fn keyed(&self, key: DeliveryKey, body: &Value) -> NewEvent {
        let delivery = Delivery {
            portal: self.portal,
            key,
            body: serde_json::to_vec(body).unwrap(),
            headers: Headers::from_iter([("content-type", "application/json")]),
            url: None,
            remote_addr: Some("203.0.113.7".into()),
        };
        let cause = Cause { trace: None, request_id: Some("req-1".into()) };
        line::event(delivery, &cause).unwrap()
    }

    /// Takes one delivery in and does all work that follows; gives the event.
    pub async fn send(&self, id: &str, body: &Value) -> EventId {
        let answers = events::ingest(&self.db, vec![self.delivery(id, body)]).await.unwrap();
        self.run().await;
        answers[0].event
    }

    pub async fn set_settings(&self, settings: &Value) {
        let mut tx = self.platform().await;
        portals::set_settings(&mut tx, self.portal, settings).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn lead_of(&self, event: EventId) -> Lead {
        let mut tx = self.platform().await;
        let (event, _, _) = events::get(&mut tx, event).await.unwrap();
        leads::get(&mut tx, event.lead.expect("the event became a lead")).await.unwrap()
    }

    pub async fn lead(&self, id: LeadId) -> Lead {
        leads::get(&mut self.platform().await, id).await.unwrap()
    }

    pub async fn leads(&self) -> Vec<Lead> {
        let filter = LeadFilter { limit: 1000, ..LeadFilter::default() };
        leads::list(&mut self.platform().await, &filter).await.unwrap()
    }

    pub async fn events(&self) -> Vec<events::Event> {
        let filter = EventFilter { limit: 1000, ..EventFilter::default() };
        events::list(&mut self.platform().await, &filter).await.unwrap()
    }

    /// Runs what is due until nothing is, many at a time as a worker does.
    pub async fn run(&self) -> Vec<Ran> {
        let presence = self.register().await;
        let mut ran = Vec::new();
        loop {
            let jobs = self.claim(presence.id, &[]).await;
            if jobs.is_empty() {
                return ran;
            }
            let results = join_all(jobs.into_iter().map(|job| self.attempt(job))).await;
            let mut settlements = Vec::new();
            for (name, settlement, kind) in results {
                settlements.extend(settlement);
                ran.push((kind, name));
            }
            self.store.settle(&settlements).await.unwrap();
        }
    }

    /// Makes what waits for another attempt due, and runs.
    pub async fn run_retries(&self) -> Vec<Ran> {
        sqlx::query("update engine.jobs set run_at = now() - interval '1 second' where stage = 1")
            .execute(&mut self.test.owner().await)
            .await
            .unwrap();
        maintenance::promote_due(&self.db).await.unwrap();
        self.run().await
    }

    pub async fn register(&self) -> Presence {
        let info = WorkerInfo {
            host: "test".into(),
            pid: 1,
            version: "0".into(),
            kinds: self.kinds(),
            queues: queues(),
            declares: Vec::new(),
        };
        self.store.register(&info).await.unwrap()
    }

    /// Claims what is due; claims of `dead` workers are void.
    pub async fn claim(&self, worker: WorkerId, dead: &[WorkerId]) -> Vec<ClaimedJob> {
        let lanes = self.store.active_lanes(&queues()).await.unwrap();
        let take = |l: &ActiveLane| LaneTake {
            limited: !l.limits.is_empty(),
            ..LaneTake::whole(l.lane, 50)
        };
        let lanes: Vec<_> = lanes.iter().map(take).collect();
        let kinds = self.kinds();
        let lease = Duration::from_secs(60);
        let request =
            ClaimRequest { worker, kinds: &kinds, lanes: &lanes, lease, dead, alone: false };
        self.store.claim(&request).await.unwrap().jobs
    }

    /// Runs the line of one lead up to its message, and claims the job that sends it.
    pub async fn claim_notify(&self, worker: WorkerId) -> ClaimedJob {
        loop {
            let mut jobs = self.claim(worker, &[]).await;
            let job = jobs.pop().expect("the next step of the line");
            assert!(jobs.is_empty());
            if job.kind == "notify.whatsapp" {
                return job;
            }
            self.run_claimed(job).await.unwrap();
        }
    }

    /// Ends a claim as the engine does when an attempt was the last and gave no result.
    pub async fn dead_letter(&self, job: &ClaimedJob, why: &str) {
        let report = ErrorReport { class: "timeout", message: why.to_owned() };
        let held = Held { id: job.id, fence: job.fence };
        let ran = Duration::from_millis(1);
        let end = Settlement { held, result: SettleAs::Discard(report), ran };
        self.store.settle(&[end]).await.unwrap();
    }

    /// The periodic look for messages that nobody will send, as the scheduler enqueues it.
    pub async fn settle_messages(&self) {
        let mut tx = self.platform().await;
        let job = NewJob::of(&SettleMessages {}).unwrap();
        tx.enqueue(job).await.unwrap();
        tx.commit().await.unwrap();
        let ran = self.run().await;
        assert_eq!(ran, [("messages.settle_stranded".to_owned(), "done")]);
    }

    /// Takes a delivery in and claims the job that judges it.
    pub async fn to_judge(
        &self,
        worker: &Presence,
        id: &str,
        body: &Value,
    ) -> (EventId, ClaimedJob) {
        let answers = events::ingest(&self.db, vec![self.delivery(id, body)]).await.unwrap();
        let mut jobs = self.claim(worker.id, &[]).await;
        assert_eq!(jobs.len(), 1, "nothing else is due");
        (answers[0].event, jobs.remove(0))
    }

    pub async fn run_claimed(&self, job: ClaimedJob) -> JobResult {
        self.dispatcher.run(Arc::new(job), CancellationToken::new()).await
    }

    async fn attempt(&self, job: ClaimedJob) -> (&'static str, Option<Settlement>, String) {
        let held = Held { id: job.id, fence: job.fence };
        let (kind, last) = (job.kind.clone(), job.attempt >= job.max_attempts);
        let (name, result) = match self.run_claimed(job).await {
            Ok(Outcome::Settled(_)) => ("settled", None),
            Ok(Outcome::Done) => ("done", Some(SettleAs::Completed)),
            Ok(Outcome::DoneWith(value)) => ("done", Some(SettleAs::CompletedWith(value))),
            Ok(Outcome::Snooze(wait)) => ("snooze", Some(SettleAs::Snooze(wait))),
            Ok(Outcome::Cancel(why)) => ("cancel", Some(SettleAs::Cancelled(why))),
            Err(e) => {
                let report = ErrorReport { class: "error", message: e.chain().join("\n") };
                match e.class() {
                    ErrorClass::Lost => ("lost", None),
                    ErrorClass::Permanent => ("permanent", Some(SettleAs::Discard(report))),
                    ErrorClass::Retry { .. } if last => ("last", Some(SettleAs::Discard(report))),
                    ErrorClass::Retry { after } => {
                        let wait = after.unwrap_or(Duration::from_secs(60));
                        ("retry", Some(SettleAs::Retry(wait, report)))
                    }
                }
            }
        };
        let ran = Duration::from_millis(1);
        (name, result.map(|result| Settlement { held, result, ran }), kind)
    }

    fn kinds(&self) -> Vec<String> {
        self.dispatcher.names().iter().map(|n| (*n).to_owned()).collect()
    }
}

/// Runs two things while the rows of a statement are locked, the second one once the first waits for a
/// lock; the rows are free when both do. So each has what it takes before them, and wants the rest.
pub async fn at_a_gate<A, B>(
    line: &Line,
    rows: &'static str,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let mut owner = line.test.owner().await;
    let mut gate = owner.begin().await.unwrap();
    let held = sqlx::query(rows).execute(&mut *gate).await.unwrap();
    assert!(held.rows_affected() > 0, "nothing stands at `{rows}`");
    let (one, two) = (line.test.owner().await, line.test.owner().await);
    let second = async {
        waiting(one, 1).await;
        second.await
    };
    let open = async {
        waiting(two, 2).await;
        gate.rollback().await.unwrap();
    };
    let (a, b, ()) = tokio::join!(first, second, open);
    (a, b)
}

/// Until so many sessions of this database wait for a lock.
async fn waiting(mut owner: PgConnection, sessions: i64) {
    let begun = Instant::now();
    loop {
        let now: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&mut owner)
        .await
        .unwrap();
        if now >= sessions {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{now} of {sessions} wait for a lock");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn queues() -> Vec<String> {
    switchyard_catalog::queues::ALL.iter().map(|q| q.0.to_owned()).collect()
}

pub fn place(country: &str, code: &str) -> Place {
    Place { country: country.into(), postal_code: code.into() }
}

/// The demo portal's settings, with the e-mail address taken from this member.
pub fn settings(email: &str) -> Value {
    json!({
        "api_key": { "in": "header", "name": "X-API-Key" },
        "delivery_id": { "path": "id" },
        "mapping": { "fields": {
            "external_id": "id",
            "first_name": "first_name",
            "email": email,
            "phone": "phone",
            "postal_code": "postal_code",
            "country": "country",
            "interest": "product",
            "message": "message",
        } },
    })
}

/// A person in Poland; `id` is the sender's.
pub fn person(id: &str, code: Option<&str>) -> Value {
    json!({
        "id": id,
        "first_name": "Marta",
        "email": format!("{id}@example.test"),
        "country": "PL",
        "postal_code": code,
        "product": "Windows",
        "message": "Please call after six.",
    })
}
