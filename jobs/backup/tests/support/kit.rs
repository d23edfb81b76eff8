//! A source, an archive and keys, as the tests of restoring need them.

use super::server::{Database, Server, execute};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_backup::keys::{Identity, Signer};
use switchyard_backup::model::Manifest;
use switchyard_backup::restore::{Destination, Nothing};
use switchyard_backup::{
    BackupFault, Keys, RestorePlan, Restored, Silent, SourceConfig, Target, Vault, full,
    incremental, restore,
};
use switchyard_providers::archive::Directory;
use tempfile::TempDir;

/// What every test of restoring begins with.
pub struct Kit {
    /// The server of both databases.
    pub server: Arc<Server>,
    /// What is backed up.
    pub source: Database,
    /// How.
    pub config: SourceConfig,
    /// Where to.
    pub vault: Vault,
    /// Where that is on this machine.
    pub folder: TempDir,
    /// What signs.
    pub signer: Signer,
    /// What reads.
    pub identity: Identity,
}

impl Kit {
    /// With a source that holds this.
    pub async fn new(schema: &str) -> Self {
        Self::on(Server::shared().await, schema).await
    }

    /// The same on a server of the test's own.
    pub async fn on(server: Arc<Server>, schema: &str) -> Self {
        let source = server.database().await;
        source.run(schema).await;
        let folder = tempfile::tempdir().expect("a folder");
        let (signer, identity) = (Signer::generate(), Identity::generate());
        let keys = Keys::new()
            .recipients([identity.recipient()])
            .identities([identity.clone()])
            .signing(signer.clone());
        let vault = Vault::new(Arc::new(Directory::new(folder.path())), keys);
        let config = SourceConfig::new(source.url());
        Self { server, source, config, vault, folder, signer, identity }
    }

    /// Takes a full backup.
    pub async fn full(&self) -> Manifest {
        full(&self.config, &self.vault, BTreeMap::new(), &Silent).await.expect("a full backup")
    }

    /// Takes an increment.
    pub async fn increment(&self) {
        incremental(&self.config, &self.vault, BTreeMap::new(), &Silent)
            .await
            .expect("an increment");
    }

    /// A plan to restore to a new database of that name.
    pub fn plan(&self, name: &str) -> RestorePlan {
        let name = format!("{}_{name}", self.source.name);
        RestorePlan {
            destination: Destination::New { name: Some(name) },
            ..RestorePlan::newest(self.server_url())
        }
    }

    /// The server, as an operator names it.
    pub fn server_url(&self) -> SecretString {
        SecretString::from(self.server.url("postgres", super::server::SUPERUSER))
    }

    /// Restores, and answers the database.
    pub async fn restore(&self, plan: &RestorePlan) -> Result<(Restored, Database), BackupFault> {
        let restored = spawnable(restore(&self.vault, plan, &Silent, &Nothing)).await?;
        let name = restored.database.clone();
        Ok((restored, Database { server: Arc::clone(&self.server), name }))
    }

    /// Restores, and answers why that is refused.
    pub async fn refused(&self, plan: &RestorePlan) -> String {
        match self.restore(plan).await {
            Ok((restored, _)) => panic!("it was restored: {restored:?}"),
            Err(fault) => fault.to_string(),
        }
    }

    /// Restores a target to a database of that name.
    pub async fn restore_to(&self, name: &str, target: Target) -> Database {
        let plan = RestorePlan { target, ..self.plan(name) };
        self.restore(&plan).await.unwrap_or_else(|e| panic!("{name}: {e}")).1
    }

    /// The databases whose name begins with the source's.
    pub async fn databases(&self) -> Vec<String> {
        let mut admin = self.server.admin().await;
        sqlx::query_scalar(
            "select datname::text from pg_database where starts_with(datname, $1) order by 1",
        )
        .bind(format!("{}_", self.source.name))
        .fetch_all(&mut admin)
        .await
        .expect("names of databases")
    }

    /// The keys of all files of the archive.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }
}

/// Every logged table's rows: how many, and an MD5 over their sorted text, which has nothing in common
/// with the checksums that are being tested.
pub async fn contents(database: &Database) -> BTreeMap<String, String> {
    let mut connection = exact(database).await;
    let tables = sqlx::query(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and c.relpersistence = 'p'
           and n.nspname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables");
    let mut contents = BTreeMap::new();
    for table in tables {
        let table: String = table.get(0);
        let statement = format!(
            "select count(*) || ' ' || coalesce(md5(string_agg(x::text, e'\\n' order by x::text collate \"C\")), '') from {table} x"
        );
        let row = sqlx::query(AssertSqlSafe(statement)).fetch_one(&mut connection).await;
        contents.insert(table, row.expect("a checksum").get(0));
    }
    contents
}

/// A connection whose text is that of backups.
pub async fn exact(database: &Database) -> PgConnection {
    let mut connection = database.connect().await;
    execute(&mut connection, switchyard_backup::source::EXACT_TEXT).await;
    connection
}

/// Fails with the tables that differ.
pub fn same(found: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) {
    let differing: Vec<_> = wanted
        .iter()
        .filter(|(table, sum)| found.get(*table) != Some(*sum))
        .map(|(table, sum)| format!("{table}: {sum} became {:?}", found.get(table)))
        .chain(
            found.keys().filter(|t| !wanted.contains_key(*t)).map(|t| format!("{t} is too much")),
        )
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

/// One answer of the database.
pub async fn ask<T>(database: &Database, statement: &'static str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let mut connection = database.connect().await;
    sqlx::query_scalar(statement).fetch_one(&mut connection).await.expect("an answer")
}

/// A job runs it on any thread.
fn spawnable<F: Future + Send>(future: F) -> F {
    future
}
