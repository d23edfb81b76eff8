//! Backups as the configuration names them: archives, keys, the database, the cadence.

use crate::Fault;
use crate::config::{ArchiveSettings, BackupConfig, Config, Keep};
use crate::folder::Folder;
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;
use std::sync::Arc;
use switchyard_backup::keys::{Identity, Recipient, Signer, Verifier};
use switchyard_backup::prune::Policy;
use switchyard_backup::source::SourceConfig;
use switchyard_backup::{BackupFault, Keys, Vault};
use switchyard_catalog::backup::{Backups, Cadence, Promise};
use switchyard_providers::archive::{
    self, Archive, ArchiveConfig, ArchiveKind, DirectoryConfig, S3Config,
};

/// What every process does with backups; `None`: no archive is configured.
///
/// # Errors
/// If a key or an archive's settings are of no use.
pub fn open(config: &Config) -> Result<Option<Backups>, Fault> {
    let b = &config.backup;
    let Some(vault) = vault(b)? else { return Ok(None) };
    let everyday = config.database.as_ref().map(|d| &d.url);
    let Some(url) = b.source(config.owner_url.as_ref(), everyday) else { return Ok(None) };
    let source = SourceConfig {
        slot: b.slot.clone(),
        publication: b.slot.clone(),
        connections: b.connections,
        patience: b.patience,
        exclude_schemas: b.exclude_schemas.clone(),
        ..SourceConfig::new(url.clone())
    };
    let c = b.cadence;
    Ok(Some(Backups {
        source,
        vault,
        cadence: Cadence {
            incremental: c.incremental,
            differential: c.differential,
            full: c.full,
            drill: c.drill,
            verify: c.verify,
            jitter: c.jitter,
        },
        promise: Promise { rpo: b.rpo, rto: b.rto, wal_alarm: b.wal_alarm },
        policy: policy(b.keep),
        scratch: b.scratch_url.clone().unwrap_or_else(|| url.clone()),
        standby: b.standby_url.clone(),
        source_url: url,
    }))
}

/// The archives with the keys that this process has; `None`: no archive is configured.
///
/// # Errors
/// If a key or an archive's settings are of no use.
pub fn vault(b: &BackupConfig) -> Result<Option<Vault>, Fault> {
    let Some(first) = &b.archive else { return Ok(None) };
    let vault = Vault::new(archive(first)?, keys(b)?);
    Ok(Some(match &b.second {
        Some(second) => vault.with_second(archive(second)?),
        None => vault,
    }))
}

/// The keys that are configured.
///
/// # Errors
/// If one of them is none.
pub fn keys(b: &BackupConfig) -> Result<Keys, Fault> {
    let recipients = b.recipients.iter().map(|r| r.parse::<Recipient>());
    let recipients = recipients.collect::<Result<Vec<_>, _>>().map_err(of("backup.recipients"))?;
    let trusted = b.trusted.iter().map(|t| t.parse::<Verifier>());
    let trusted = trusted.collect::<Result<Vec<_>, _>>().map_err(of("backup.trusted"))?;
    let mut keys = Keys::new().recipients(recipients).trusting(trusted);
    if let Some(text) = &b.signing_key {
        keys = keys.signing(Signer::parse(text).map_err(of("backup.signing_key"))?);
    }
    if let Some(text) = &b.drill_identity {
        let drill = Identity::parse_all(text).map_err(of("backup.drill_identity"))?;
        // What the drill is to read must be written for it.
        keys = keys.recipients(drill.iter().map(Identity::recipient)).identities(drill);
    }
    Ok(keys)
}

fn of(key: &'static str) -> impl Fn(BackupFault) -> Fault {
    move |fault| Fault::new("configuration", format!("`{key}`: {fault}"))
}

/// Opens an archive; nothing is connected yet.
///
/// # Errors
/// If its settings are of no use.
pub fn archive(settings: &ArchiveSettings) -> Result<Arc<dyn Archive>, Fault> {
    let config = match settings.place.strip_prefix("s3://") {
        Some(place) => s3(settings, place),
        None => {
            let path = std::path::absolute(&settings.place).map_err(|e| {
                Fault::new("archive", format!("{} is no folder", settings.place)).caused_by(e)
            })?;
            let directory = DirectoryConfig { path };
            ArchiveConfig { kind: ArchiveKind::Directory, directory, ..ArchiveConfig::default() }
        }
    };
    archive::open(&config).map_err(|faults| {
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Fault::new("archive", format!("{}: {}", settings.place, told.join("; ")))
            .remedy(format!("mend the settings that begin with `{}`", settings.called))
    })
}

fn s3(settings: &ArchiveSettings, place: &str) -> ArchiveConfig {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let s3 = S3Config {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: settings.region.clone(),
        // Stores besides Amazon's mostly want the bucket in the path.
        path_style: settings.path_style.unwrap_or(settings.endpoint.is_some()),
        endpoint: settings.endpoint.as_ref().map(|e| e.as_str().trim_end_matches('/').to_owned()),
        access_key_id: settings.access_key.clone().unwrap_or_default(),
        secret_access_key: settings.secret_key.clone(),
        session_token: settings.session_token.clone(),
        sse: settings.sse,
        kms_key_id: settings.kms_key.clone(),
        lock_mode: settings.lock_days.map(|_| settings.lock_mode),
        lock_days: settings.lock_days,
        storage_class: settings.storage_class.clone(),
        checksums: settings.checksums,
        called: settings.called.to_owned(),
        ..S3Config::default()
    };
    ArchiveConfig { kind: ArchiveKind::S3, s3, ..ArchiveConfig::default() }
}

/// What retention keeps.
#[must_use]
pub fn policy(keep: Keep) -> Policy {
    let Keep { window_days, last, daily, weekly, monthly, yearly } = keep;
    Policy { window_days, last, daily, weekly, monthly, yearly }
}

/// A backup's fault as it is told at the terminal.
#[must_use]
pub fn fault(fault: BackupFault) -> Fault {
    Fault::new("backup", fault.to_string())
}

/// The keys that `up` makes at its first start.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct LocalKeys {
    /// What signs.
    pub signing_key: String,
    /// What drills read with.
    pub drill_identity: String,
    /// Who can read: the operators.
    pub recipients: Vec<String>,
}

/// In an identity's file, before the public key of the signatures.
pub const SIGNATURES: &str = "# signatures:";
/// The file of the keys that `up` made, in the data folder.
pub const KEYS: &str = "backup-keys.json";
/// The operators' identity, in the data folder until somebody takes it elsewhere.
pub const IDENTITY: &str = "backup-identity.txt";
/// Where `up` puts backups, in the data folder.
pub const FOLDER: &str = "backups";

impl LocalKeys {
    /// New ones, and the operators' identity that belongs to them.
    #[must_use]
    pub fn generate() -> (Self, SecretString) {
        let (operator, drill, signer) =
            (Identity::generate(), Identity::generate(), Signer::generate());
        let keys = Self {
            signing_key: signer.reveal().expose_secret().to_owned(),
            drill_identity: drill.reveal().expose_secret().to_owned(),
            recipients: vec![operator.recipient().to_string()],
        };
        let text = format!(
            "# Reads the backups of this Switchyard. Keep it elsewhere: whoever has it and the archive\n\
             # has all data, and without it a lost machine's backups are lost, too.\n\
             # public key: {}\n{SIGNATURES} {}\n{}\n",
            operator.recipient(),
            signer.public(),
            operator.reveal().expose_secret()
        );
        (keys, SecretString::from(text))
    }

    /// Those of a folder; at the first start they are made, and the operators' identity beside them. Whether they
    /// were.
    ///
    /// # Errors
    /// If they cannot be written, or what is there is none.
    pub fn make(folder: &Folder) -> Result<(Self, bool), Fault> {
        if let Some(keys) = Self::of(folder.path()) {
            return Ok((keys, false));
        }
        let path = folder.path().join(KEYS);
        if path.exists() {
            // New ones would make all old backups unreadable to drills.
            return Err(Fault::new("backup_keys", format!("{} holds no keys", path.display()))
                .remedy(
                    "put the file back from where you keep a copy, or take it away for new keys",
                ));
        }
        let (keys, identity) = Self::generate();
        // The identity first: keys without it would write what nobody but the drill can read.
        folder.write(IDENTITY, identity.expose_secret().as_bytes())?;
        let text = serde_json::to_vec_pretty(&keys)
            .map_err(|e| Fault::new("backup_keys", "keys are no JSON").caused_by(e))?;
        folder.write(KEYS, &text)?;
        Ok((keys, true))
    }

    /// Those of a data folder, if there are any.
    #[must_use]
    pub fn of(folder: &std::path::Path) -> Option<Self> {
        Self::of_file(&folder.join(KEYS)).ok()
    }

    /// Those of a file.
    ///
    /// # Errors
    /// If it cannot be read, or holds none.
    pub fn of_file(path: &std::path::Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Where backups of this data folder go.
    #[must_use]
    pub fn archive(folder: &std::path::Path) -> PathBuf {
        folder.join(FOLDER)
    }
}
