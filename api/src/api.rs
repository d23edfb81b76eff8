//! What every handler reaches: the store, the kinds of job, keys, clock and configuration.

use crate::auth::{Accounts, Throttle, TokenKeys};
use crate::config::ApiConfig;
use crate::password::Passwords;
use crate::portals::Portals;
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;
use std::ops::Deref;
use std::sync::Arc;
use switchyard_catalog::backup::Backups;
use switchyard_domain::secrets::MasterKey;
use switchyard_queue::{Clock, Counters, KindInfo, LocalCounters, NewJob, Registry};
use switchyard_store::Db;
use tokio_util::sync::CancellationToken;

/// The kinds of job that this installation knows. A [`Registry`] is one, whatever its state.
pub trait Kinds: Send + Sync + 'static {
    /// A job given as a name and JSON, checked.
    ///
    /// # Errors
    /// A sentence for the caller.
    fn parse(&self, kind: &str, args: Value) -> Result<NewJob, String>;

    /// Every kind, by name.
    fn kinds(&self) -> Vec<KindInfo>;
}

impl<S: Clone + Send + Sync + 'static> Kinds for Registry<S> {
    fn parse(&self, kind: &str, args: Value) -> Result<NewJob, String> {
        Registry::parse(self, kind, args)
    }

    fn kinds(&self) -> Vec<KindInfo> {
        Registry::kinds(self).copied().collect()
    }
}

/// The answer of a [`Probe`]: what is wrong, in one sentence.
pub type ProbeFuture = BoxFuture<'static, Result<(), String>>;

/// Something beside the database that readiness looks at (Redis, say). When it is away the
/// service is degraded, not failed.
#[derive(Clone)]
pub struct Probe {
    /// Its name in the answer.
    pub name: &'static str,
    /// Asks it for a sign of life; bounded in time by the caller.
    pub check: Arc<dyn Fn() -> ProbeFuture + Send + Sync>,
}

/// What the front is made of.
#[derive(Clone)]
pub struct ApiParts {
    /// The store.
    pub db: Db,
    /// The kinds of job.
    pub registry: Arc<dyn Kinds>,
    /// Opens signing secrets; the tokens' keys are derived from it.
    pub keys: MasterKey,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Domain time: tokens, signature windows, throttles.
    pub clock: Arc<dyn Clock>,
    /// Settings.
    pub config: ApiConfig,
    /// What else readiness looks at.
    pub probes: Vec<Probe>,
    /// Backups, if an archive is configured.
    pub backups: Option<Arc<Backups>>,
}

/// The front's state. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

/// Behind [`Api`].
pub struct Inner {
    parts: ApiParts,
    /// Issues and checks tokens; the dashboard's cookie holds the same.
    pub tokens: TokenKeys,
    /// Fires when the server is about to stop: streams that never end by themselves end then.
    pub closing: CancellationToken,
    pub(crate) accounts: Accounts,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) portals: Portals,
    /// How much the portals may send.
    pub(crate) counters: Arc<dyn Counters>,
}

impl Api {
    /// Puts the front together; limits are counted in this process.
    #[must_use]
    pub fn new(parts: ApiParts) -> Self {
        Self::counting(parts, Arc::new(LocalCounters::default()))
    }

    /// The same with counters that are shared with other replicas.
    #[must_use]
    pub fn counting(parts: ApiParts, counters: Arc<dyn Counters>) -> Self {
        let config = &parts.config;
        Self(Arc::new(Inner {
            tokens: TokenKeys::from_seed(&parts.keys.jwt_seed()),
            closing: CancellationToken::new(),
            accounts: Accounts::new(config),
            passwords: Passwords::new(config.password_concurrency),
            throttle: Throttle::new(config.throttle.clone()),
            portals: Portals::new(config),
            counters,
            parts,
        }))
    }
}

impl Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Deref for Inner {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.parts
    }
}
