//! What a private PostgreSQL needs before it can start: the programs, the data folder, the
//! settings.

use super::account::Account;
use super::pid_file::PidFile;
use super::{random_password, write_private};
use crate::Fault;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The server's log, in the data folder. Where it is, there was a server.
pub(super) const LOG: &str = "postgres.log";
/// How long an `initdb` that a crash left behind may go on.
const LAST_WRITES: Duration = Duration::from_secs(10);
/// The oldest version that is supported.
const OLDEST: u32 = 15;
/// The name of the owner's login: migrations and backups.
pub(super) const OWNER: &str = "switchyard_owner";
/// The name of the login that the program works with.
pub(super) const LOGIN: &str = "switchyard_login";

/// How to get in; stored beside the data folder, readable to its owner only.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Credentials {
    owner_password: String,
    login_password: String,
    /// Where the data is.
    pub(super) data: PathBuf,
    /// The port it had last; kept while it is free, so that addresses stay good.
    pub(super) port: Option<u16>,
}

impl Credentials {
    pub(super) fn owner_password(&self) -> SecretString {
        SecretString::from(self.owner_password.clone())
    }

    pub(super) fn login_password(&self) -> SecretString {
        SecretString::from(self.login_password.clone())
    }

    pub(super) fn load(path: &Path) -> Result<Option<Self>, Fault> {
        let unreadable = |e: Box<dyn std::error::Error + Send + Sync>| {
            Fault::new("credentials", format!("{} cannot be read", path.display())).caused_by(e)
        };
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| unreadable(e.into())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unreadable(e.into())),
        }
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), Fault> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|e| Fault::new("credentials", "credentials are no JSON").caused_by(e))?;
        write_private(path, &text).map_err(|e| {
            Fault::new("credentials", format!("{} cannot be written", path.display())).caused_by(e)
        })
    }
}

/// The folder with PostgreSQL's programs: of one major version, or of the newest there is.
pub(super) fn programs(major: Option<u32>) -> Result<PathBuf, Fault> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    // Debian keeps versions side by side.
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let version = entry.file_name().to_str().and_then(|n| n.parse().ok());
        let bin = entry.path().join("bin");
        if let Some(version) = version
            && bin.join("postgres").exists()
            && bin.join("initdb").exists()
        {
            found.push((version, bin));
        }
    }
    for bin in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        if bin.join("initdb").exists()
            && let Some(version) = version_of(&bin.join("postgres"))
        {
            found.push((version, bin));
        }
    }
    let fits = |v: u32| major.map_or(v >= OLDEST, |m| v == m);
    found.retain(|(v, _)| fits(*v));
    // Of equal versions the first found: what is on the PATH may only be links.
    found
        .into_iter()
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, bin)| bin)
        .ok_or_else(|| {
            let which = major.map_or(format!("{OLDEST} or later"), |m| format!("version {m}"));
            Fault::new("no_postgres", format!("PostgreSQL {which} is not installed")).remedy(
                format!(
                    "install the package `postgresql{}`, or set DATABASE_URL to a server of yours",
                    major.map(|m| format!("-{m}")).unwrap_or_default()
                ),
            )
        })
}

/// `postgres (PostgreSQL) 15.8 (Debian ...)`.
fn version_of(postgres: &Path) -> Option<u32> {
    let output = std::process::Command::new(postgres).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number: String =
        text.split(") ").nth(1)?.chars().take_while(char::is_ascii_digit).collect();
    number.parse().ok()
}

/// The major version of the data that is there.
pub(super) fn data_version(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// How durable and how large a server is to be.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// `false` is for tests: a crash of the machine loses the data, a crash of the server does not.
    pub durable: bool,
    /// Most connections.
    pub connections: u16,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { durable: true, connections: 200 }
    }
}

/// Makes the data folder, whole or not at all, and gives the credentials for it.
pub(super) async fn init(
    folder: &Path,
    file: &Path,
    account: Account,
    tuning: Tuning,
) -> Result<Credentials, Fault> {
    let bin = programs(None)?;
    let place = account.place(folder).await?;
    let (data, building) = (place.join("postgres"), place.join("postgres.new"));
    if place != folder && !folder.join(LOG).exists() {
        set_aside(&place, &data)?;
    }
    if data.exists() {
        return Err(Fault::new(
            "credentials",
            format!("{} holds a database, but {} is missing", data.display(), file.display()),
        )
        .remedy("put the file back from your backup, or move the folder away and start afresh"));
    }
    let io =
        |what: &'static str| move |e: std::io::Error| Fault::new("data_folder", what).caused_by(e);
    remove_half_made(&building)
        .await
        .map_err(io("the half-made folder of an interrupted start cannot be removed"))?;
    account.make_folder(&building).map_err(io("the data folder cannot be made"))?;
    let credentials = Credentials {
        owner_password: random_password().expose_secret().to_owned(),
        login_password: random_password().expose_secret().to_owned(),
        data: data.clone(),
        port: None,
    };
    run_initdb(&bin, &building, &place, account, &credentials, tuning).await?;
    let conf = building.join("postgresql.conf");
    let mut text = fs::read_to_string(&conf).map_err(io("postgresql.conf cannot be read"))?;
    text.push_str(
        "\n# Written anew by Switchyard at every start.\ninclude_if_exists 'switchyard.conf'\n",
    );
    fs::write(&conf, text).map_err(io("postgresql.conf cannot be written"))?;
    credentials.save(file)?;
    fs::rename(&building, &data).map_err(io("the data folder cannot be put in place"))?;
    Ok(credentials)
}

async fn run_initdb(
    bin: &Path,
    data: &Path,
    place: &Path,
    account: Account,
    credentials: &Credentials,
    tuning: Tuning,
) -> Result<(), Fault> {
    // initdb opens the file under its own account, so it must be a file and must be its own.
    let password = place.join("postgres.password");
    let failed = |detail: String| {
        Fault::new("initdb", format!("initdb could not make {}: {detail}", data.display()))
    };
    write_private(&password, credentials.owner_password.as_bytes())
        .and_then(|()| account.own(&password))
        .map_err(|e| failed(e.to_string()))?;
    let mut initdb = account.command(&bin.join("initdb"));
    initdb.arg("-D").arg(data).args(["-U", OWNER, "-E", "UTF8", "--locale=C.UTF-8"]);
    initdb.args(["--auth=scram-sha-256", "--data-checksums"]).arg("--pwfile").arg(&password);
    if !tuning.durable {
        initdb.arg("--no-sync");
    }
    initdb.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = initdb.spawn().map_err(|e| failed(e.to_string()))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let mut running = Running { group, password };
    let output = child.wait_with_output().await;
    // Ended and waited for: the number may be another's by now.
    running.group = None;
    match output {
        Ok(o) if o.status.success() => Ok(()),
        Ok(o) => Err(failed(String::from_utf8_lossy(&o.stderr).trim().to_owned())),
        Err(e) => Err(failed(e.to_string())),
    }
}

/// An `initdb` under way. It runs servers of its own; when the start is interrupted they end with
/// it, or they would go on writing into a folder that the next start makes anew.
struct Running {
    group: Option<Pid>,
    password: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = fs::remove_file(&self.password);
    }
}

/// After a crash somebody may be writing into it still, for a second or two.
async fn remove_half_made(building: &Path) -> std::io::Result<()> {
    let since = Instant::now();
    loop {
        match fs::remove_dir_all(building) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) if since.elapsed() > LAST_WRITES => return Err(e),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The data folder is new, but at the place that stands for it (see [`Account::place`]) there is the
/// database of a folder of the same name that somebody removed. It is kept under another name.
fn set_aside(place: &Path, data: &Path) -> Result<(), Fault> {
    if !data.exists() {
        return Ok(());
    }
    if let Some(server) = PidFile::read(data).filter(|f| f.is_ours(data)) {
        let what = format!("a server still runs in {}", data.display());
        let remedy = format!("end it: kill -INT {}", server.pid);
        return Err(Fault::new("data_folder", what).remedy(remedy));
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside = place.join(format!("postgres.before-{seconds}"));
    fs::rename(data, &aside).map_err(|e| {
        Fault::new("data_folder", format!("{} cannot be set aside", data.display())).caused_by(e)
    })?;
    let aside = aside.display();
    tracing::warn!(%aside, "the data folder is new; the database of the one before it is kept aside");
    Ok(())
}

/// Replication slots: one for backups, and room; tests have one in each of their databases.
const SLOTS: u16 = 100;

/// Writes the settings that a start needs. `wal_level=logical` for change streams and backups, whose
/// slot may hold log back, but not fill the disk with it (`max_slot_wal_keep_size`);
/// `client_connection_check_interval` because a backend busy in a statement would hold the presence
/// lock of a dead worker.
pub(super) fn write_settings(
    data: &Path,
    port: u16,
    account: Account,
    tuning: Tuning,
) -> std::io::Result<()> {
    let durability = if tuning.durable {
        "synchronous_commit = on\n"
    } else {
        "fsync = off\nfull_page_writes = off\n"
    };
    let text = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
         max_connections = {}\nshared_buffers = 256MB\nmax_wal_size = 2GB\nwal_level = logical\n\
         max_wal_senders = 10\nmax_replication_slots = {SLOTS}\n\
         max_slot_wal_keep_size = 8GB\nclient_connection_check_interval = 500\n\
         tcp_keepalives_idle = 10\ntcp_keepalives_interval = 5\ntcp_keepalives_count = 3\n\
         log_timezone = UTC\ntimezone = UTC\n{durability}",
        tuning.connections
    );
    let path = data.join("switchyard.conf");
    fs::write(&path, text)?;
    account.own(&path)
}
