//! `backup`: taking, listing, checking and pruning by hand, keys, and how it all stands.

mod bars;
mod listing;
mod restore;
mod status;
mod verify;

pub(super) use restore::{release, restore};

use super::args::{Backup, Global, Taking};
use super::load;
use super::output::{Failure, Output};
use crate::Fault;
use crate::backups::{self, LocalKeys};
use crate::compose::Base;
use crate::config::{Config, Needs};
use crate::folder::Folder;
use bars::Bars;
use chrono::Utc;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use switchyard_backup::keys::seal_passphrase;
use switchyard_backup::prune::prune;
use switchyard_backup::{BackupFault, Vault, copy};
use switchyard_catalog::backup::{self as catalog, Backups, RunFault};
use switchyard_store::backups::runs::{Came, RunKind};

const NO_DATABASE: Needs = Needs { database: false, secret_key: false, takes_backups: false };
const DATABASE: Needs = Needs { database: true, secret_key: false, takes_backups: false };

pub(super) async fn run(global: &Global, command: &Backup, output: Output) -> Result<(), Failure> {
    match command {
        Backup::Now { what, full, incremental } => {
            let what = match (full, incremental) {
                (true, _) => Taking::Full,
                (_, true) => Taking::Incremental,
                _ => *what,
            };
            now(global, what, output).await
        }
        Backup::List { second } => {
            let vault = opened(&load(global, Vec::new(), NO_DATABASE)?, *second)?;
            listing::list(&vault, output).await
        }
        Backup::Verify(args) => verify::run(global, args, output).await,
        Backup::Prune { dry_run, second } => pruned(global, *dry_run, *second, output).await,
        Backup::Keygen { keep: Some(folder), .. } => keep(folder, output),
        Backup::Keygen { out, passphrase, .. } => {
            keygen(global, out.as_deref(), *passphrase, output).await
        }
        Backup::Status => status::status(global, output).await,
    }
}

/// The archive, or the second one as if it were the only one.
fn opened(config: &Config, second: bool) -> Result<Vault, Failure> {
    let Some(vault) = backups::vault(&config.backup)? else { return Err(unset().into()) };
    if !second {
        return Ok(vault);
    }
    let none = Fault::new("no_archive", "there is no second archive").remedy("set backup.second");
    vault.of_second().ok_or_else(|| none.into())
}

fn unset() -> Fault {
    Fault::new("no_archive", "no archive is configured")
        .remedy("set backup.archive to s3://bucket/prefix or a folder; docs/backups.md shows how")
}

/// By whom, for the record.
pub(super) fn who() -> String {
    format!("cli:{}", std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned()))
}

fn failed(fault: RunFault) -> Fault {
    match fault {
        RunFault::Backup(fault) => backups::fault(fault),
        RunFault::Store(fault) => super::jobs::away(fault),
        RunFault::Busy => Fault::new("busy", fault.to_string()),
        RunFault::NotReleased => Fault::new("not_released", fault.to_string()),
    }
}

async fn now(global: &Global, what: Taking, output: Output) -> Result<(), Failure> {
    // Drills and copies write no backup of their own.
    let takes_backups = !matches!(what, Taking::Drill | Taking::Copy);
    let base = Base::open(load(global, Vec::new(), Needs { takes_backups, ..DATABASE })?)?;
    let taken = take(&base, what, output).await;
    base.close().await;
    let (kind, came) = taken?;
    let answer = json!({
        "kind": kind,
        "backup": came.backup,
        "covers": came.covers,
        "stored_bytes": came.stored_bytes,
        "rows": came.rows,
        "evidence": came.evidence,
    });
    output.answer(&answer, || {
        let name = came.backup.as_deref().unwrap_or("nothing new");
        let size = came.stored_bytes.map(listing::size).unwrap_or_default();
        let covers = came.covers.map(|c| format!(", the state of {}", super::jobs::instant(c)));
        format!("{kind} {name} {size}{}", covers.unwrap_or_default())
    });
    Ok(())
}

async fn take(base: &Base, what: Taking, output: Output) -> Result<(RunKind, Came), Failure> {
    let Some(backups) = base.platform.backups.clone() else { return Err(unset().into()) };
    let kind = match what {
        Taking::Full => RunKind::Full,
        Taking::Incremental => RunKind::Incremental,
        Taking::Differential => RunKind::Differential,
        Taking::Drill => RunKind::Drill,
        Taking::Copy => RunKind::Copy,
    };
    let bars = Bars::new(output);
    let work = || async { of_kind(base, &backups, kind, &bars).await };
    let came = catalog::in_process(&base.db, &backups, kind, &who(), work).await;
    bars.end();
    let came = came.map_err(failed)?;
    match &came.problem {
        Some(problem) => Err(Fault::new("not_proven", problem.clone()).into()),
        None => Ok((kind, came)),
    }
}

async fn of_kind(
    base: &Base,
    b: &Backups,
    kind: RunKind,
    bars: &Bars,
) -> Result<Came, BackupFault> {
    match kind {
        RunKind::Full => {
            let notes = catalog::notes_or_none(&base.db).await;
            let taken = switchyard_backup::full(&b.source, &b.vault, notes, bars).await?;
            Ok(catalog::came(&taken))
        }
        RunKind::Incremental => {
            let notes = catalog::notes_or_none(&base.db).await;
            let taken = switchyard_backup::incremental(&b.source, &b.vault, notes, bars).await?;
            Ok(taken.as_ref().map(catalog::came).unwrap_or_default())
        }
        RunKind::Differential => {
            Ok(catalog::came(&switchyard_backup::differential(&b.vault, bars).await?))
        }
        RunKind::Drill => {
            let before = catalog::Before::read(&base.db).await.unwrap_or_default();
            catalog::prove(b, &before, bars).await
        }
        _ => {
            let copied = copy::copy(&b.vault, bars).await?;
            Ok(Came { evidence: Some(catalog::told::copied(&copied)), ..Came::default() })
        }
    }
}

fn usage(what: impl Into<String>) -> Failure {
    Failure::Usage(Fault::new("backup", what).remedy("`switchyard backup list` shows them"))
}

async fn pruned(
    global: &Global,
    dry_run: bool,
    second: bool,
    output: Output,
) -> Result<(), Failure> {
    let config = load(global, Vec::new(), NO_DATABASE)?;
    let vault = opened(&config, second)?;
    let policy = backups::policy(config.backup.keep);
    let done = prune(&vault, &policy, Utc::now(), dry_run).await.map_err(backups::fault)?;
    let value = catalog::told::pruned(&done);
    output.answer(&value, || {
        let first = if dry_run { "nothing was changed; this would go\n" } else { "" };
        format!("{first}{}", listing::facts(&value))
    });
    Ok(())
}

async fn keygen(
    global: &Global,
    out: Option<&Path>,
    passphrase: bool,
    output: Output,
) -> Result<(), Failure> {
    if passphrase {
        return sealed(global, output).await;
    }
    let (keys, identity) = LocalKeys::generate();
    if let Some(path) = out {
        written(path, &identity)?;
    }
    let shown = out.is_none().then(|| identity.expose_secret().to_owned());
    let answer = json!({
        "recipients": keys.recipients,
        "signing_key": keys.signing_key,
        "drill_identity": keys.drill_identity,
        "identity": shown,
        "identity_file": out,
    });
    output.answer(&answer, || {
        let place = match (out, &shown) {
            (Some(path), _) => format!("The operators' identity is in {}.", path.display()),
            (None, Some(text)) => format!("The operators' identity:\n\n{text}"),
            (None, None) => String::new(),
        };
        format!(
            "{place}\nKeep it off the machines that make backups: it reads them all.\n\n\
             For switchyard.toml where backups are made:\n\n\
             [backup]\nrecipients = [\"{}\"]\nsigning_key = \"{}\"\n\n\
             And only where drills run:\n\ndrill_identity = \"{}\"\n",
            keys.recipients.join("\", \""),
            keys.signing_key,
            keys.drill_identity,
        )
    });
    Ok(())
}

/// Keys in a folder, as `up` keeps them.
fn keep(folder: &Path, output: Output) -> Result<(), Failure> {
    let folder = Folder::take(folder)?;
    let (keys, made) = LocalKeys::make(&folder)?;
    let file = folder.path().join(backups::KEYS);
    let identity = folder.path().join(backups::IDENTITY);
    let there = identity.exists().then_some(&identity);
    let answer = json!({ "recipients": keys.recipients, "made": made, "keys_file": file, "identity_file": there });
    output.answer(&answer, || {
        let what = if made { "made" } else { "there already" };
        let warning = there.map(|path| {
            let path = path.display();
            format!("\nTake {path} elsewhere: it reads every backup, and none of these machines needs it.")
        });
        format!("the keys are {what}: backup.keys_file = \"{}\"{}", file.display(), warning.unwrap_or_default())
    });
    Ok(())
}

fn written(path: &Path, identity: &SecretString) -> Result<(), Fault> {
    let failed = |e| {
        Fault::new("keygen", format!("{} cannot be written", path.display()))
            .remedy("name a file that does not exist, in a folder that does")
            .caused_by(e)
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(identity.expose_secret().as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// One more way to read: an identity in the archive that a passphrase opens.
async fn sealed(global: &Global, output: Output) -> Result<(), Failure> {
    let config = load(global, Vec::new(), NO_DATABASE)?;
    let vault = opened(&config, false)?;
    let Some(passphrase) = config.backup.passphrase else {
        let what = "there is no passphrase";
        let remedy = "set SWITCHYARD_BACKUP__PASSPHRASE for this command";
        return Err(Failure::Usage(Fault::new("passphrase", what).remedy(remedy)));
    };
    let recipient = seal_passphrase(&vault, passphrase).await.map_err(backups::fault)?;
    let recipient = recipient.to_string();
    output.answer(&json!({ "recipient": recipient }), || {
        format!("sealed; add this to backup.recipients: {recipient}")
    });
    Ok(())
}
