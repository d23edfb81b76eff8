//! `restore` and `release`: what is needed at three in the morning. A restore needs an archive and keys
//! and nothing else: no platform, no database of it, no data folder.

use super::bars::Bars;
use super::listing::size;
use super::{NO_DATABASE, who};
use crate::Fault;
use crate::backups;
use crate::cli::args::{Global, Release, Restore};
use crate::cli::jobs::{away, instant};
use crate::cli::load;
use crate::cli::output::{Failure, Output};
use crate::compose::Base;
use crate::config::{ArchiveSettings, BackupConfig, written_duration};
use secrecy::SecretString;
use serde_json::json;
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;
use switchyard_backup::keys::{Identity, Verifier, open_passphrase};
use switchyard_backup::restore::Destination;
use switchyard_backup::{Keys, RestorePlan, Restored, Target, Vault};
use switchyard_catalog::backup::{self as catalog, Mark};
use switchyard_store::StoreFault;
use switchyard_store::jobs;

pub(in crate::cli) async fn restore(
    global: &Global,
    args: &Restore,
    output: Output,
) -> Result<(), Failure> {
    let config = load(global, Vec::new(), NO_DATABASE)?;
    let vault = vault(&config.backup, args).await?;
    let plan = plan(args)?;
    let bars = Bars::new(output);
    let done = switchyard_backup::restore(&vault, &plan, &bars, &Mark).await;
    bars.end();
    let done = done.map_err(backups::fault)?;
    let answer = serde_json::to_value(&done).unwrap_or_default();
    output.answer(&answer, || told(&done));
    Ok(())
}

/// The archive and whatever keys there are: of the configuration, of the options, of the passphrase.
async fn vault(config: &BackupConfig, args: &Restore) -> Result<Vault, Failure> {
    let mut config = config.clone();
    if let Some(place) = &args.from {
        // The first archive's region, server and keys hold for it, whether that has a place or not.
        let sign_in = config.sign_in.clone();
        config.archive = Some(ArchiveSettings { place: place.clone(), ..sign_in });
    } else if args.second {
        config.archive = config.second.clone();
    }
    config.second = None;
    let keys = keys(&config, args)?;
    let Some(place) = &config.archive else { return Err(super::unset().into()) };
    let mut vault = Vault::new(backups::archive(place)?, keys.clone());
    if let Some(passphrase) = config.passphrase.clone() {
        let opened = open_passphrase(&vault, passphrase).await.map_err(backups::fault)?;
        vault = Vault::new(vault.archive.clone(), keys.identities([opened]));
    }
    Ok(vault)
}

fn keys(config: &BackupConfig, args: &Restore) -> Result<Keys, Failure> {
    let mut keys = backups::keys(config)?;
    let mut trusted = args.trust.clone();
    for path in &args.identity {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Fault::new("identity", format!("{} cannot be read", path.display())).caused_by(e)
        })?;
        // `keygen` wrote the other key that is needed beside the identity.
        let named = text.lines().filter_map(|line| line.strip_prefix(backups::SIGNATURES));
        trusted.extend(named.map(|key| key.trim().to_owned()));
        let found = Identity::parse_all(&SecretString::from(text)).map_err(backups::fault)?;
        keys = keys.identities(found);
    }
    let trusted = trusted.iter().map(|t| t.parse::<Verifier>());
    let trusted = trusted.collect::<Result<Vec<_>, _>>().map_err(backups::fault)?;
    Ok(keys.trusting(trusted))
}

fn usage(what: impl Into<String>, remedy: &str) -> Failure {
    Failure::Usage(Fault::new("restore", what).remedy(remedy))
}

fn plan(args: &Restore) -> Result<RestorePlan, Failure> {
    let scheme = "write postgres://user:password@host/database";
    let url = url::Url::parse(&args.to)
        .ok()
        .filter(|u| matches!(u.scheme(), "postgres" | "postgresql"))
        .ok_or_else(|| usage("--to is no address of a database", scheme))?;
    let server = SecretString::from(String::from(url));
    let name =
        catalog::database_of(&server).ok_or_else(|| usage("--to names no database", scheme))?;
    let target = match (&args.at, &args.lsn, &args.backup) {
        (Some(at), ..) => Target::Time(
            jobs::instant("--at", at).map_err(|e| usage(e, "it is UTC without a zone"))?,
        ),
        (_, Some(lsn), _) => {
            Target::Lsn(lsn.parse().map_err(|e: String| usage(e, "write 16/B374D848"))?)
        }
        (.., Some(id)) => Target::Backup(
            id.parse().map_err(|e: String| usage(e, "`switchyard backup list` shows them"))?,
        ),
        _ => Target::Newest,
    };
    Ok(RestorePlan {
        target,
        destination: match args.into_empty {
            true => Destination::Empty { name },
            false => Destination::New { name: Some(name) },
        },
        tables: args.table.iter().cloned().collect(),
        agency: args.agency.map(|a| a.to_string()),
        connections: usize::from(args.connections),
        ..RestorePlan::newest(server)
    })
}

fn told(done: &Restored) -> String {
    let took = Duration::try_from_secs_f64(done.seconds.round()).unwrap_or_default();
    format!(
        "restored {} in {}: the state of {}\n  full {}, {} increments, {} rows, {} changes, {} read, {} \
         tables compared with their checksums\n\nIt starts paused: no message, webhook or payout leaves \
         it until `switchyard release`.",
        done.database,
        written_duration(took),
        instant(done.covers),
        done.full,
        done.increments.len(),
        done.rows,
        done.changes,
        size(done.stored_bytes),
        done.tables_checked,
    )
}

pub(in crate::cli) async fn release(
    global: &Global,
    args: &Release,
    output: Output,
) -> Result<(), Failure> {
    let base = Base::open(load(global, Vec::new(), super::DATABASE)?)?;
    let released = async {
        confirmed(args.confirm.as_deref())?;
        catalog::release(&base.db, &who()).await.map_err(|fault| match fault {
            StoreFault::NotFound => {
                let what = "nothing waits for a release: this system was not restored, or it was \
                            released before";
                Fault::new("released", what).into()
            }
            fault => Failure::from(away(fault)),
        })
    }
    .await;
    base.close().await;
    let released = released?;
    output.answer(&json!({ "released": released }), || {
        format!(
            "released: the state of {} goes on, queues run and schedules fire",
            instant(released.covers)
        )
    });
    Ok(())
}

/// The word, from the option or typed at the terminal.
fn confirmed(given: Option<&str>) -> Result<(), Failure> {
    let mut typed = String::new();
    let word = match given {
        Some(word) => word,
        None if std::io::stdin().is_terminal() => {
            let _ = write!(
                std::io::stderr(),
                "From then on messages, webhooks and payouts leave this system.\nType `release`: "
            );
            let _ = std::io::stdin().lock().read_line(&mut typed);
            &typed
        }
        None => "",
    };
    if word.trim() == "release" {
        return Ok(());
    }
    Err(Failure::Usage(
        Fault::new("not_confirmed", "not released")
            .remedy("look at what waits (`switchyard jobs list`), then add `--confirm release`"),
    ))
}
