//! `backup.restore`: a restore that was asked for and confirmed.

use super::Backups;
use super::jobs::read_id;
use super::perform::{Ask, perform};
use crate::fault::OrFail;
use crate::{Platform, queues};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use switchyard_backup::model::BackupId;
use switchyard_backup::restore::Destination;
use switchyard_backup::{
    AfterRestore, BackupFault, RestorePlan, Restored, Target, Vault, disaster_recovery,
};
use switchyard_queue::{Context, Job, JobResult, Options, Outcome, QueueName, Retention};
use switchyard_store::Scope;
use switchyard_store::backups::requests::{self, Asked};
use switchyard_store::backups::restored::{PgConnection, mark};
use switchyard_store::backups::runs::{Came, RunKind};
use uuid::Uuid;

/// From what, to where.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RestoreOrder {
    /// Up to the end of this backup; none: as far as there are backups.
    pub backup: Option<String>,
    /// Up to this moment.
    pub at: Option<DateTime<Utc>>,
    /// Up to this position of the log.
    pub lsn: Option<String>,
    /// Into the database of this name on the server for restores; none: a new name.
    pub database: Option<String>,
    /// Only this table: `schema.name`.
    pub table: Option<String>,
    /// Only this agency's rows.
    pub agency: Option<Uuid>,
    /// From the second archive.
    #[serde(default)]
    pub second: bool,
}

impl RestoreOrder {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        if [self.backup.is_some(), self.at.is_some(), self.lsn.is_some()]
            .iter()
            .filter(|x| **x)
            .count()
            > 1
        {
            return Err("say one of a backup, a time and a position".to_owned());
        }
        if let Some(id) = &self.backup {
            id.parse::<BackupId>()?;
        }
        if let Some(lsn) = &self.lsn {
            lsn.parse::<switchyard_backup::model::Lsn>()?;
        }
        let fits = |name: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            (1..=63).contains(&name.len()) && name.chars().all(plain)
        };
        match &self.database {
            Some(name) if !fits(name) => {
                Err(format!("`{name}` is no name for a database: use letters, digits and _"))
            }
            _ => Ok(()),
        }
    }

    /// Up to where.
    ///
    /// # Errors
    /// If it names no backup or no position.
    pub fn target(&self) -> Result<Target, BackupFault> {
        let lsn = |text: &String| {
            text.parse().map_err(|e: String| BackupFault::unfit(e, "write it as 16/B374D848"))
        };
        Ok(match (&self.backup, self.at, &self.lsn) {
            (Some(id), ..) => Target::Backup(read_id(id)?),
            (_, Some(at), _) => Target::Time(at),
            (.., Some(position)) => Target::Lsn(lsn(position)?),
            _ => Target::Newest,
        })
    }
}

/// Restores what a request says.
#[derive(Debug, Serialize, Deserialize)]
pub struct RestoreBackup {
    /// The request.
    pub request: Uuid,
}

impl Job for RestoreBackup {
    type State = Platform;

    const KIND: &'static str = "backup.restore";
    const ABOUT: &'static str = "Restores a backup into a database, as it was asked for.";
    const QUEUE: QueueName = queues::BACKUPS;
    const TIMEOUT: Duration = Duration::from_secs(24 * 3600);
    // What a broken attempt left in the database is looked at by people first.
    const MAX_ATTEMPTS: u16 = 1;
    const RETENTION: Retention = Retention::Long;
    const STUCK_AFTER: Option<Duration> = Some(Duration::from_secs(15 * 60));

    fn options(&self) -> Options {
        Options::new().unique_by(self.request)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
        let request = requests::lock(&mut tx, self.request).await.or_fail()?;
        tx.rollback().await.or_fail()?;
        if request.confirmed_at.is_none() {
            return Ok(Outcome::Cancel("the restore was not confirmed".to_owned()));
        }
        let order: RestoreOrder = serde_json::from_value(request.plan).or_fail()?;
        let ask = Ask { after: None, asked_by: Some(request.asked_by) };
        let what = request.what;
        let name = format!("restored_{}", self.request.simple());
        perform(cx, RunKind::Restore, ask, move |b, progress| async move {
            let (vault, plan) = planned(&b, &order, what, name)?;
            match what {
                Asked::Restore => {
                    let done = switchyard_backup::restore(&vault, &plan, &progress, &Mark).await?;
                    Ok(came(&done, serde_json::to_value(&done).ok(), true))
                }
                Asked::DisasterRecovery => {
                    let done = disaster_recovery(&vault, &plan, &progress, &Mark).await?;
                    Ok(came(&done.restored, serde_json::to_value(&done).ok(), done.ready))
                }
            }
        })
        .await
    }
}

/// The archive to read and the plan to follow.
fn planned(
    b: &Backups,
    order: &RestoreOrder,
    what: Asked,
    name: String,
) -> Result<(Vault, RestorePlan), BackupFault> {
    let vault = match order.second {
        false => b.vault.clone(),
        true => b.vault.of_second().ok_or_else(|| {
            BackupFault::unfit("there is no second archive", "set backup.second, or use the first")
        })?,
    };
    let (server, destination) = match (what, &b.standby) {
        (Asked::Restore, _) => {
            let name = order.database.clone().unwrap_or(name);
            (b.scratch.clone(), Destination::New { name: Some(name) })
        }
        (Asked::DisasterRecovery, Some(standby)) => {
            let name = order.database.clone().or_else(|| database_of(standby));
            // A host gives a standby with its database made.
            let destination = name
                .map_or(Destination::New { name: None }, |name| Destination::NewOrEmpty { name });
            (standby.clone(), destination)
        }
        (Asked::DisasterRecovery, None) => {
            let remedy = "set backup.standby_url where workers run";
            return Err(BackupFault::unfit("no standby is configured", remedy));
        }
    };
    let plan = RestorePlan {
        target: order.target()?,
        destination,
        tables: order.table.iter().cloned().collect(),
        agency: order.agency.map(|a| a.to_string()),
        connections: b.source.connections,
        ..RestorePlan::newest(server)
    };
    Ok((vault, plan))
}

/// The database that an address names.
#[must_use]
pub fn database_of(url: &SecretString) -> Option<String> {
    let url = url.expose_secret();
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let name = path.split_once('/').map(|(_, name)| name).filter(|name| !name.is_empty());
    name.map(str::to_owned)
}

/// Marks what was restored before anybody else can work in it: it starts paused. What is no whole
/// platform (one table, one agency's rows) has nothing that could leave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark;

#[async_trait]
impl AfterRestore for Mark {
    async fn run(
        &self,
        connection: &mut PgConnection,
        restored: &Restored,
    ) -> Result<(), BackupFault> {
        let full = restored.full.as_str();
        match mark(connection, full, restored.covers).await {
            Ok(_) => Ok(()),
            Err(fault) => {
                let problem = format!("the restored system could not be paused ({fault})");
                Err(BackupFault::unfit(problem, "restore again; as it is it would send messages"))
            }
        }
    }
}

/// What a restore came to, for the record of runs.
fn came(done: &Restored, evidence: Option<Value>, ready: bool) -> Came {
    let problem = "it was restored, but a check failed: the evidence says which";
    Came {
        problem: (!ready).then(|| problem.to_owned()),
        backup: Some(done.full.to_string()),
        covers: Some(done.covers),
        evidence,
        ..Came::default()
    }
}
