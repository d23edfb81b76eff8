//! A platform of one test with a real server in front: database, portal, agency, administrator,
//! and workers when asked for.

use chrono::{Duration as Span, Utc};
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_api::{Api, ApiConfig, ApiParts};
use switchyard_catalog::backup::Backups;
use switchyard_catalog::line::{self, Cause, Delivery};
use switchyard_catalog::{Platform, registry};
use switchyard_domain::delivery::DeliveryKey;
use switchyard_domain::secrets::MasterKey;
use switchyard_domain::{AgencyId, AgentId, EventId, Headers, PortalId};
use switchyard_providers::Providers;
use switchyard_queue::{JobId, JobState, NewJob, Options, SystemClock, SystemEntropy};
use switchyard_store::leads::Place;
use switchyard_store::overview::{self, LeadLine};
use switchyard_store::{
    Db, DbConfig, PgJobStore, PgWake, Scope, administrators, agents, events, jobs, portals,
};
use switchyard_tests::TestDb;
use switchyard_workers::WorkerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const EMAIL: &str = "ops@example.test";
pub const PASSWORD: &str = "correct horse battery staple";

/// Everything that one test needs.
pub struct Ops {
    pub test: TestDb,
    pub db: Db,
    pub api: Api,
    pub base: String,
    pub portal: PortalId,
    pub shutdown: CancellationToken,
    pub server: JoinHandle<std::io::Result<()>>,
    client: Client,
    _end: DropGuard,
}

impl Ops {
    /// A server on a free port, without workers.
    pub async fn new() -> Self {
        Self::over(TestDb::new().await, None).await
    }

    /// The same with an archive.
    pub async fn over(test: TestDb, backups: Option<Arc<Backups>>) -> Self {
        let shutdown = CancellationToken::new();
        let wake = PgWake::start(&DbConfig::new(test.url.clone()), shutdown.clone()).unwrap();
        // Two keys, as after a new one has come: the first is the current one.
        let ring = Arc::new(switchyard_tests::kit::ring(&[7, 8]));
        let db = test.with_wake(wake).sealing_with(Some(ring));
        let api = Api::new(ApiParts {
            db: db.clone(),
            registry: Arc::new(registry()),
            keys: MasterKey::new([7; 32]),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            clock: Arc::new(SystemClock),
            config: ApiConfig::default(),
            probes: Vec::new(),
            backups,
        });
        let portal = furnish(&db).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(switchyard_api::serve(listener, api.clone(), shutdown.clone()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let end = shutdown.clone().drop_guard();
        Self { test, db, api, base, portal, shutdown, server, client, _end: end }
    }

    /// One worker for every queue; it ends with the test.
    pub fn work(&self) {
        let url = "https://app.example.test/leads/{id}";
        let platform = Platform::new(self.db.clone(), Providers::capture(), url);
        let dispatcher = registry().bind(platform, Arc::new(SystemClock), Arc::new(SystemEntropy));
        let wake = Arc::clone(self.db.wake());
        let config = WorkerConfig { concurrency: 8, ..WorkerConfig::default() };
        let store = PgJobStore::new(&self.db);
        tokio::spawn(switchyard_workers::run(
            store,
            dispatcher,
            wake,
            config,
            self.shutdown.clone(),
        ));
    }

    /// Another administrator with the same password.
    pub async fn another(&self, email: &str) {
        let hash = switchyard_api::password::hash(PASSWORD).unwrap();
        let mut tx = self.db.begin(Scope::Platform).await.unwrap();
        administrators::create(&mut tx, email, "Otto Other", &hash).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A delivery of the demo portal, committed as the API would.
    pub async fn deliver(&self, body: &Value) -> EventId {
        let id = body["id"].as_str().unwrap_or("none").to_owned();
        let delivery = Delivery {
            portal: self.portal,
            key: DeliveryKey::Sender(id.clone()),
            body: serde_json::to_vec(body).unwrap(),
            headers: Headers::from_iter([("content-type", "application/json")]),
            url: None,
            remote_addr: Some("203.0.113.7".into()),
        };
        let cause = Cause { trace: None, request_id: Some(format!("req-{id}")) };
        let event = line::event(delivery, &cause).unwrap();
        events::ingest(&self.db, vec![event]).await.unwrap()[0].event
    }

    /// Waits until a delivery has gone the whole way.
    pub async fn arrived(&self, event: EventId) -> LeadLine {
        within(Duration::from_secs(15), "the delivery goes its way", async || {
            let mut tx = self.db.begin(Scope::Platform).await.unwrap();
            let lines = overview::lines(&mut tx, 50).await.unwrap();
            let line = lines.into_iter().find(|l| l.event == event)?;
            let told = line.assignments.iter().flat_map(|a| &a.messages);
            let sent = told.filter(|m| m.state == "sent").count();
            (sent > 0 && line.assignments.iter().flat_map(|a| &a.messages).count() == sent)
                .then_some(line)
        })
        .await
    }

    /// A job that nobody runs yet, in a state of one's choice.
    pub async fn job(&self, kind: &'static str, options: Options) -> JobId {
        let timeout = Duration::from_secs(30);
        let job = NewJob::raw(kind, "maintenance", timeout, json!({}), options)
            .caused_by(None, Some("req-by-hand"));
        let id = job.id;
        let mut tx = self.db.begin(Scope::Platform).await.unwrap();
        tx.enqueue(job).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// A dead letter that will complete when it is retried.
    pub async fn dead_letter(&self) -> JobId {
        let late = Options::new().delay(Duration::from_secs(3600));
        let id = self.job("leads.rescan_unassigned", late).await;
        jobs::discard(&self.db, id).await.unwrap();
        id
    }

    pub async fn state(&self, id: JobId) -> JobState {
        jobs::find(&self.db, id).await.unwrap().state
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Signs in by the form.
    pub async fn sign_in(&self) -> Session<'_> {
        let form = [("email", EMAIL), ("password", PASSWORD)];
        let answer = self.request(Method::POST, "/ops/login").form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 303, "{}", answer.text().await.unwrap());
        let mut session = Session { ops: self, cookies: BTreeMap::new() };
        session.take(answer.headers());
        session
    }
}

/// A portal, an agency that covers 00-950 with an agent, and an administrator.
async fn furnish(db: &Db) -> PortalId {
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    let hash = switchyard_api::password::hash(PASSWORD).unwrap();
    administrators::create(&mut tx, EMAIL, "Olga Operator", &hash).await.unwrap();
    let settings = switchyard_tests::seed::portal_settings("demo");
    let portal = portals::NewPortal {
        code: "demo".into(),
        name: "Demo portal".into(),
        active: true,
        settings,
        api_key_hash: Some(vec![1; 32]),
        signing_secret: None,
    };
    let portal = portals::upsert(&mut tx, &portal).await.unwrap().id;
    tx.commit().await.unwrap();
    agency(db, "Nordhaus Immobilien", "nordhaus", &["00-950"]).await;
    portal
}

/// An agency with one agent who has both channels.
pub async fn agency(db: &Db, name: &str, domain: &str, codes: &[&str]) -> AgencyId {
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    let id = switchyard_store::agencies::create(
        &mut tx,
        &switchyard_store::agencies::NewAgency {
            name: name.into(),
            email: format!("office@{domain}.test"),
            phone: Some("+48221234567".into()),
            password_hash: "x".into(),
            subscribed_until: Some(Utc::now() + Span::days(30)),
            catch_all: false,
        },
    )
    .await
    .unwrap();
    let mail = format!("jan@{domain}.test");
    agents::upsert(&mut tx, AgentId::new(), id, "Jan Kowalski", Some(&mail), Some("+48501000000"))
        .await
        .unwrap();
    let place = |code: &&str| Place { country: "PL".into(), postal_code: (*code).into() };
    let places: Vec<Place> = codes.iter().map(place).collect();
    line::add_territories(&mut tx, id, &places, &Cause::default()).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// A person in Warsaw.
pub fn person(id: &str, first: &str, last: &str) -> Value {
    json!({
        "id": id, "first_name": first, "last_name": last, "email": format!("{id}@example.test"),
        "phone": "+48 601 000 000", "country": "PL", "postal_code": "00-950",
        "product": "Flat with two rooms", "message": "Please call after six.",
    })
}

/// Somebody who is signed in: a browser's cookies.
pub struct Session<'a> {
    pub ops: &'a Ops,
    cookies: BTreeMap<String, String>,
}

impl Session<'_> {
    pub fn take(&mut self, headers: &HeaderMap) {
        for value in headers.get_all(SET_COOKIE) {
            let pair = value.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.into(), value.into());
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let pairs: Vec<String> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        self.ops.request(method, path).header(COOKIE, pairs.join("; "))
    }

    pub async fn get(&mut self, path: &str) -> (u16, String) {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        self.take(answer.headers());
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A page that must be there, and keep the policy: no script or style of its own.
    pub async fn page(&mut self, path: &str) -> String {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        self.take(answer.headers());
        assert_eq!(answer.status(), 200, "{path}");
        let html = answer.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/html");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        if html && !path.ends_with("/html") {
            assert!(policy.contains("script-src 'self'"), "{path}: {policy}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            for forbidden in ["<script>", "<style", " style=", " onclick=", "javascript:"] {
                assert!(!text.contains(forbidden), "{path} holds {forbidden}");
            }
        }
        text
    }

    /// Presses a button without script; gives where it led and that page.
    pub async fn press(&mut self, path: &str) -> (String, String) {
        self.send(path, &[]).await
    }

    /// The same with a form filled in.
    pub async fn send(&mut self, path: &str, form: &[(&str, &str)]) -> (String, String) {
        let answer = self.request(Method::POST, path).form(form).send().await.unwrap();
        assert_eq!(answer.status(), 303, "{path}");
        self.take(answer.headers());
        let to = answer.headers()[LOCATION].to_str().unwrap().to_owned();
        let page = self.page(&to).await;
        (to, page)
    }

    /// Opens the live events.
    pub async fn live(&self, path: &str) -> Events {
        let request = self.request(Method::GET, path).header("accept", "text/event-stream");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Events { answer, rest: String::new() }
    }
}

/// A stream of server-sent events.
pub struct Events {
    answer: Response,
    rest: String,
}

impl Events {
    /// The next event's name and data; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let field = |name: &str| {
                    let lines = block.lines().filter_map(|l| l.strip_prefix(name));
                    lines.map(|l| l.strip_prefix(' ').unwrap_or(l)).collect::<Vec<_>>().join("\n")
                };
                let event = (field("event:"), field("data:"));
                self.rest = rest.to_owned();
                if !event.0.is_empty() {
                    return Some(event);
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.answer.chunk());
            let chunk = chunk.await.expect("an event within 20 s").ok()??;
            self.rest.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The first event of this name whose data meets the condition.
    pub async fn until(&mut self, name: &str, holds: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        while let Some((event, data)) = self.next().await {
            if event == name && holds(&data) {
                return data;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "no such `{name}` event");
        }
        panic!("the stream ended without such a `{name}` event")
    }
}

/// Asks until there is an answer.
pub async fn within<T>(limit: Duration, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
