//! The sections `backup` and `alarms`: where backups go, with which keys, how often, what is promised,
//! and who hears of it when it is not kept.

use super::archive::{ArchiveSettings, FIRST, SECOND_ONE, archive};
use super::reader::Reader;
use super::{DAY, MINUTE, SECOND, written_duration};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// What an increment is granted until its real duration has been measured.
pub(crate) const FIRST_GUESS: Duration = Duration::from_secs(60);

/// How often what runs.
#[derive(Clone, Copy, Debug)]
pub struct Cadence {
    /// Between two increments.
    pub incremental: Duration,
    /// Between two differentials.
    pub differential: Duration,
    /// Between two full backups.
    pub full: Duration,
    /// Between two drills, if no full backup asks for one earlier.
    pub drill: Duration,
    /// Between two readings of the whole archive.
    pub verify: Duration,
    /// Up to so much later than the interval says, so that many systems do not come at once.
    pub jitter: Duration,
}

/// What retention keeps. A backup stays if any of these wants it.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Days back within which every moment can be restored.
    pub window_days: u32,
    /// The newest full backups.
    pub last: u32,
    /// Days of which the newest full backup is kept.
    pub daily: u32,
    /// Weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
}

/// Everything about backups.
#[derive(Clone, Debug)]
pub struct BackupConfig {
    /// Where backups go; none: there are no backups.
    pub archive: Option<ArchiveSettings>,
    /// How to get into the first archive, without its place: a restore may name another place.
    pub sign_in: ArchiveSettings,
    /// Where they are copied to.
    pub second: Option<ArchiveSettings>,
    /// Who can read them: `age1...`.
    pub recipients: Vec<String>,
    /// What signs manifests.
    pub signing_key: Option<SecretString>,
    /// Public keys whose signatures are trusted beside our own.
    pub trusted: Vec<String>,
    /// What the drill reads with.
    pub drill_identity: Option<SecretString>,
    /// Seals one more way to read them.
    pub passphrase: Option<SecretString>,
    /// The database that is backed up, with rights to read everything; the owner's address if not set.
    pub source_url: Option<SecretString>,
    /// A server on which drills may make and drop databases; the source's if not set.
    pub scratch_url: Option<SecretString>,
    /// The database that disaster recovery fills.
    pub standby_url: Option<SecretString>,
    /// The replication slot.
    pub slot: String,
    /// Connections of one run.
    pub connections: usize,
    /// How long a full backup waits for transactions that are under way.
    pub patience: Duration,
    /// How often what runs.
    pub cadence: Cadence,
    /// The most data that may be lost.
    pub rpo: Duration,
    /// The longest time that a restore may take.
    pub rto: Duration,
    /// Log that the slot may hold back before there is an alarm, in bytes.
    pub wal_alarm: u64,
    /// What retention keeps.
    pub keep: Keep,
    /// Schemas that are left out.
    pub exclude_schemas: Vec<String>,
}

/// Who hears of alarms.
#[derive(Clone, Debug)]
pub struct AlarmsConfig {
    /// Addresses.
    pub email: Vec<String>,
    /// A URL that gets a POST with JSON.
    pub webhook: Option<url::Url>,
    /// An alarm that stays open is told again after this.
    pub repeat: Duration,
}

pub(super) fn read(r: &mut Reader) -> BackupConfig {
    let (first, sign_in) = archive(r, &FIRST);
    let (second, _) = archive(r, &SECOND_ONE);
    let config = BackupConfig {
        archive: first,
        sign_in,
        second,
        recipients: r.get(
            "backup.recipients",
            Vec::new(),
            "Who can read backups: age1... of `switchyard backup keygen`, with commas between",
        ),
        signing_key: r.secret("backup.signing_key", "What signs backups, from `keygen`", any),
        trusted: r.get(
            "backup.trusted",
            Vec::new(),
            "Public keys whose signatures are trusted beside that of backup.signing_key",
        ),
        drill_identity: r.secret(
            "backup.drill_identity",
            "What drills and differentials read backups with: only where they run",
            any,
        ),
        passphrase: r.secret(
            "backup.passphrase",
            "Opens the passphrase's identity in the archive, for restores by hand",
            passphrase,
        ),
        source_url: r.secret_url(
            "backup.source_url",
            "The database to back up, with rights to read everything; default: database.owner_url",
            POSTGRES,
        ),
        scratch_url: r.secret_url(
            "backup.scratch_url",
            "A server where drills may make databases; default: the server that is backed up",
            POSTGRES,
        ),
        standby_url: r.secret_url(
            "backup.standby_url",
            "The database that disaster recovery fills; it must not exist, or be empty",
            POSTGRES,
        ),
        slot: r.get(
            "backup.slot",
            "switchyard_backup".to_owned(),
            "What the replication slot's name begins with",
        ),
        connections: r.number(
            "backup.connections",
            2,
            1..=64,
            "Connections of one backup or restore",
        ),
        patience: r.duration(
            "backup.patience",
            10 * MINUTE,
            SECOND..=DAY,
            "How long a full backup waits for transactions under way",
        ),
        cadence: cadence(r),
        rpo: r.duration("backup.rpo", 15 * MINUTE, SECOND..=7 * DAY, "Most data that may be lost"),
        rto: r.duration("backup.rto", 30 * MINUTE, SECOND..=7 * DAY, "Longest time of a restore"),
        wal_alarm: r.number(
            "backup.wal_alarm",
            4 << 30,
            1 << 20..=1 << 50,
            "Bytes of log that the slot may hold back before there is an alarm",
        ),
        keep: keep(r),
        exclude_schemas: r.get(
            "backup.exclude_schemas",
            Vec::new(),
            "Schemas that are left out: those that a host puts there for itself",
        ),
    };
    check(r, &config);
    config
}

const POSTGRES: &[&str] = &["postgres", "postgresql"];

fn cadence(r: &mut Reader) -> Cadence {
    Cadence {
        incremental: r.duration(
            "backup.incremental_interval",
            10 * MINUTE,
            SECOND..=DAY,
            "Time between two increments; with jitter and duration it must fit backup.rpo",
        ),
        differential: r.duration(
            "backup.differential_interval",
            HOUR,
            SECOND..=7 * DAY,
            "Time between two differentials, which make restores quicker",
        ),
        full: r.duration(
            "backup.full_interval",
            DAY,
            SECOND..=31 * DAY,
            "Time between two full backups",
        ),
        drill: r.duration(
            "backup.drill_interval",
            20 * HOUR,
            SECOND..=20 * HOUR,
            "Time between two proofs that the newest backup restores; each full one has its own",
        ),
        verify: r.duration(
            "backup.verify_interval",
            7 * DAY,
            SECOND..=366 * DAY,
            "Time between two readings of the whole archive",
        ),
        jitter: r.duration(
            "backup.jitter",
            10 * SECOND,
            Duration::ZERO..=HOUR,
            "Runs begin up to this much later than their interval says",
        ),
    }
}

fn keep(r: &mut Reader) -> Keep {
    Keep {
        window_days: r.number(
            "backup.keep_window_days",
            7,
            1..=3650,
            "Days back within which every moment can be restored",
        ),
        last: r.number("backup.keep_last", 2, 1..=1000, "Newest full backups that are kept"),
        daily: r.number("backup.keep_daily", 7, 0..=3650, "Days of which a full one is kept"),
        weekly: r.number("backup.keep_weekly", 5, 0..=520, "Weeks of which a full one is kept"),
        monthly: r.number("backup.keep_monthly", 12, 0..=240, "Months of which one is kept"),
        yearly: r.number("backup.keep_yearly", 0, 0..=50, "Years of which one is kept"),
    }
}

/// What a process cannot do without that writes backups.
pub(super) fn demand(r: &mut Reader, config: &BackupConfig) {
    if config.archive.is_none() {
        return;
    }
    let remedy = "run `switchyard backup keygen` and set what it prints";
    if config.recipients.is_empty() && !r.is_faulty("backup.recipients") {
        r.fault("backup.recipients", "is not set, so nobody could read the backups", remedy);
    }
    if config.signing_key.is_none() && !r.is_faulty("backup.signing_key") {
        r.fault("backup.signing_key", "is not set, so nobody could trust the backups", remedy);
    }
}

/// What does not fit together.
fn check(r: &mut Reader, config: &BackupConfig) {
    if config.archive.is_none() {
        if config.second.is_some() {
            r.fault("backup.archive", "is not set, but backup.second is", "set it, too");
        }
        return;
    }
    let Cadence { incremental, jitter, .. } = config.cadence;
    // A minute is too much to ask of systems that promise less than that.
    let granted = FIRST_GUESS.min(config.rpo / 5);
    let longest = incremental + jitter + granted;
    if longest > config.rpo {
        let problem = format!(
            "is {}, but an increment every {}, up to {} later and with {} for its own work can lose {}",
            written_duration(config.rpo),
            written_duration(incremental),
            written_duration(jitter),
            written_duration(granted),
            written_duration(longest),
        );
        r.fault("backup.rpo", problem, "lower backup.incremental_interval, or promise less");
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if config.slot.is_empty() || config.slot.len() > 40 || !config.slot.chars().all(fits) {
        let remedy = "write lower-case letters, digits and underscores, at most 40";
        r.fault("backup.slot", format!("is {:?}; that is no slot's name", config.slot), remedy);
    }
}

pub(super) fn alarms(r: &mut Reader) -> AlarmsConfig {
    let email: Vec<String> =
        r.get("alarms.email", Vec::new(), "Who gets alarms by e-mail, with commas between");
    if let Some(wrong) = email.iter().find(|a| !a.contains('@')) {
        let problem = format!("has {wrong:?}, which is no e-mail address");
        r.fault("alarms.email", problem, "write addresses as ops@example.com");
    }
    AlarmsConfig {
        email,
        webhook: r.optional("alarms.webhook", "A URL that gets each alarm as JSON by POST"),
        repeat: r.duration(
            "alarms.repeat",
            6 * HOUR,
            MINUTE..=7 * DAY,
            "An alarm that stays open is told again after this",
        ),
    }
}

impl BackupConfig {
    /// The address of the database that is backed up: its own, or the owner's.
    #[must_use]
    pub fn source(
        &self,
        owner: Option<&SecretString>,
        everyday: Option<&SecretString>,
    ) -> Option<SecretString> {
        self.source_url
            .as_ref()
            .or(owner)
            .or(everyday)
            .map(|url| SecretString::from(url.expose_secret().to_owned()))
    }
}

/// What a key looks like is the backups' own affair; they look at it when they are opened.
pub(super) fn any(_: &str) -> Option<String> {
    None
}

fn passphrase(text: &str) -> Option<String> {
    (text.chars().count() < 20)
        .then(|| "must be at least 20 characters: six random words, say".to_owned())
}
