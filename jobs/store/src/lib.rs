//! All SQL of Switchyard, a file a table, and the migrator. Nothing else talks to PostgreSQL.

pub mod administrators;
pub mod agencies;
pub mod agents;
mod db;
pub mod distribution;
mod engine;
mod error;
pub mod events;
pub mod inspect;
mod keyring;
mod leader;
pub mod leads;
pub mod messages;
mod migrate;
pub mod outbound;
pub mod overview;
mod pg_wake;
pub mod portals;
mod provision;
pub mod refusals;
pub mod requests;
pub mod schedules;
pub mod territories;
mod tx;
mod words;

pub use db::{Db, DbConfig};
pub use engine::{PgJobStore, effects, jobs, limits, maintenance, sealing, workflows};
pub use error::{Result, StoreFault};
pub use keyring::Keyring;
pub use leader::LeaderLock;
pub use migrate::{MigrationStatus, migrate, migration_status, migrations_fingerprint};
pub use pg_wake::PgWake;
pub use provision::{create_database, grant_login};
pub use tx::{JobTx, Scope, Tx};
