//! The configuration: read from everywhere, checked whole, all faults told at once.

mod archive;
mod backup;
mod fault;
mod folder;
mod http;
mod outbound;
mod payouts;
mod providers;
mod reader;
mod sources;
mod value;

pub use archive::ArchiveSettings;
pub use backup::{AlarmsConfig, BackupConfig, Cadence, Keep};
pub use fault::{ConfigFault, ConfigFaults};
pub use reader::Entry;
pub(crate) use reader::without_password;
pub(crate) use value::{duration, written_duration};

use base64::Engine;
use reader::Reader;
use secrecy::SecretString;
use sources::Texts;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use switchyard_api::ApiConfig;
use switchyard_domain::payment::PayoutRules;
use switchyard_providers::{GuardPolicy, ProvidersConfig};
use switchyard_scheduler::SchedulerConfig;
use switchyard_store::DbConfig;
use switchyard_store::maintenance::KeepDays;
use switchyard_workers::WorkerConfig;

/// The data folder when none is named.
const DATA_FOLDER: &str = "data";

/// What a command cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// An address of the database. If none is configured, the private server of the data folder is
    /// used, if there is one.
    pub database: bool,
    /// The master key. If none is configured, the data folder's is used, if there is one.
    pub secret_key: bool,
    /// What backups are written with, where an archive is configured. Whoever only reads them does
    /// without: after a disaster the signing key is gone with its machine.
    pub takes_backups: bool,
}

/// What the command line says; it wins over everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The file to read instead of `switchyard.toml`.
    pub file: Option<PathBuf>,
    /// `(key, value, option)`: `("listen", "127.0.0.1:9000", "--listen")`.
    pub settings: Vec<(&'static str, String, &'static str)>,
}

/// Where log lines go, and how they look. They go to the standard error stream.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// Which lines: a `tracing` filter.
    pub filter: String,
}

/// Everything that can be set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where a private server and the key live.
    pub data_dir: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Under which address people reach the API.
    pub public_url: Option<url::Url>,
    /// 32 random bytes in base64: signs tokens, seals the portals' secrets.
    pub secret_key: Option<SecretString>,
    /// Keys for encrypted arguments, with commas between; the first one seals.
    pub args_keys: Option<SecretString>,
    /// How to reach the database.
    pub database: Option<DbConfig>,
    /// The settings of the pools, for an address that is found later.
    pub pools: DbConfig,
    /// The same with the owner's rights, for migrations; the everyday address if not set.
    pub owner_url: Option<SecretString>,
    /// Redis, if there is one.
    pub redis_url: Option<SecretString>,
    /// What every key and channel in Redis begins with.
    pub redis_prefix: String,
    /// The workers.
    pub worker: WorkerConfig,
    /// The scheduler.
    pub scheduler: SchedulerConfig,
    /// The HTTP front.
    pub http: ApiConfig,
    /// E-mail and WhatsApp.
    pub providers: ProvidersConfig,
    /// Which addresses outbound webhooks may have.
    pub outbound: GuardPolicy,
    /// By which rules commissions are paid out.
    pub payouts: PayoutRules,
    /// Backups.
    pub backup: BackupConfig,
    /// Who hears of alarms.
    pub alarms: AlarmsConfig,
    /// Where workers and schedulers that run alone show metrics and a sign of life.
    pub metrics_listen: Option<SocketAddr>,
    /// The log.
    pub log: LogConfig,
    /// All settings with their values and where they came from, in the order of reading.
    pub entries: Vec<Entry>,
}

impl Config {
    /// Reads the configuration of this process.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(overrides: &Overrides, needs: Needs) -> Result<Self, ConfigFaults> {
        let mut faults = Vec::new();
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            // A name that is not UTF-8 is none of ours.
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        let figment = sources::file(overrides.file.as_deref(), &mut faults);
        let figment = sources::environment(variables).over(figment);
        let mut line = Texts::new();
        for (key, value, option) in &overrides.settings {
            line.add(key, value, format!("command line {option}"));
        }
        let mut reader = Reader::new(line.over(figment), faults);
        let data_dir = reader.get(
            "data_dir",
            PathBuf::from(DATA_FOLDER),
            "Folder of a private server, the master key and demo.json",
        );
        // Of a private server, and only if nobody says where else they go.
        let own = !reader.is_set("database.url") && !reader.is_set("backup.archive");
        if own {
            reader.add_below(folder::own_backups(&data_dir));
        }
        let about =
            "A file with the keys of backups, as `switchyard backup keygen --keep` writes it";
        let keys_file: Option<PathBuf> = reader.optional("backup.keys_file", about);
        match keys_file.as_deref().map(folder::keys_file) {
            Some(Ok(keys)) => reader.add_below(keys),
            Some(Err(fault)) => reader.faults.push(fault),
            None => {}
        }
        let (known, fault) = folder::read(&data_dir, needs);
        reader.add_below(known);
        // Only where it matters: an address that is set elsewhere wins anyway.
        if let Some(fault) = fault.filter(|_| !reader.is_set("database.url")) {
            reader.faults.push(fault);
        }
        read(reader, data_dir, needs)
    }
}

fn read(mut r: Reader, data_dir: PathBuf, needs: Needs) -> Result<Config, ConfigFaults> {
    let listen = r.get(
        "listen",
        SocketAddr::from(([127, 0, 0, 1], 8080)),
        "Address and port of the API and the dashboard",
    );
    let public_url =
        r.optional("public_url", "Address under which people reach the API, if not the one above");
    let secret_key = r.secret(
        "secret_key",
        "Master key: 32 random bytes in base64 (`openssl rand -base64 32`)",
        check_key,
    );
    let args_keys = r.secret(
        "encryption.keys",
        "Keys for encrypted arguments, like secret_key, with commas between: the first seals, all open",
        check_keys,
    );
    let (database, owner_url, pools) = database(&mut r);
    let redis_url = r.secret_url(
        "redis.url",
        "Redis, for wake-ups over many machines; without it PostgreSQL does it",
        &["redis", "rediss"],
    );
    let redis_prefix = r.get(
        "redis.prefix",
        "switchyard".to_owned(),
        "What every key and channel in Redis begins with",
    );
    let config = Config {
        listen,
        public_url,
        secret_key,
        args_keys,
        database,
        pools,
        owner_url,
        redis_url,
        redis_prefix,
        worker: worker(&mut r),
        scheduler: scheduler(&mut r),
        http: http::read(&mut r),
        providers: providers::read(&mut r),
        outbound: outbound::read(&mut r),
        payouts: payouts::read(&mut r),
        backup: backup::read(&mut r),
        alarms: backup::alarms(&mut r),
        metrics_listen: r.optional(
            "metrics.listen",
            "Where `work` and `schedule` show metrics and a sign of life",
        ),
        log: log(&mut r),
        data_dir,
        entries: Vec::new(),
    };
    demand(&mut r, &config, needs);
    r.refuse_unknown();
    if r.faults.is_empty() {
        Ok(Config { entries: r.entries, ..config })
    } else {
        Err(ConfigFaults(r.faults))
    }
}

/// What this command cannot do without.
fn demand(r: &mut Reader, config: &Config, needs: Needs) {
    if needs.database && config.database.is_none() && !r.is_faulty("database.url") {
        r.fault("database.url", "is not set", "set DATABASE_URL=postgres://user:password@host/database, or start `switchyard up`, which brings a server of its own");
    }
    if needs.secret_key && config.secret_key.is_none() && !r.is_faulty("secret_key") {
        r.fault("secret_key", "is not set", "set SWITCHYARD_SECRET_KEY to the output of `openssl rand -base64 32`, the same for every process, and keep it: without it the portals' secrets cannot be read");
    }
    if needs.takes_backups {
        backup::demand(r, &config.backup);
    }
}

/// What is wrong with a master key.
fn check_key(text: &str) -> Option<String> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    let problem = "must be 32 bytes in base64 (44 characters), as `openssl rand -base64 32` gives";
    (!decoded.is_ok_and(|bytes| bytes.len() == 32)).then(|| problem.to_owned())
}

/// What is wrong with a list of keys.
fn check_keys(text: &str) -> Option<String> {
    text.split(',').find_map(|key| check_key(key.trim())).map(|e| format!("each of them {e}"))
}

fn database(r: &mut Reader) -> (Option<DbConfig>, Option<SecretString>, DbConfig) {
    const SCHEMES: &[&str] = &["postgres", "postgresql"];
    let url =
        r.secret_url("database.url", "PostgreSQL 15 or later; DATABASE_URL sets it too", SCHEMES);
    let owner = r.secret_url(
        "database.owner_url",
        "The same with the owner's rights, for `migrate`",
        SCHEMES,
    );
    let d = DbConfig::new(SecretString::from(String::new()));
    let app_connections = r.number(
        "database.app_connections",
        u64::from(d.app_connections),
        1..=1000,
        "Connections of one process for requests and jobs",
    );
    let engine_connections = r.number(
        "database.engine_connections",
        u64::from(d.engine_connections),
        1..=1000,
        "Connections of one process for the dashboard, the CLI and upkeep",
    );
    let acquire_timeout = r.duration(
        "database.acquire_timeout",
        d.acquire_timeout,
        MS..=MINUTE,
        "How long a caller waits for a free connection",
    );
    let statement_timeout = r.duration(
        "database.statement_timeout",
        d.statement_timeout,
        100 * MS..=60 * MINUTE,
        "Longest statement",
    );
    let pools =
        DbConfig { app_connections, engine_connections, acquire_timeout, statement_timeout, ..d };
    let config = url.map(|url| DbConfig { url, ..pools.clone() });
    (config, owner, pools)
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn worker(r: &mut Reader) -> WorkerConfig {
    let d = WorkerConfig::default();
    let whole = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    WorkerConfig {
        queues: r.get("worker.queues", d.queues, "Queues to serve; empty: all"),
        concurrency: r.number(
            "worker.concurrency",
            whole(d.concurrency),
            1..=10_000,
            "Jobs that one worker runs at the same time",
        ),
        claim_batch: r.number(
            "worker.claim_batch",
            whole(d.claim_batch),
            1..=10_000,
            "Most jobs taken at once",
        ),
        lease: r.duration(
            "worker.lease",
            d.lease,
            SECOND..=60 * MINUTE,
            "How long a claim holds without renewal",
        ),
        poll_interval: r.duration(
            "worker.poll_interval",
            d.poll_interval,
            10 * MS..=MINUTE,
            "How often an idle worker looks for work that no wake-up named",
        ),
        drain_timeout: r.duration(
            "worker.drain_timeout",
            d.drain_timeout,
            Duration::ZERO..=60 * MINUTE,
            "How long running jobs may go on after a stop was asked for",
        ),
        settle_window: r.duration(
            "worker.settle_window",
            d.settle_window,
            Duration::ZERO..=SECOND,
            "How long results are collected before they are written together",
        ),
        ..d
    }
}

fn scheduler(r: &mut Reader) -> SchedulerConfig {
    let d = SchedulerConfig::default();
    SchedulerConfig {
        campaign_interval: r.duration(
            "scheduler.campaign_interval",
            d.campaign_interval,
            100 * MS..=MINUTE,
            "How often a standby tries to become the leader",
        ),
        tick: r.duration(
            "scheduler.tick",
            d.tick,
            10 * MS..=MINUTE,
            "How often the leader looks at the cron table",
        ),
        grace: r.duration(
            "scheduler.grace",
            d.grace,
            SECOND..=DAY,
            "A firing later than this was missed, and its schedule's policy rules",
        ),
        keep_days: keep_days(r, d.keep_days),
    }
}

fn keep_days(r: &mut Reader, d: KeepDays) -> KeepDays {
    let mut days = |key, default: u16, about| r.number(key, u64::from(default), 1..=3650, about);
    KeepDays {
        standard: days(
            "scheduler.keep_days",
            d.standard,
            "Days for which finished jobs are kept, where their kind says nothing else",
        ),
        short: days(
            "scheduler.keep_days_short",
            d.short,
            "The same for kinds of short retention (housekeeping)",
        ),
        long: days("scheduler.keep_days_long", d.long, "The same for kinds of long retention"),
    }
}

fn log(r: &mut Reader) -> LogConfig {
    let json = r.choice(
        "log.format",
        &[("text", false), ("json", true)],
        "Form of the log lines: text or json",
    );
    let filter = r.get(
        "log.filter",
        "info".to_owned(),
        "Which lines: a `tracing` filter, such as `info,switchyard_workers=debug`",
    );
    if let Err(e) = tracing_subscriber::EnvFilter::try_new(&filter) {
        r.fault(
            "log.filter",
            format!("is {filter:?}; it is no filter: {e}"),
            "write `info`, or `info,switchyard_workers=debug`",
        );
    }
    LogConfig { json, filter }
}

#[cfg(test)]
mod tests;
