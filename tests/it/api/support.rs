//! A front on a real socket over a database of its own, and portals to send to.

use axum::http::Method;
use chrono::Utc;
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::{Api, ApiConfig, ApiParts, password};
use switchyard_catalog::backup::Backups;
use switchyard_domain::secrets::{MasterKey, PORTAL_SIGNING, hash_api_key};
use switchyard_queue::{Clock, ManualClock};
use switchyard_store::portals::NewPortal;
use switchyard_store::{Db, DbConfig, Scope, administrators, portals};
use switchyard_tests::TestDb;
use switchyard_tests::seed::portal_settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const KEY: &str = "sk_the-key-of-the-demo-portal";
pub const PASSWORD: &str = "correct horse battery staple";

/// A running front.
pub struct Front {
    pub test: TestDb,
    pub address: SocketAddr,
    pub client: Client,
    pub clock: Arc<ManualClock>,
    pub keys: MasterKey,
    pub api: Api,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

/// Caches that forget at once, so that tests see changes.
pub fn config() -> ApiConfig {
    ApiConfig {
        portal_cache_ttl: Duration::from_millis(1),
        account_cache_ttl: Duration::from_millis(1),
        ..ApiConfig::default()
    }
}

impl Front {
    pub async fn new() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: ApiConfig) -> Self {
        let test = TestDb::new().await;
        let db = test.db.clone();
        Self::over(test, db, config).await
    }

    /// A front that reaches the database in its own way.
    pub async fn over(test: TestDb, db: Db, config: ApiConfig) -> Self {
        Self::backing_up(test, db, config, None).await
    }

    /// The same with an archive.
    pub async fn backing_up(
        test: TestDb,
        db: Db,
        config: ApiConfig,
        backups: Option<Arc<Backups>>,
    ) -> Self {
        let clock = Arc::new(ManualClock::at(Utc::now()));
        let keys = MasterKey::new([7; 32]);
        let api = Api::new(ApiParts {
            db,
            registry: Arc::new(switchyard_catalog::registry()),
            keys: keys.clone(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            config,
            probes: Vec::new(),
            backups,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(switchyard_api::serve(listener, api.clone(), stop.clone()));
        // The client of the tests speaks plain HTTP, but wants to know its cryptography.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Self { test, address, client, clock, keys, api, stop, served }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    pub fn put(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::PUT, path).json(body)
    }

    /// Delivers to the demo portal with its key.
    pub fn deliver(&self, body: &Value) -> RequestBuilder {
        self.post("/api/webhooks/demo", body).header("x-api-key", KEY)
    }

    /// Begins the shutdown; the task ends when the front has drained.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub async fn stopped(self) -> TestDb {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        self.test
    }

    /// The portal that takes the standard lead as flat JSON.
    pub async fn demo(&self) {
        self.portal("demo", portal_settings("demo"), Some(KEY), None).await;
    }

    /// A portal by its settings.
    pub async fn portal(
        &self,
        code: &str,
        settings: Value,
        key: Option<&str>,
        secret: Option<&str>,
    ) {
        let new = NewPortal {
            code: code.to_owned(),
            name: code.to_owned(),
            active: true,
            settings,
            api_key_hash: key.map(|k| hash_api_key(k).to_vec()),
            signing_secret: secret.map(|s| self.keys.seal(PORTAL_SIGNING, s.as_bytes())),
        };
        let mut tx = self.test.db.begin(Scope::Platform).await.unwrap();
        portals::upsert(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// An administrator's token.
    pub async fn admin(&self) -> String {
        let hash = password::hash(PASSWORD).unwrap();
        let mut tx = self.test.db.begin(Scope::Platform).await.unwrap();
        administrators::create(&mut tx, "ops@example.com", "Anna", &hash).await.unwrap();
        tx.commit().await.unwrap();
        let who = json!({"email": "ops@example.com", "password": PASSWORD});
        let answer = json_of(self.post("/api/admin/auth/login", &who), 200).await;
        answer["data"]["token"].as_str().unwrap().to_owned()
    }

    /// A registered agency: its token and its id.
    pub async fn agency(&self, email: &str) -> (String, uuid::Uuid) {
        let who = json!({"name": "Nowak", "email": email, "password": PASSWORD});
        let answer = json_of(self.post("/api/v1/agencies/register", &who), 201).await;
        let token = answer["data"]["token"].as_str().unwrap().to_owned();
        (token, answer["data"]["id"].as_str().unwrap().parse().unwrap())
    }

    pub async fn owner(&self) -> PgConnection {
        self.test.owner().await
    }

    /// Sends bytes as they are and gives what comes back until the front closes.
    pub async fn raw(&self, parts: &[&[u8]]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        for part in parts {
            // The front may have answered and closed before it read everything.
            if stream.write_all(part).await.is_err() {
                break;
            }
        }
        read_to_end(&mut stream).await
    }
}

/// An administrator who is signed in.
pub struct Operator<'a> {
    pub front: &'a Front,
    pub token: String,
}

impl<'a> Operator<'a> {
    pub async fn of(front: &'a Front) -> Self {
        Self { front, token: front.admin().await }
    }

    pub async fn get(&self, path: &str, status: u16) -> Value {
        json_of(self.front.get(path).bearer_auth(&self.token), status).await
    }

    pub async fn post(&self, path: &str, body: &Value, status: u16) -> Value {
        json_of(self.front.post(path, body).bearer_auth(&self.token), status).await
    }

    pub async fn put(&self, path: &str, body: &Value, status: u16) -> Value {
        json_of(self.front.put(path, body).bearer_auth(&self.token), status).await
    }

    pub async fn delete(&self, path: &str, status: u16) -> Value {
        json_of(self.front.request(Method::DELETE, path).bearer_auth(&self.token), status).await
    }

    /// Does something to a job.
    pub async fn act(&self, id: &str, verb: &str, status: u16) -> Value {
        let path = format!("/api/admin/jobs/{id}/{verb}");
        let request = self.front.request(Method::POST, &path).bearer_auth(&self.token);
        json_of(request, status).await
    }
}

pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A reset after the answer is as good an end as any.
    let _ = tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Rows that a statement counts.
pub async fn count(owner: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(owner).await.unwrap()
}

/// The answer's body, after its status was looked at.
pub async fn json_of(request: RequestBuilder, status: u16) -> Value {
    checked(request.send().await.unwrap(), status).await
}

/// The same of an answer that has arrived. Every answer is an envelope.
pub async fn checked(response: Response, status: u16) -> Value {
    let got = response.status();
    let retry_after = response.headers().contains_key("retry-after");
    assert!(response.headers().contains_key("x-request-id"), "every answer has a request id");
    let text = response.text().await.unwrap();
    assert_eq!(got, StatusCode::from_u16(status).unwrap(), "{text}");
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(body["success"], got.is_success(), "{text}");
    assert!(body["message"].is_string() && body["timestamp"].is_string(), "{text}");
    assert_eq!(body["error"]["code"].is_string(), !got.is_success(), "{text}");
    assert_eq!(retry_after, matches!(status, 429 | 503), "{text}");
    body
}

/// Waits until a condition holds, for at most 20 s.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(20), wait).await;
    done.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// A TCP proxy before the database that can be cut and mended.
pub struct Cable {
    address: SocketAddr,
    target: SocketAddr,
    cut: CancellationToken,
}

impl Cable {
    /// A cable to the test server, and a configuration that goes through it.
    pub async fn lay(test: &TestDb) -> (Self, DbConfig) {
        use secrecy::ExposeSecret;
        let mut url = reqwest::Url::parse(test.url.expose_secret()).unwrap();
        let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
        let target = target.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        url.set_port(Some(address.port())).unwrap();
        let cable = Self { address, target, cut: CancellationToken::new() };
        cable.carry(listener);
        let mut config = DbConfig::new(SecretString::from(String::from(url)));
        config.acquire_timeout = Duration::from_millis(300);
        (cable, config)
    }

    fn carry(&self, listener: TcpListener) {
        let (target, cut) = (self.target, self.cut.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    a = listener.accept() => a,
                    () = cut.cancelled() => return,
                };
                let Ok((mut near, _)) = accepted else { return };
                let cut = cut.clone();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
    }

    /// Breaks every connection; new ones are refused.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Takes the same address again.
    pub async fn mend(&mut self) {
        self.cut = CancellationToken::new();
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        self.carry(listener);
    }
}
