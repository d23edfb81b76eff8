//! Connections: two pools, one a role, and direct connections for the queue's own loops.

use crate::engine::coalesce::Coalescer;
use crate::engine::lanes::LaneCache;
use crate::engine::line::KEYED_PLANS;
use crate::events::{IngestLines, SettingsCache};
use crate::outbound::Subscriptions;
use crate::tx::EngineTx;
use crate::{Result, Scope, StoreFault, Tx};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, PgTransaction, SqlStr};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use switchyard_domain::ledger::HeadKey;
use switchyard_queue::{ArgsCipher, Wake};

/// The application's role: tenant tables under row-level security.
pub(crate) const APP_ROLE: &str = "switchyard_app";
/// The queue's role: no tenant table.
pub(crate) const ENGINE_ROLE: &str = "switchyard_engine";

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct DbConfig {
    /// `postgres://...`; the login must be a member of both roles.
    pub url: SecretString,
    /// Size of the application's pool.
    pub app_connections: u32,
    /// Size of the engine's pool (dashboards, enqueue from the CLI, maintenance). Claim, settle,
    /// presence and wake-up use connections of their own.
    pub engine_connections: u32,
    /// How long a caller waits for a free connection.
    pub acquire_timeout: Duration,
    /// Longest statement.
    pub statement_timeout: Duration,
}

impl DbConfig {
    /// The defaults for a URL: 12 + 4 connections, 3 s to get one, 15 s a statement.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            app_connections: 12,
            engine_connections: 4,
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(15),
        }
    }

    /// Options for a connection under `role`.
    ///
    /// # Errors
    /// If the URL is not one.
    pub(crate) fn options(&self, role: &str, name: &str) -> Result<PgConnectOptions> {
        let options: PgConnectOptions = self.url.expose_secret().parse()?;
        Ok(options
            .application_name(name)
            .options([
                ("role", role),
                // Plans of these statements are short; compiling one took half a second once.
                ("jit", "off"),
                ("timezone", "UTC"),
                ("statement_timeout", &self.statement_timeout.as_millis().to_string()),
                ("idle_in_transaction_session_timeout", "60000"),
            ])
            .log_statements(tracing::log::LevelFilter::Trace)
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1)))
    }
}

/// Begins a transaction to the end, whatever becomes of the caller (a request whose client has gone,
/// a chore that is stopped). Dropped half way, `begin` leaves its connection in a transaction that
/// sqlx has not counted and so does not roll back, and the pool hands it on: what the next one
/// writes without a transaction of its own would never be committed.
async fn begun<F>(begin: F) -> Result<PgTransaction<'static>>
where
    F: Future<Output = sqlx::Result<PgTransaction<'static>>> + Send + 'static,
{
    match tokio::spawn(begin).await {
        Ok(transaction) => Ok(transaction?),
        Err(_) => Err(StoreFault::Unavailable(sqlx::Error::WorkerCrashed)),
    }
}

/// A connection that was used so short a time ago is taken to live: a ping before each use would be a
/// quarter of the round trips of a small transaction.
const TRUSTED: Duration = Duration::from_secs(1);

/// Connections are made when they are first needed.
fn pool(config: &DbConfig, options: PgConnectOptions, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(config.acquire_timeout)
        .idle_timeout(Duration::from_secs(300))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    app: PgPool,
    engine: PgPool,
    config: Arc<DbConfig>,
    wake: Arc<dyn Wake>,
    lanes: Arc<LaneCache>,
    coalescer: Arc<Coalescer>,
    subscriptions: Arc<Subscriptions>,
    settings: SettingsCache,
    ingest_lines: Arc<IngestLines>,
    cipher: Option<Arc<dyn ArgsCipher>>,
    head_key: Option<Arc<HeadKey>>,
}

impl Db {
    /// Opens the pools. Connections are made when they are first needed, so this succeeds while
    /// the database is away.
    ///
    /// # Errors
    /// If the URL is not one.
    pub fn connect(config: DbConfig, wake: Arc<dyn Wake>) -> Result<Self> {
        let app = config.options(APP_ROLE, "switchyard app")?;
        let app = pool(&config, app, config.app_connections);
        let engine = config.options(ENGINE_ROLE, "switchyard engine")?;
        let engine = pool(&config, engine, config.engine_connections);
        Ok(Self {
            app,
            engine,
            config: Arc::new(config),
            wake,
            lanes: Arc::default(),
            coalescer: Arc::default(),
            subscriptions: Arc::default(),
            settings: SettingsCache::default(),
            ingest_lines: Arc::default(),
            cipher: None,
            head_key: None,
        })
    }

    /// The same database with a pool of its own for the transactions of jobs. Where requests and
    /// jobs share a process, jobs that wait for a lock must not keep requests waiting for a
    /// connection.
    ///
    /// # Errors
    /// If the URL is not one.
    pub fn for_jobs(&self) -> Result<Self> {
        let options = self.config.options(APP_ROLE, "switchyard jobs")?.options(KEYED_PLANS);
        let app = pool(&self.config, options, self.config.app_connections);
        Ok(Self { app, ..self.clone() })
    }

    /// The same database with keys for the arguments of encrypted kinds.
    #[must_use]
    pub fn sealing_with(self, cipher: Option<Arc<dyn ArgsCipher>>) -> Self {
        Self { cipher, ..self }
    }

    /// The same database with the key that signs heads of the ledger's log.
    #[must_use]
    pub fn signing_with(self, key: Option<HeadKey>) -> Self {
        Self { head_key: key.map(Arc::new), ..self }
    }

    /// What signs heads of the ledger's log, if this process has the master key.
    #[must_use]
    pub fn head_key(&self) -> Option<&HeadKey> {
        self.head_key.as_deref()
    }

    /// What seals and opens arguments, if this process has a key.
    #[must_use]
    pub fn cipher(&self) -> Option<&dyn ArgsCipher> {
        self.cipher.as_deref()
    }

    /// A transaction of the application in a scope.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn begin(&self, scope: Scope) -> Result<Tx> {
        Tx::begin(self, scope).await
    }

    /// Where wake-ups are sent.
    #[must_use]
    pub fn wake(&self) -> &Arc<dyn Wake> {
        &self.wake
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// If there is none.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("select 1").execute(&self.app).await?;
        Ok(())
    }

    /// Closes the pools, waiting for what is under way.
    pub async fn close(&self) {
        self.ingest_lines.close().await;
        self.app.close().await;
        self.engine.close().await;
    }

    pub(crate) fn coalescer(&self) -> &Arc<Coalescer> {
        &self.coalescer
    }

    pub(crate) fn subscriptions(&self) -> &Arc<Subscriptions> {
        &self.subscriptions
    }

    pub(crate) fn ingest_lines(&self) -> &IngestLines {
        &self.ingest_lines
    }

    pub(crate) fn settings(&self) -> &SettingsCache {
        &self.settings
    }

    pub(crate) fn lanes(&self) -> &LaneCache {
        &self.lanes
    }

    pub(crate) fn app(&self) -> &PgPool {
        &self.app
    }

    pub(crate) fn engine(&self) -> &PgPool {
        &self.engine
    }

    /// A transaction of the application, begun by this statement.
    pub(crate) async fn begin_app(&self, statement: SqlStr) -> Result<PgTransaction<'static>> {
        let app = self.app.clone();
        begun(async move { app.begin_with(statement).await }).await
    }

    /// A transaction of the engine.
    pub(crate) async fn begin_engine(&self) -> Result<EngineTx> {
        let engine = self.engine.clone();
        begun(async move { engine.begin().await }).await.map(EngineTx)
    }

    pub(crate) fn config(&self) -> &DbConfig {
        &self.config
    }

    /// A connection outside the pools, for claim and settle: they hold it for the life of the
    /// worker, and a pool's ping at every release is dear at this rate.
    pub(crate) async fn direct(
        &self,
        name: &str,
        settings: &[(&'static str, &'static str)],
    ) -> Result<PgConnection> {
        self.direct_as(ENGINE_ROLE, name, settings).await
    }

    /// The same under another role.
    pub(crate) async fn direct_as(
        &self,
        role: &str,
        name: &str,
        settings: &[(&'static str, &'static str)],
    ) -> Result<PgConnection> {
        let options = self.config.options(role, name)?.options(settings.iter().copied());
        let connect = PgConnection::connect_with(&options);
        match tokio::time::timeout(self.config.acquire_timeout, connect).await {
            Ok(connection) => Ok(connection?),
            Err(_) => Err(StoreFault::Unavailable(sqlx::Error::PoolTimedOut)),
        }
    }
}
