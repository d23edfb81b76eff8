//! `up`: everything in one process, on a private PostgreSQL unless told where one is.

use crate::Fault;
use crate::backups::{self, LocalKeys};
use crate::compose::{self, Base};
use crate::config::{ArchiveSettings, Config, without_password};
use crate::database_help;
use crate::demo::{self, Demo, DemoPlan};
use crate::folder::Folder;
use crate::local::postgres::{Postgres, Tuning};
use crate::local::redis::{self, Redis};
use crate::signals::Signals;
use crate::supervise::supervise;
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_catalog::backup::WatchBackups;
use switchyard_queue::{Clock, NewJob, SystemClock};
use switchyard_store::{DbConfig, Scope};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// How `up` was asked to run.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Demo data; `None`: only on a private PostgreSQL.
    pub demo: Option<bool>,
    /// A private Redis too.
    pub redis: bool,
}

/// What is ready now.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where the API is.
    pub api: String,
    /// The demo, if there is one.
    pub demo: Option<Demo>,
    /// How long the start took.
    pub took: Duration,
    /// Whether the database is a private one.
    pub private: bool,
    /// Where its backups go, if they go to the data folder.
    pub backups: Option<OwnBackups>,
}

/// Backups in the data folder.
#[derive(Clone, Debug)]
pub struct OwnBackups {
    /// The archive.
    pub folder: PathBuf,
    /// The operators' identity, while it lies beside it.
    pub identity: Option<PathBuf>,
}

/// Servers that this process started.
#[derive(Debug, Default)]
struct Servers {
    postgres: Option<Postgres>,
    redis: Option<Redis>,
}

impl Servers {
    async fn stop(self) {
        if let Some(redis) = self.redis {
            redis.stop().await;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await;
        }
    }

    /// Without waiting for anybody's connection.
    async fn stop_now(self) {
        let postgres = async {
            if let Some(postgres) = self.postgres {
                postgres.stop_now().await;
            }
        };
        let redis = async {
            if let Some(redis) = self.redis {
                redis.stop().await;
            }
        };
        tokio::join!(postgres, redis);
    }
}

/// Runs until a signal, and stops everything that it started. `ready` is called once.
///
/// # Errors
/// If the start fails; what was started by then is stopped again. If the end had to be forced.
pub async fn run(
    config: Config,
    wish: Wish,
    signals: Signals,
    ready: impl FnOnce(&Ready),
) -> Result<(), Fault> {
    let since = Instant::now();
    let folder = Folder::take(&config.data_dir)?;
    folder.remove(demo::FILE)?;
    let mut servers = Servers::default();
    let started = tokio::select! {
        started = start(config, wish, &folder, &mut servers, since) => started,
        () = signals.stop.cancelled() => {
            Err(Fault::new("interrupted", "stopped before everything was ready"))
        }
    };
    let (base, listener, is) = match started {
        Ok(started) => started,
        Err(fault) => {
            servers.stop().await;
            return Err(fault);
        }
    };
    if let Some(demo) = &is.demo {
        let text = serde_json::to_vec_pretty(demo).unwrap_or_default();
        if let Err(fault) = folder.write(demo::FILE, &text) {
            servers.stop().await;
            return Err(fault);
        }
    }
    ready(&is);
    let parts = parts(&base, listener, &signals);
    let end = async {
        parts.await;
        base.close().await;
    };
    let forced = tokio::select! {
        () = end => false,
        () = signals.force.cancelled() => true,
    };
    // Whoever waits for the file at the next start must not find this one's.
    let removed = folder.remove(demo::FILE);
    if forced {
        servers.stop_now().await;
        return Err(Fault::new("forced", "the end was forced; what was running will run again"));
    }
    servers.stop().await;
    tracing::info!("everything is stopped");
    removed
}

async fn start(
    mut config: Config,
    wish: Wish,
    folder: &Folder,
    servers: &mut Servers,
    since: Instant,
) -> Result<(Base, TcpListener, Ready), Fault> {
    // The address first: a port that is taken is the commonest fault and the cheapest to find.
    let listener = compose::bind(config.listen).await?;
    if let Ok(address) = listener.local_addr() {
        config.listen = address;
    }
    let private = config.database.is_none();
    if config.secret_key.is_none() {
        let key = folder.master_key()?.expose_base64().to_string();
        config.secret_key = Some(SecretString::from(key));
    }
    if private {
        servers.postgres = Some(Postgres::start(folder.path(), Tuning::default()).await?);
    }
    // A start without it must not leave the one of a crashed start behind.
    redis::clear(folder.path()).await;
    if wish.redis && config.redis_url.is_none() {
        let redis = Redis::start(folder.path()).await?;
        config.redis_url = Some(redis.url());
        servers.redis = Some(redis);
    }
    migrate(&mut config, servers.postgres.as_ref()).await?;
    let backups = match private && own_archive(&config, folder) {
        true => Some(own_backups(&mut config, folder)?),
        false => None,
    };
    let base = Base::open(config)?;
    let closed = |e| database_help::fault("database", "the database does not let us in", e);
    base.db.ping().await.map_err(closed)?;
    let demo = match wish.demo.unwrap_or(private) {
        true => Some(seed(&base, folder).await?),
        false => None,
    };
    begin_backups(&base).await?;
    let api = base.config.base_url();
    Ok((base, listener, Ready { api, demo, took: since.elapsed(), private, backups }))
}

/// Whether backups go to the data folder: nobody says where else.
fn own_archive(config: &Config, folder: &Folder) -> bool {
    let own = LocalKeys::archive(folder.path());
    config.backup.archive.as_ref().is_none_or(|a| Path::new(&a.place) == own)
}

/// Backups from the first minute: keys are made at the first start and stay in the folder.
fn own_backups(config: &mut Config, folder: &Folder) -> Result<OwnBackups, Fault> {
    let (keys, _) = LocalKeys::make(folder)?;
    let archive = LocalKeys::archive(folder.path());
    let b = &mut config.backup;
    b.archive = Some(ArchiveSettings::folder(&archive));
    b.recipients = keys.recipients;
    b.signing_key = Some(SecretString::from(keys.signing_key));
    b.drill_identity = Some(SecretString::from(keys.drill_identity));
    let identity = folder.path().join(backups::IDENTITY);
    Ok(OwnBackups { folder: archive, identity: identity.exists().then_some(identity) })
}

/// The first look at once, not at the next minute: it puts the first backup into the queue.
async fn begin_backups(base: &Base) -> Result<(), Fault> {
    if base.platform.backups.is_none() {
        return Ok(());
    }
    let failed = |e| database_help::fault("database", "the first backup was not put in line", e);
    let job = NewJob::of(&WatchBackups {})
        .map_err(|e| Fault::new("backup", "a job is no JSON").caused_by(e))?;
    let mut tx = base.db.begin(Scope::Platform).await.map_err(failed)?;
    tx.enqueue(job).await.map_err(failed)?;
    tx.commit().await.map_err(failed)
}

/// Migrates with the owner's rights; on the private server the everyday login has less.
async fn migrate(config: &mut Config, private: Option<&Postgres>) -> Result<(), Fault> {
    let owner = match (private, &config.owner_url, &config.database) {
        (Some(server), _, _) => server.owner_url(),
        (None, Some(url), _) => url.clone(),
        (None, None, Some(database)) => database.url.clone(),
        (None, None, None) => SecretString::from(String::new()),
    };
    switchyard_store::migrate(&owner).await.map_err(|e| {
        let shown = without_password(owner.expose_secret());
        database_help::fault("migrate", format!("{shown} could not be brought up to date"), e)
    })?;
    if let Some(server) = private {
        server.grant_login().await?;
        config.database = Some(DbConfig { url: server.login_url(), ..config.pools.clone() });
        config.owner_url = Some(owner);
    }
    Ok(())
}

async fn seed(base: &Base, folder: &Folder) -> Result<Demo, Fault> {
    let plan = DemoPlan::of(folder)?;
    let key = base.config.master_key()?;
    let agencies = demo::apply(&base.db, &key, &plan, SystemClock.now()).await?;
    demo::sell(&base.db, &agencies, SystemClock.now()).await?;
    let api = base.config.base_url();
    let admin = plan.admin.clone().ok_or_else(|| Fault::new("demo", "no administrator"))?;
    Ok(Demo { dashboard: format!("{api}/ops"), api, admin, portals: plan.portals, agencies })
}

/// API, worker and scheduler, each under supervision, until the signal and the end of the drain.
async fn parts(base: &Base, listener: TcpListener, signals: &Signals) {
    let mut tasks = JoinSet::new();
    let stop = signals.stop.clone();
    // The first run of the API takes the listener that is bound already.
    let first = Arc::new(Mutex::new(Some(listener)));
    let (b, s) = (base.clone(), stop.clone());
    tasks.spawn(supervise("api", stop.clone(), move || {
        let (b, s, first) = (b.clone(), s.clone(), Arc::clone(&first));
        async move {
            let bound = first.lock().await.take();
            let listener = match bound {
                Some(listener) => listener,
                None => compose::bind(b.config.listen).await?,
            };
            b.api(listener, s).await
        }
    }));
    let (b, s) = (base.clone(), stop.clone());
    tasks.spawn(supervise("worker", stop.clone(), move || {
        let (b, s) = (b.clone(), s.clone());
        async move {
            b.work(s).await;
            Ok(())
        }
    }));
    let (b, s) = (base.clone(), stop.clone());
    tasks.spawn(supervise("scheduler", stop, move || {
        let (b, s) = (b.clone(), s.clone());
        async move { b.schedule(s).await }
    }));
    tasks.join_all().await;
}
