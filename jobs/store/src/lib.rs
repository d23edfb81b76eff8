//! All SQL of Switchyard, a file a table, and the migrator. Nothing else talks to PostgreSQL.

mod db;
mod engine;
mod error;
mod migrate;
pub mod overview;
mod provision;
mod tx;

pub use db::{Db, DbConfig};
pub use engine::{effects, maintenance};
pub use error::{Result, StoreFault};
pub use migrate::{MigrationStatus, migrate, migration_status, migrations_fingerprint};
pub use provision::{create_database, grant_login};
pub use tx::{JobTx, Scope, Tx};
