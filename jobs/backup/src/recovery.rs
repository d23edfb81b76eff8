//! The whole plan for a disaster: the newest state into a standby database, looked at from all sides, with
//! the time of every step.

use crate::restore::{AfterRestore, Restored, restore};
use crate::sql::{Server, refused};
use crate::{BackupFault, Progress, RestorePlan, Shelf, Vault};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};
use std::time::Instant;

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// Whether it is as it should be.
    pub good: bool,
    /// What was found.
    pub found: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// What a recovery has brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// When it began.
    pub began: DateTime<Utc>,
    /// What was restored, with the time of each step.
    pub restored: Restored,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// Whether all of it is good, so that the database can be switched to.
    pub ready: bool,
    /// Up to how many seconds of work before the beginning are lost: the recovery point.
    pub lost_seconds: f64,
    /// How long all of it took, in seconds: the recovery time.
    pub seconds: f64,
}

/// Restores the plan's target into a standby database and looks at it.
///
/// # Errors
/// As [`restore`]. A check that fails is no error but in the answer.
pub async fn disaster_recovery(
    vault: &Vault,
    plan: &RestorePlan,
    progress: &dyn Progress,
    after: &dyn AfterRestore,
) -> Result<Recovery, BackupFault> {
    let (began, since) = (Utc::now(), Instant::now());
    let mut checks = vec![archive(vault).await?];
    let restored = restore(vault, plan, progress, after).await?;
    progress.step("looking at the restored database");
    let mut connection = Server::parse(&plan.server)?.connect(&restored.database).await?;
    checks.push(Check {
        what: "every table is what was backed up (rows and two checksums)".to_owned(),
        good: true, // the restore would have failed
        found: format!("{} tables, {} rows", restored.tables_checked, restored.rows),
        seconds: step_seconds(&restored, "loading the rows"),
    });
    for (what, statement) in LOOKS {
        checks.push(look(&mut connection, what, statement).await?);
    }
    checks.push(migration(vault, &restored, &mut connection).await?);
    sqlx::Connection::close(connection).await.map_err(refused("leaving the restored database"))?;
    Ok(Recovery {
        began,
        ready: checks.iter().all(|c| c.good),
        #[allow(clippy::cast_precision_loss)] // milliseconds of years fit
        lost_seconds: (began - restored.covers).num_milliseconds().max(0) as f64 / 1000.0,
        seconds: since.elapsed().as_secs_f64(),
        restored,
        checks,
    })
}

/// Statements that answer how many things are not as they should be.
const LOOKS: [(&str, &str); 3] = [
    (
        "every index is valid",
        "select count(*) from pg_catalog.pg_index where not indisvalid",
    ),
    (
        "every foreign key was checked",
        "select count(*) from pg_catalog.pg_constraint where contype = 'f' and not convalidated",
    ),
    (
        "every table has statistics",
        "select count(*) from pg_catalog.pg_class c where c.relkind = 'r' and c.reltuples < 0
           and c.relpersistence = 'p' and c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'",
    ),
];

async fn look(
    connection: &mut PgConnection,
    what: &str,
    statement: &'static str,
) -> Result<Check, BackupFault> {
    let since = Instant::now();
    let row = sqlx::query(statement)
        .fetch_one(connection)
        .await
        .map_err(refused("looking at the restored database"))?;
    let bad: i64 = row.get(0);
    Ok(Check {
        what: what.to_owned(),
        good: bad == 0,
        found: if bad == 0 { "all".to_owned() } else { format!("all but {bad}") },
        seconds: since.elapsed().as_secs_f64(),
    })
}

/// The archive answers, and nothing in it is out of order.
async fn archive(vault: &Vault) -> Result<Check, BackupFault> {
    let since = Instant::now();
    let shelf = Shelf::load(vault).await?;
    let found = match shelf.problems() {
        [] => format!("{} backups", shelf.all().len()),
        problems => {
            let all: Vec<String> =
                problems.iter().map(|p| format!("{}: {}", p.key, p.why)).collect();
            all.join("; ")
        }
    };
    Ok(Check {
        what: "the archive answers, and its manifests are signed".to_owned(),
        good: shelf.problems().is_empty(),
        found,
        seconds: since.elapsed().as_secs_f64(),
    })
}

/// The restored program's migrations are those of the backup.
async fn migration(
    vault: &Vault,
    restored: &Restored,
    connection: &mut PgConnection,
) -> Result<Check, BackupFault> {
    let since = Instant::now();
    let shelf = Shelf::load(vault).await?;
    let wanted = shelf.find(&restored.full)?.source.migration;
    let there: bool =
        sqlx::query_scalar("select pg_catalog.to_regclass('public._sqlx_migrations') is not null")
            .fetch_one(&mut *connection)
            .await
            .map_err(refused("asking for the newest migration"))?;
    let found: Option<i64> = if there {
        sqlx::query_scalar("select max(version) from public._sqlx_migrations where success")
            .fetch_one(connection)
            .await
            .map_err(refused("asking for the newest migration"))?
    } else {
        None
    };
    let name = |m: Option<i64>| m.map_or_else(|| "none".to_owned(), |m| m.to_string());
    Ok(Check {
        what: "the newest migration is the backup's".to_owned(),
        good: wanted == found,
        found: format!("{} (the backup has {})", name(found), name(wanted)),
        seconds: since.elapsed().as_secs_f64(),
    })
}

fn step_seconds(restored: &Restored, what: &str) -> f64 {
    restored.steps.iter().filter(|s| s.what == what).map(|s| s.seconds).sum()
}
