//! `backup verify`: what is stored, against the signed manifests; in both archives unless told otherwise.

use super::bars::Bars;
use super::listing::facts;
use super::{NO_DATABASE, opened};
use crate::Fault;
use crate::cli::args::{ArchiveWhich, Global, Verify};
use crate::cli::load;
use crate::cli::output::{Failure, Output};
use serde_json::{Value, json};
use switchyard_backup::model::BackupId;
use switchyard_backup::verify::{Depth, Verified, Which, verify};
use switchyard_backup::{BackupFault, Progress, Target, Vault};
use switchyard_catalog::backup::told;

/// Looks at each archive, and fails if anything in either is wrong or one does not answer.
pub(super) async fn run(global: &Global, args: &Verify, output: Output) -> Result<(), Failure> {
    let config = load(global, Vec::new(), NO_DATABASE)?;
    let which = which(args)?;
    let first = opened(&config, false)?;
    let asked = if args.second { ArchiveWhich::Second } else { args.archive };
    let archives = match asked {
        ArchiveWhich::First => vec![first],
        ArchiveWhich::Second => vec![opened(&config, true)?],
        ArchiveWhich::Both => {
            let second = first.of_second();
            std::iter::once(first).chain(second).collect()
        }
    };
    let bars = Bars::new(output);
    let mut found = Vec::new();
    for (number, vault) in archives.iter().enumerate() {
        bars.step(&format!("reading {}", vault.archive.name()));
        found.push(Found::of(vault, &which, number > 0, &bars).await);
    }
    bars.end();
    let views: Vec<Value> = found.iter().map(Found::view).collect();
    let sound = found.iter().all(|f| f.fault.is_none());
    output.answer(&json!({ "sound": sound, "archives": views }), || {
        views.iter().map(facts).collect::<Vec<_>>().join("\n\n")
    });
    match found.into_iter().find_map(|f| Some((f.archive, f.fault?))) {
        None => Ok(()),
        Some((archive, why)) => Err(Fault::new("backup", format!("{archive}: {why}")).into()),
    }
}

/// What is looked at: everything, one backup, or all that a restore reads.
fn which(args: &Verify) -> Result<Which, Failure> {
    let id = args.id.as_deref().map(str::parse::<BackupId>).transpose().map_err(super::usage)?;
    Ok(match (id, args.chain) {
        (None, chain) if args.all || !chain => Which::All,
        (None, _) => Which::For(Target::Newest),
        (Some(id), false) => Which::One(id),
        (Some(id), true) => Which::For(Target::Backup(id)),
    })
}

/// What came of one archive.
struct Found {
    archive: String,
    verified: Option<Verified>,
    /// Why it is not sound.
    fault: Option<String>,
    /// It was not copied there yet, which is no fault.
    absent: bool,
}

impl Found {
    /// `copy`: of the second archive beside the first, to which a single backup may still have to be copied.
    async fn of(vault: &Vault, which: &Which, copy: bool, bars: &Bars) -> Self {
        let depth = if vault.keys.can_read() { Depth::Contents } else { Depth::Stored };
        let done = verify(vault, which, depth, bars).await;
        let archive = vault.archive.name().to_owned();
        let (verified, fault, absent) = match done {
            Ok(verified) => {
                let none = || "there is no backup in it".to_owned();
                let empty = verified.backups == 0 && verified.is_sound();
                let fault = empty
                    .then(none)
                    .or_else(|| verified.clone().into_sound().err().map(|fault| fault.to_string()));
                (Some(verified), fault, false)
            }
            Err(BackupFault::OutOfReach { .. }) if copy && *which != Which::All => {
                (None, None, true)
            }
            Err(fault) => (None, Some(fault.to_string()), false),
        };
        Self { archive, verified, fault, absent }
    }

    fn view(&self) -> Value {
        let mut view = json!({ "archive": self.archive });
        let told = self.verified.as_ref().map(told::verified);
        for (name, value) in told.as_ref().and_then(Value::as_object).into_iter().flatten() {
            view[name] = value.clone();
        }
        view["sound"] = json!(self.fault.is_none());
        if let Some(fault) = &self.fault {
            view["fault"] = json!(fault);
        }
        if self.absent {
            view["absent"] = json!("it was not copied there yet");
        }
        view
    }
}
