//! Puts the parts together: what every process has (database, wake-ups, providers, the tables of
//! jobs and schedules), and the three parts that run over it.

use crate::Fault;
use crate::config::{AlarmsConfig, Config};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use secrecy::ExposeSecret;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use switchyard_api::{Api, ApiParts, Probe};
use switchyard_catalog::Platform;
use switchyard_catalog::alarms::Alarms;
use switchyard_domain::ledger::HeadKey;
use switchyard_domain::secrets::MasterKey;
use switchyard_providers::{GuardedClient, Providers, Webhooks};
use switchyard_queue::{
    ArgsCipher, Counters, LocalCounters, RedisCounters, RedisWake, SystemClock, SystemEntropy, Wake,
};
use switchyard_scheduler::Planned;
use switchyard_store::{Db, Keyring, PgJobStore, PgWake};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long wake-ups that were just queued may take to go out at the end of a process.
const LAST_WAKE: Duration = Duration::from_millis(100);

/// What every process is made of.
#[derive(Clone)]
pub struct Base {
    /// The configuration.
    pub config: Arc<Config>,
    /// The database.
    pub db: Db,
    /// Wake-ups.
    pub wake: Arc<dyn Wake>,
    /// What jobs get.
    pub platform: Platform,
    /// Keys for encrypted arguments, if there are any.
    cipher: Option<Arc<dyn ArgsCipher>>,
    /// Ends the wake-ups. Fired last, so that what the parts write while they drain still wakes
    /// other processes.
    end: CancellationToken,
}

impl Base {
    /// Opens what is configured. Nothing is connected yet, so this succeeds while the servers are
    /// away.
    ///
    /// # Errors
    /// If an address or a provider's settings are of no use.
    pub fn open(config: Config) -> Result<Self, Fault> {
        let database = config.database.clone().ok_or_else(|| {
            Fault::new("configuration", "there is no address of a database")
                .remedy("set DATABASE_URL")
        })?;
        // Before the parts: what they count earlier would be lost.
        metrics()?;
        let end = CancellationToken::new();
        let wake: Arc<dyn Wake> = match &config.redis_url {
            Some(url) => {
                let prefix = format!("{}:", config.redis_prefix);
                RedisWake::start(url.expose_secret(), &prefix, end.clone()).map_err(|e| {
                    Fault::new("redis", "the address of Redis is of no use").caused_by(e)
                })?
            }
            None => PgWake::start(&database, end.clone()).map_err(unusable)?,
        };
        let cipher = config.cipher()?;
        let db = Db::connect(database, Arc::clone(&wake)).map_err(unusable)?;
        let head_key = config.secret_key.is_some().then(|| config.master_key()).transpose()?;
        let head_key = head_key.as_ref().map(HeadKey::of);
        let db = db.sealing_with(cipher.clone()).signing_with(head_key);
        let mut wanted = config.providers.clone();
        wanted.fetch.allow_private.clone_from(&config.outbound.allow_private);
        let providers = Providers::from_config(&wanted).map_err(|faults| {
            let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Fault::new("providers", told.join("; "))
        })?;
        let mut providers = with_webhooks(&config, providers)?;
        let key = config.secret_key.is_some().then(|| config.master_key()).transpose()?;
        providers.fetch = providers.fetch.opening_with(key);
        let jobs = db.for_jobs().map_err(unusable)?;
        let backups = crate::backups::open(&config)?.map(Arc::new);
        let alarms = alarms(&config)?;
        let mail_statements = config.payouts.mail_statements;
        let platform = Platform {
            backups,
            alarms,
            mail_statements,
            ..Platform::new(jobs, providers, config.lead_url())
        };
        Ok(Self { config: Arc::new(config), db, wake, platform, cipher, end })
    }

    /// The worker, until `stop`.
    pub async fn work(&self, stop: CancellationToken) {
        let registry = switchyard_catalog::registry().opening_with(self.cipher.clone());
        let dispatcher =
            registry.bind(self.platform.clone(), Arc::new(SystemClock), Arc::new(SystemEntropy));
        let store = PgJobStore::new(&self.db);
        let config = self.config.worker.clone();
        switchyard_workers::run(store, dispatcher, Arc::clone(&self.wake), config, stop).await;
    }

    /// The scheduler, until `stop`.
    ///
    /// # Errors
    /// If the cron table of this program is wrong.
    pub async fn schedule(&self, stop: CancellationToken) -> Result<(), Fault> {
        let planned = planned()?;
        let config = self.config.scheduler.clone();
        switchyard_scheduler::run(self.db.clone(), planned, config, stop).await;
        Ok(())
    }

    /// The HTTP front on this listener, until `stop`.
    ///
    /// # Errors
    /// If there is no master key, or the listener breaks.
    pub async fn api(&self, listener: TcpListener, stop: CancellationToken) -> Result<(), Fault> {
        let key = self.config.master_key()?;
        let mut http = self.config.http.clone();
        http.public_url = self.config.public_url.as_ref().map(ToString::to_string);
        http.outbound = self.config.outbound.clone();
        http.payouts = self.config.payouts.clone();
        let parts = ApiParts {
            db: self.db.clone(),
            registry: Arc::new(switchyard_catalog::registry()),
            keys: key,
            metrics: metrics()?,
            clock: Arc::new(SystemClock),
            config: http,
            probes: self.probes(),
            backups: self.platform.backups.clone(),
        };
        switchyard_api::serve(listener, Api::counting(parts, self.counters()?), stop)
            .await
            .map_err(|e| Fault::new("listen", "the API's listener broke").caused_by(e))
    }

    /// Limits on HTTP: shared through Redis where there is one.
    fn counters(&self) -> Result<Arc<dyn Counters>, Fault> {
        let Some(url) = &self.config.redis_url else {
            return Ok(Arc::new(LocalCounters::default()));
        };
        let prefix = format!("{}:", self.config.redis_prefix);
        let counters = RedisCounters::new(url.expose_secret(), &prefix)
            .map_err(|e| Fault::new("redis", "the address of Redis is of no use").caused_by(e))?;
        Ok(Arc::new(counters))
    }

    /// What readiness looks at beside the database.
    fn probes(&self) -> Vec<Probe> {
        let Some(url) = self.config.redis_url.clone() else { return Vec::new() };
        let check = move || -> switchyard_api::ProbeFuture {
            let url = url.clone();
            Box::pin(async move {
                crate::redis_ping::ping(&url).await.map(|_| ()).map_err(|e| e.chain())
            })
        };
        vec![Probe { name: "redis", check: Arc::new(check) }]
    }

    /// Says once in the log what to do if the database has not been brought up to date: the parts
    /// go on trying, but none of them can tell why it fails.
    pub async fn tell_if_behind(&self) {
        loop {
            match self.db.migration_status().await {
                Ok(s) if s.applied >= s.known => return,
                Ok(s) => {
                    let remedy = "run `switchyard migrate`; it is found by itself then";
                    let (applied, known) = (s.applied, s.known);
                    tracing::error!(applied, known, remedy, "the database is not up to date");
                    return;
                }
                Err(e) if e.is_transient() => tokio::time::sleep(Duration::from_secs(1)).await,
                Err(e) => {
                    let error = switchyard_queue::causes(&e).join(": ");
                    let remedy = crate::database_help::remedy(&e);
                    tracing::error!(error, remedy, "the database cannot be used as it is");
                    return;
                }
            }
        }
    }

    /// Closes the connections, once the parts have ended.
    pub async fn close(&self) {
        self.platform.db.close().await;
        self.db.close().await;
        // What was committed a moment ago wakes others at once; without this the sweep would find
        // it, a second later.
        tokio::time::sleep(LAST_WAKE).await;
        self.end.cancel();
    }
}

/// The cron table with its jobs.
///
/// # Errors
/// If a line names no kind of job, or cannot be read: a mistake in the program.
pub fn planned() -> Result<Vec<Planned>, Fault> {
    let registry = switchyard_catalog::registry();
    let specs = switchyard_catalog::schedules();
    let faults = switchyard_scheduler::check(&specs);
    if !faults.is_empty() {
        return Err(Fault::new("schedules", faults.join("; ")));
    }
    let planned = specs.into_iter().map(|spec| {
        let job = registry
            .parse(spec.kind, spec.args.clone())
            .map_err(|e| Fault::new("schedules", format!("schedule `{}`: {e}", spec.name)))?;
        Ok(Planned { spec, job })
    });
    planned.collect()
}

/// The recorder of this process's metrics, installed at the first call.
///
/// # Errors
/// If another recorder is installed.
pub fn metrics() -> Result<PrometheusHandle, Fault> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let handle = builder().and_then(PrometheusBuilder::install_recorder);
        let handle = handle.map_err(|e| e.to_string())?;
        let upkeep = handle.clone();
        // Histograms collect samples until somebody folds them.
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                upkeep.run_upkeep();
            }
        });
        Ok(handle)
    });
    handle.clone().map_err(|e| Fault::new("metrics", e))
}

/// Buckets fit for adding up over processes, which quantiles are not.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    const SECONDS: [f64; 16] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        300.0,
    ];
    const SIZES: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets(&SIZES)
}

/// Binds the API's address.
///
/// # Errors
/// If it is taken.
pub async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|e| {
        Fault::new("listen", format!("nobody can listen on {address}"))
            .remedy("choose another with --listen, or stop who listens there")
            .caused_by(e)
    })
}

/// Who hears of alarms.
fn alarms(config: &Config) -> Result<Alarms, Fault> {
    let AlarmsConfig { email, webhook, repeat } = config.alarms.clone();
    let client = match &webhook {
        Some(_) => Some(
            GuardedClient::new(config.outbound.clone())
                .map_err(|e| Fault::new("alarms", e.to_string()))?,
        ),
        None => None,
    };
    Ok(Alarms { email, webhook: webhook.map(|url| url.to_string()), client, repeat })
}

/// The providers with outbound webhooks. Without a master key these wait: the endpoints' secrets are
/// sealed with it.
fn with_webhooks(config: &Config, providers: Providers) -> Result<Providers, Fault> {
    if config.secret_key.is_none() {
        return Ok(providers);
    }
    let webhooks = Webhooks::new(config.outbound.clone(), config.master_key()?)
        .map_err(|e| Fault::new("outbound", e.to_string()))?;
    Ok(providers.sending_webhooks(webhooks))
}

fn unusable(e: switchyard_store::StoreFault) -> Fault {
    Fault::new("database", "the address of the database is of no use").caused_by(e)
}

impl Config {
    /// The master key.
    ///
    /// # Errors
    /// If none is set.
    pub fn master_key(&self) -> Result<MasterKey, Fault> {
        let text = self.secret_key.as_ref().map(|k| k.expose_secret()).unwrap_or_default();
        MasterKey::parse(text).map_err(|e| {
            Fault::new("configuration", "there is no master key")
                .remedy("set SWITCHYARD_SECRET_KEY to the output of `openssl rand -base64 32`")
                .caused_by(e)
        })
    }

    /// The keys for encrypted arguments: those that are configured, then the master key; `None` if
    /// there is none of either.
    ///
    /// # Errors
    /// If one of them is no key.
    pub fn cipher(&self) -> Result<Option<Arc<dyn ArgsCipher>>, Fault> {
        let texts = self.args_keys.iter().flat_map(|keys| keys.expose_secret().split(','));
        let texts = texts.chain(self.secret_key.as_ref().map(|key| key.expose_secret()));
        let keys = texts.map(MasterKey::parse).collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(|e| {
            Fault::new("configuration", "`encryption.keys` has something that is no key")
                .remedy("write keys as `openssl rand -base64 32` gives them, with commas between")
                .caused_by(e)
        })?;
        Ok(Keyring::new(keys).map(|ring| Arc::new(ring) as Arc<dyn ArgsCipher>))
    }

    /// Where people reach the API, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        let own = || format!("http://{}", self.listen);
        let url = self.public_url.as_ref().map_or_else(own, ToString::to_string);
        url.trim_end_matches('/').to_owned()
    }

    /// Where an agent looks at a lead; `{id}` stands for the lead.
    #[must_use]
    pub fn lead_url(&self) -> String {
        format!("{}/ops/leads/{{id}}", self.base_url())
    }
}
