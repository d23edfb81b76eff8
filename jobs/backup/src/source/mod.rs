//! The database that is backed up: connections whose text is exact, what it must be fit for, and the
//! pieces of a backup that it gives.

mod catalogue;
mod checks;
mod copy_binary;
mod copy_out;
pub(crate) mod peek;
pub mod pgoutput;
mod publication;
pub mod schema;
mod sequences;
mod slot;
mod snapshot;

pub use catalogue::{Catalogue, Root, SourceTable};
pub use checks::{Fitness, check};
pub use copy_binary::Rows;
pub(crate) use copy_out::copy_tables;
pub(crate) use publication::{in_step, keep_in_step};
pub use sequences::sequences;
pub use slot::SlotHealth;
pub(crate) use slot::{Slot, advance, create_slot, drop_slot, find_slots, lsn, slot_health_of};
pub(crate) use snapshot::{Held, changed, hold_tables, take_snapshot};

use crate::BackupFault;
use crate::model::Source;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row};
use std::time::Duration;

/// What makes text the same in every session: whoever reads rows to compare them, or writes rows that
/// were read so, runs this first. `search_path` decides how `regclass` and its kin are written,
/// `lc_monetary` how money is.
pub const EXACT_TEXT: &str = "
    set search_path = '';
    set timezone = 'UTC';
    set datestyle = 'ISO, MDY';
    set intervalstyle = 'postgres';
    set extra_float_digits = 3;
    set bytea_output = 'hex';
    set lc_monetary = 'C';
    set xmloption = 'content';
    set standard_conforming_strings = on;
    set quote_all_identifiers = off;";

/// What a backup's session needs besides: rows that a policy hides are an error, nothing runs out of
/// time by itself, plans are not compiled.
const SESSION: &str = "
    set row_security = off;
    set default_transaction_read_only = off;
    set default_transaction_isolation = 'read committed';
    set statement_timeout = 0;
    set idle_in_transaction_session_timeout = 0;
    set synchronize_seqscans = off;
    set client_min_messages = 'warning';
    set jit = off;
    select set_config(name, '0', false) from pg_catalog.pg_settings
     where name in ('idle_session_timeout', 'transaction_timeout');
    set synchronous_commit = 'local';
    do $$ begin
      -- Some systems cannot tell that a client is gone.
      perform set_config('client_connection_check_interval', '500', false);
    exception when others then null; end $$;";

/// How long a server may take to let somebody in.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// Which database is backed up, and how.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// `postgres://...` of the tables' owner, on a direct connection (no transaction pooler). It needs
    /// `REPLICATION`, and must be able to read every row.
    pub url: SecretString,
    /// What the slot's name begins with; a random number comes behind it. Lower-case letters, digits,
    /// `_`; at most 40.
    pub slot: String,
    /// The publication's name. It is made and kept in step.
    pub publication: String,
    /// How many connections copy tables at once.
    pub connections: usize,
    /// How long a full backup waits for transactions that were under way when it began, and for locks.
    pub patience: Duration,
    /// Schemas that are somebody else's and left out whole, such as those that a host puts there.
    pub exclude_schemas: Vec<String>,
}

impl SourceConfig {
    /// The defaults: slot and publication `switchyard_backup`, two connections, a minute's patience.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            slot: "switchyard_backup".to_owned(),
            publication: "switchyard_backup".to_owned(),
            connections: 2,
            patience: Duration::from_secs(60),
            exclude_schemas: Vec::new(),
        }
    }

    /// A connection with settings of its own, called `switchyard backup` on the server.
    ///
    /// # Errors
    /// The URL is none, the server is away or does not let us in.
    pub async fn connect(&self) -> Result<PgConnection, BackupFault> {
        let mut connection = connect(&self.url).await?;
        let patience = self.patience.as_millis();
        let more = format!("{SESSION}\nset lock_timeout = {patience};");
        run(&mut connection, &more, "setting up the connection").await?;
        Ok(connection)
    }
}

/// A connection whose text is exact ([`EXACT_TEXT`]).
///
/// # Errors
/// The URL is none, the server is away or does not let us in.
pub async fn connect(url: &SecretString) -> Result<PgConnection, BackupFault> {
    let fault = BackupFault::database("connecting");
    let options: PgConnectOptions = match url.expose_secret().parse() {
        Ok(options) => options,
        Err(e) => return Err(fault(e)),
    };
    let options = options
        .application_name("switchyard backup")
        .log_statements(tracing::log::LevelFilter::Trace)
        .log_slow_statements(tracing::log::LevelFilter::Trace, Duration::ZERO);
    let connected = tokio::time::timeout(CONNECT_PATIENCE, options.connect()).await;
    let late = |e| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, e));
    let mut connection = connected.map_err(late).and_then(|c| c).map_err(fault)?;
    run(&mut connection, EXACT_TEXT, "setting up the connection").await?;
    Ok(connection)
}

/// A name as it stands in a statement, always in quotes.
#[must_use]
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A schema's thing as it stands in a statement.
#[must_use]
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A text as it stands in a statement.
#[must_use]
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        return format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// Runs statements that answer nothing.
pub(crate) async fn run(
    connection: &mut PgConnection,
    sql: &str,
    doing: &str,
) -> Result<(), BackupFault> {
    let run = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    run.map(|_| ()).map_err(BackupFault::database(doing))
}

/// The rows of a statement without parameters.
pub(crate) async fn rows(
    connection: &mut PgConnection,
    sql: &str,
    doing: &str,
) -> Result<Vec<PgRow>, BackupFault> {
    let rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await;
    rows.map_err(BackupFault::database(doing))
}

/// A column of a row.
pub(crate) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, BackupFault>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(BackupFault::database("reading the catalogue"))
}

/// Which database this is; `schema` is the hash of its schema's dump.
pub(crate) async fn identify(
    connection: &mut PgConnection,
    schema: String,
) -> Result<Source, BackupFault> {
    const SQL: &str = "
        select (select system_identifier::text from pg_catalog.pg_control_system()) as system,
               current_database()::text as database,
               left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) as timeline,
               current_setting('server_version_num')::int as version,
               to_regclass('public._sqlx_migrations') is not null as migrated";
    let doing = "asking which database it is";
    let row = sqlx::query(SQL).persistent(false).fetch_one(&mut *connection).await;
    let row = row.map_err(BackupFault::database(doing))?;
    let mut migration = None;
    if get::<bool>(&row, "migrated")? {
        let sql = "select max(version) from public._sqlx_migrations where success";
        let newest = sqlx::query_scalar(sql).fetch_one(connection).await;
        migration = newest.map_err(BackupFault::database("asking for the newest migration"))?;
    }
    let timeline: String = get(&row, "timeline")?;
    Ok(Source {
        system: get(&row, "system")?,
        database: get(&row, "database")?,
        timeline: u32::from_str_radix(&timeline, 16).unwrap_or_default(),
        server_version: get::<i32>(&row, "version")?.unsigned_abs(),
        migration,
        schema,
    })
}
