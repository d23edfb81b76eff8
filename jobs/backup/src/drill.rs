//! The proof that backups restore: the newest chain is restored to a scratch database, compared, timed,
//! and the database dropped. And that increments tell everything: an old full backup and its increments
//! must make what a newer full backup has.

use crate::apply::Until;
use crate::model::{BackupId, Kind, Manifest};
use crate::restore::steps::Steps;
use crate::restore::{Destination, Nothing, Restored, Site, Timed, UNFINISHED, restore};
use crate::shelf::{Chain, SNAPSHOT_LSN};
use crate::sql::{Server, ident, refused, run};
use crate::{BackupFault, Progress, RestorePlan, Shelf, SourceConfig, Vault};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use std::sync::Arc;

/// What the name of every scratch database begins with. Nothing else may be called so.
pub const SCRATCH: &str = "switchyard_drill_";

/// What a drill has shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// When it began, by this machine's clock.
    pub began: DateTime<Utc>,
    /// The full backup that was restored, or compared with.
    pub full: Option<BackupId>,
    /// Whether everything was as it should be.
    pub proven: bool,
    /// If not, why: the table that differs, the file that is damaged.
    pub problem: Option<String>,
    /// How long the restore took, in seconds: the recovery time that can be counted on.
    pub seconds: f64,
    /// Everything that was committed at the source up to then is in what was restored.
    pub covers: Option<DateTime<Utc>>,
    /// Tables whose checksums were compared.
    pub tables_checked: usize,
    /// Rows that were loaded.
    pub rows: u64,
    /// Rows that the increments changed.
    pub changes: u64,
    /// Each step's time.
    pub steps: Vec<Timed>,
}

impl Evidence {
    fn failed(began: DateTime<Utc>, full: Option<BackupId>, seconds: f64, problem: String) -> Self {
        Self {
            began,
            full,
            proven: false,
            problem: Some(problem),
            seconds,
            covers: None,
            tables_checked: 0,
            rows: 0,
            changes: 0,
            steps: Vec::new(),
        }
    }

    fn of(began: DateTime<Utc>, restored: Restored) -> Self {
        Self {
            began,
            full: Some(restored.full),
            proven: true,
            problem: None,
            seconds: restored.seconds,
            covers: Some(restored.covers),
            tables_checked: restored.tables_checked,
            rows: restored.rows,
            changes: restored.changes,
            steps: restored.steps,
        }
    }
}

/// Restores the newest chain to a scratch database of a server, and drops it again, also if that failed.
/// What drills that were killed left behind is dropped first. Of the source only its settings are used.
///
/// # Errors
/// Something that passes (the archive or the server is away), and a scratch database that cannot be
/// dropped. That a backup does not restore is no error but evidence.
pub async fn drill(
    source: &SourceConfig,
    vault: &Vault,
    scratch_server: SecretString,
    progress: &dyn Progress,
) -> Result<Evidence, BackupFault> {
    let server = Server::parse(&scratch_server)?;
    let scratch = Scratch::open(server, Utc::now()).await?;
    let began = Utc::now();
    let since = std::time::Instant::now();
    let plan = RestorePlan {
        destination: Destination::New { name: Some(scratch.name.clone()) },
        connections: source.connections,
        ..RestorePlan::newest(scratch_server)
    };
    let outcome = restore(vault, &plan, progress, &Nothing).await;
    progress.step("dropping the scratch database");
    scratch.drop().await?;
    match outcome {
        Ok(restored) => Ok(Evidence::of(began, restored)),
        Err(fault) if fault.is_transient() => Err(fault),
        Err(fault) => {
            Ok(Evidence::failed(began, None, since.elapsed().as_secs_f64(), fault.to_string()))
        }
    }
}

/// Restores the full backup before `newer` and its increments up to what `newer`'s snapshot holds, and compares
/// every table with `newer`'s checksums.
///
/// # Errors
/// [`BackupFault::OutOfReach`] if no older full backup leads there: it is the first one, the schema was
/// changed between, or no increment has been taken since. Otherwise as [`drill_on`].
pub async fn compare_with_full(
    source: &SourceConfig,
    vault: &Vault,
    newer: &BackupId,
    scratch_server: SecretString,
    progress: &dyn Progress,
) -> Result<Evidence, BackupFault> {
    progress.step("reading the archive");
    let shelf = Shelf::load(vault).await?;
    let newer = Arc::clone(shelf.find(newer)?);
    let chain = chain_to(&shelf, &newer)?;
    let Kind::Full { snapshot, .. } = &newer.kind else {
        return Err(BackupFault::unfit(
            format!("backup {} is no full one", newer.id),
            "name a full backup (`switchyard backup list`)",
        ));
    };
    let began = Utc::now();
    let scratch = Scratch::open(Server::parse(&scratch_server)?, began).await?;
    let plan = RestorePlan {
        destination: Destination::New { name: Some(scratch.name.clone()) },
        connections: source.connections,
        ..RestorePlan::newest(scratch_server)
    };
    let mut steps = Steps::new("drill", progress);
    let until = Until::Snapshot(snapshot.clone());
    let outcome = build_and_compare(vault, &plan, &chain, until, &newer, &mut steps).await;
    let seconds = steps.seconds();
    scratch.drop().await?;
    match outcome {
        Ok(evidence) => Ok(Evidence { began, seconds, steps: steps.finish(), ..evidence }),
        Err(fault) if fault.is_transient() => Err(fault),
        Err(fault) => {
            Ok(Evidence::failed(began, Some(newer.id.clone()), seconds, fault.to_string()))
        }
    }
}

async fn build_and_compare(
    vault: &Vault,
    plan: &RestorePlan,
    chain: &Chain,
    until: Until,
    newer: &Manifest,
    steps: &mut Steps<'_>,
) -> Result<Evidence, BackupFault> {
    let mut site = Site::raise(vault, plan, chain, until, steps).await?;
    steps.begin("comparing every table");
    let differences = site.differences(newer).await?;
    let tables = match &newer.kind {
        Kind::Full { tables, .. } => tables.len(),
        _ => 0,
    };
    let (rows, changes) = (site.rows, site.reached.changes);
    site.close().await;
    let problem = match &differences[..] {
        [] => None,
        all => Some(all.iter().map(ToString::to_string).collect::<Vec<_>>().join(". ")),
    };
    Ok(Evidence {
        began: Utc::now(),
        full: Some(newer.id.clone()),
        proven: problem.is_none(),
        problem,
        seconds: 0.0,
        covers: Some(newer.covers),
        tables_checked: tables,
        rows,
        changes,
        steps: Vec::new(),
    })
}

/// The newest older full backup whose increments reach to what a newer one holds.
fn chain_to(shelf: &Shelf, newer: &Manifest) -> Result<Chain, BackupFault> {
    let start = match &newer.kind {
        Kind::Full { start, .. } => *start,
        _ => Default::default(),
    };
    let noted = newer.notes.get(SNAPSHOT_LSN).and_then(|lsn| lsn.parse::<crate::model::Lsn>().ok());
    let reaches = |increment: &Manifest| match (&increment.kind, noted) {
        (Kind::Incremental { to, .. }, Some(lsn)) => *to >= lsn,
        _ => increment.covers >= newer.finished,
    };
    for old in shelf.fulls().rev().filter(|full| full.age() < newer.age()) {
        let plain = shelf.without_differential(old);
        let Some(last) = plain.increments.iter().position(|i| reaches(i)) else { continue };
        let end = |m: &Manifest| match m.kind {
            Kind::Differential { to, .. } => Some(to).filter(|to| *to <= start),
            _ => None,
        };
        let differential = shelf.differentials(&old.id).rev().find(|d| end(d).is_some()).cloned();
        let from = differential.as_ref().and_then(|d| end(d));
        let after = |i: &Manifest| match (&i.kind, from) {
            (Kind::Incremental { to, .. }, Some(from)) => *to > from,
            _ => true,
        };
        let increments = plain.increments.into_iter().take(last + 1).filter(|i| after(i)).collect();
        return Ok(Chain { full: Arc::clone(old), differential, increments });
    }
    Err(shelf.out_of_reach(
        format!("the state of backup {} from an older one", newer.id),
        "no older full backup and its increments lead to it; take an increment, then try again"
            .to_owned(),
    ))
}

/// A database that is there for one drill.
struct Scratch {
    server: Server,
    name: String,
}

impl Scratch {
    async fn open(server: Server, now: DateTime<Utc>) -> Result<Self, BackupFault> {
        let random: u32 = rand::random();
        let name = format!("{SCRATCH}{}_{random:08x}", now.format("%Y%m%d%H%M%S"));
        let scratch = Self { server, name };
        let mut maintenance = scratch.server.maintenance().await?;
        let left: Vec<String> = sqlx::query_scalar(
            "select datname::text from pg_catalog.pg_database where starts_with(datname, $1)",
        )
        .bind(SCRATCH)
        .fetch_all(&mut maintenance)
        .await
        .map_err(refused("looking for scratch databases"))?;
        for database in left {
            let goal = database.strip_suffix(UNFINISHED).unwrap_or(&database);
            // A drill that is under way holds the lock on its database's name.
            if crate::restore::try_lock(&mut maintenance, goal).await? {
                drop_database(&mut maintenance, &database).await?;
            }
        }
        Ok(scratch)
    }

    async fn drop(&self) -> Result<(), BackupFault> {
        let mut maintenance = self.server.maintenance().await?;
        for database in [self.name.clone(), format!("{}{UNFINISHED}", self.name)] {
            drop_database(&mut maintenance, &database).await?;
        }
        Ok(())
    }
}

async fn drop_database(maintenance: &mut PgConnection, name: &str) -> Result<(), BackupFault> {
    run(maintenance, &format!("drop database if exists {} with (force)", ident(name)))
        .await
        .map_err(refused(format!("dropping the scratch database {name}")))?;
    Ok(())
}
