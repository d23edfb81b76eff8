//! A database for every test, copied from a migrated template.
//!
//! `ops/test` starts the servers and says where they are: `SWITCHYARD_TEST_DATABASE_URL` (a
//! superuser of a server made for tests) and `SWITCHYARD_TEST_REDIS_URL`.

use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::sync::Arc;
use std::time::Duration;
use switchyard_queue::{
    ClaimRequest, ClaimedJob, ErrorReport, Held, JobStore, LaneTake, NewJob, Options, SettleAs,
    Settlement, Wake, WakeToken, WorkerId,
};
use switchyard_store::jobs::errors::{self, ErrorFilter};
use switchyard_store::{Db, DbConfig, PgJobStore, Scope};
use tokio::sync::broadcast;
use uuid::Uuid;

/// The server for tests.
#[must_use]
pub fn server_url() -> String {
    std::env::var("SWITCHYARD_TEST_DATABASE_URL")
        .expect("SWITCHYARD_TEST_DATABASE_URL is not set: run the tests with `ops/test`")
}

/// The Redis for tests, shared: use keys and channels with a random prefix.
#[must_use]
pub fn redis_url() -> String {
    std::env::var("SWITCHYARD_TEST_REDIS_URL")
        .expect("SWITCHYARD_TEST_REDIS_URL is not set: run the tests with `ops/test`")
}

/// A migrated database of its own.
pub struct TestDb {
    /// Where it is, with the owner's rights.
    pub url: SecretString,
    /// The store, under the application's roles. Wake-ups go nowhere; the sweep must do.
    pub db: Db,
}

impl TestDb {
    /// Makes one.
    pub async fn new() -> Self {
        let template = template().await;
        // The process id tells whose it is, see `sweep`.
        let name = format!("sy_test_{}_{}", std::process::id(), Uuid::new_v4().simple());
        let mut admin = admin().await;
        sweep(&mut admin).await;
        sqlx::raw_sql(AssertSqlSafe(format!("create database {name} template {template}")))
            .execute(&mut admin)
            .await
            .expect("a copy of the template");
        let url = SecretString::from(with_database(&server_url(), &name));
        let db = Db::connect(DbConfig::new(url.clone()), Arc::new(Silence::default()))
            .expect("a well-formed URL");
        Self { url, db }
    }

    /// A database that somebody else made and migrated.
    #[must_use]
    pub fn at(url: SecretString) -> Self {
        let db = Db::connect(DbConfig::new(url.clone()), Arc::new(Silence::default()))
            .expect("a well-formed URL");
        Self { url, db }
    }

    /// The same database with other wake-ups.
    #[must_use]
    pub fn with_wake(&self, wake: Arc<dyn Wake>) -> Db {
        Db::connect(DbConfig::new(self.url.clone()), wake).expect("a well-formed URL")
    }

    /// The same database reached in another way, through a proxy say.
    #[must_use]
    pub fn reached_by(&self, config: DbConfig) -> Db {
        Db::connect(config, Arc::new(Silence::default())).expect("a well-formed URL")
    }

    /// Enqueues `more` jobs of a kind, then makes a dead letter of every one that is due, as a worker
    /// does whose attempts fail for good; gives the group of their failures.
    pub async fn fail_for_good(&self, kind: &'static str, more: u32) -> String {
        let (queue, long) = ("maintenance", Duration::from_secs(60));
        let job = |_| NewJob::raw(kind, queue, long, serde_json::json!({}), Options::new());
        let mut tx = self.db.begin(Scope::Platform).await.expect("a transaction");
        tx.enqueue_all((0..more).map(job).collect()).await.expect("jobs");
        tx.commit().await.expect("a commit");
        let (store, kinds) = (PgJobStore::new(&self.db), [kind.to_owned()]);
        let active = store.active_lanes(&[queue.to_owned()]).await.expect("lanes");
        let lanes: Vec<_> = active.iter().map(|l| LaneTake::whole(l.lane, 100)).collect();
        let (worker, dead) = (WorkerId(i64::MAX), &[]);
        let (kinds, lanes) = (&kinds, &lanes);
        let claim = ClaimRequest { worker, kinds, lanes, lease: long, dead, alone: false };
        let fail = |(n, job): (usize, &ClaimedJob)| {
            let message = format!("try {n} had no answer");
            let result = SettleAs::Discard(ErrorReport { class: "error", message });
            Settlement { held: Held { id: job.id, fence: job.fence }, result, ran: Duration::ZERO }
        };
        let claimed = store.claim(&claim).await.expect("a claim").jobs;
        let failed: Vec<_> = claimed.iter().enumerate().map(fail).collect();
        store.settle(&failed).await.expect("results");
        let groups = errors::list(&self.db, &ErrorFilter::default()).await.expect("groups");
        groups.first().expect("a group").fingerprint.clone()
    }

    /// A connection with the owner's rights, for looking behind the curtain.
    pub async fn owner(&self) -> PgConnection {
        use secrecy::ExposeSecret;
        PgConnection::connect(self.url.expose_secret()).await.expect("the test server")
    }
}

/// Drops what ended tests left behind, a few at a time. A test cannot drop its own database: its
/// runtime stands still by then, and a connection that it was just opening would hold up the
/// server (DROP DATABASE waits for every session, also one that waits for a password) for a minute.
async fn sweep(admin: &mut PgConnection) {
    let left: Vec<String> = sqlx::query_scalar(
        "select datname from pg_database where datname like 'sy\\_test\\_%' order by random()",
    )
    .fetch_all(&mut *admin)
    .await
    .expect("an answer");
    let ended = |name: &String| {
        let pid = name.split('_').nth(2).unwrap_or_default();
        !std::path::Path::new("/proc").join(pid).exists()
    };
    for name in left.into_iter().filter(ended).take(3) {
        // Another test may be dropping it too.
        let drop = AssertSqlSafe(format!("drop database if exists {name} with (force)"));
        let _ = sqlx::raw_sql(drop).execute(&mut *admin).await;
    }
}

/// The template's name holds the migrations' checksums, so a changed migration makes a new one.
async fn template() -> String {
    let sum = switchyard_store::migrations_fingerprint();
    let name = format!("sy_template_{sum:016x}");
    let mut admin = admin().await;
    // One process builds it; the others wait here.
    sqlx::query("select pg_advisory_lock(7263541)").execute(&mut admin).await.expect("a lock");
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut admin)
            .await
            .expect("an answer");
    if !exists {
        let building = format!("{name}_new");
        let url = SecretString::from(with_database(&server_url(), &building));
        for sql in [
            format!("drop database if exists {building} with (force)"),
            format!("create database {building}"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("a new database");
        }
        switchyard_store::migrate(&url).await.expect("the migrations");
        sqlx::raw_sql(AssertSqlSafe(format!("alter database {building} rename to {name}")))
            .execute(&mut admin)
            .await
            .expect("the template");
    }
    sqlx::query("select pg_advisory_unlock(7263541)").execute(&mut admin).await.expect("a lock");
    name
}

async fn admin() -> PgConnection {
    PgConnection::connect(&server_url()).await.expect("the test server")
}

fn with_database(server: &str, name: &str) -> String {
    let mut url = reqwest::Url::parse(server).expect("SWITCHYARD_TEST_DATABASE_URL is no URL");
    url.set_path(name);
    url.into()
}

/// Wake-ups that reach nobody.
#[derive(Clone)]
struct Silence(broadcast::Sender<WakeToken>);

impl Default for Silence {
    fn default() -> Self {
        Self(broadcast::channel(1).0)
    }
}

impl Wake for Silence {
    fn send(&self, _: &[WakeToken]) {}

    fn subscribe(&self) -> broadcast::Receiver<WakeToken> {
        self.0.subscribe()
    }
}
