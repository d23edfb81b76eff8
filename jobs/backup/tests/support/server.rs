//! A PostgreSQL of the test's own: in a temporary folder, reached over a socket in it, and gone with
//! the test's process however that ends.

use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The superuser of every server that is started here.
pub const SUPERUSER: &str = "postgres";

/// A running server. Stopped when it is dropped.
pub struct Server {
    folder: PathBuf,
    keeper: Child,
    made: AtomicU32,
}

static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());

impl Server {
    /// The server that the tests of this process share. It runs while one of them holds it.
    pub async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Self::start(&[]).await;
        *shared = Arc::downgrade(&server);
        server
    }

    /// A server of the test's own, with settings of its own besides `wal_level=logical` and what makes
    /// it quick.
    pub async fn start(settings: &[(&str, &str)]) -> Arc<Self> {
        Self::start_sized(settings, 1).await
    }

    /// The same with files of the log of so many megabytes.
    pub async fn start_sized(settings: &[(&str, &str)], segment: u32) -> Arc<Self> {
        let bin = programs();
        let account = account();
        let folder = lent_folder();
        let data = folder.join("data");
        let mut initdb = command(&bin.join("initdb"), account);
        initdb.arg("-D").arg(&data).args(["-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8"]);
        initdb.args(["--auth=trust", "--no-sync", "--no-instructions"]);
        initdb.arg(format!("--wal-segsize={segment}"));
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

        Self::run(folder, settings).await
    }

    /// Runs the server whose data is in the folder `data` of this one, which goes away with it.
    pub async fn run(folder: PathBuf, settings: &[(&str, &str)]) -> Arc<Self> {
        let (bin, data) = (programs(), folder.join("data"));
        // The shell outlives a test process that is killed: its pipe closes, and it cleans up.
        let mut keeper = command(Path::new("/bin/sh"), account());
        keeper.arg("-c").arg(
            r#"folder=$1; shift; "$@" >"$folder/log" 2>&1 & pid=$!
               cat >/dev/null; kill -INT "$pid"; wait "$pid"; rm -rf "$folder""#,
        );
        keeper.arg("keeper").arg(&folder).arg(bin.join("postgres")).arg("-D").arg(&data);
        let socket = folder.display().to_string();
        let base = [
            ("listen_addresses", ""),
            ("unix_socket_directories", socket.as_str()),
            ("wal_level", "logical"),
            ("max_replication_slots", "60"),
            ("max_wal_senders", "4"),
            ("max_prepared_transactions", "10"),
            ("max_connections", "150"),
            ("shared_buffers", "64MB"),
            ("max_wal_size", "512MB"),
            ("min_wal_size", "4MB"),
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("max_slot_wal_keep_size", "2GB"),
            // So that text which depends on the session shows when it is not pinned.
            ("timezone", "America/New_York"),
            ("datestyle", "SQL, DMY"),
            ("intervalstyle", "sql_standard"),
            ("bytea_output", "escape"),
        ];
        for (name, value) in base.iter().chain(settings) {
            keeper.arg("-c").arg(format!("{name}={value}"));
        }
        keeper.stdin(Stdio::piped());
        let keeper = keeper.spawn().expect("the server starts");
        let server = Arc::new(Self { folder, keeper, made: AtomicU32::new(0) });
        server.wait().await;
        server
    }

    /// A standby that follows this server, made with `pg_basebackup`.
    pub async fn standby(&self) -> Arc<Self> {
        let folder = lent_folder();
        let mut copy = command(&programs().join("pg_basebackup"), account());
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname"]);
        copy.arg(self.url("postgres", SUPERUSER)).arg("--pgdata").arg(folder.join("data"));
        let made = copy.output().expect("pg_basebackup runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::run(folder, &[]).await
    }

    /// Ends it as a loss of power would.
    pub fn crash(&self) {
        let mut stop = command(&programs().join("pg_ctl"), account());
        stop.args(["stop", "--mode=immediate", "-D"]).arg(self.folder.join("data"));
        let stopped = stop.output().expect("pg_ctl runs");
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    }

    /// The folder of its socket: `PGHOST`.
    #[must_use]
    pub fn host(&self) -> &Path {
        &self.folder
    }

    async fn wait(&self) {
        let since = Instant::now();
        loop {
            match PgConnection::connect(&self.url("postgres", SUPERUSER)).await {
                Ok(connection) => return connection.close().await.expect("it closes"),
                Err(_) if since.elapsed() < Duration::from_secs(60) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(e) => panic!("the server does not start: {e}\n{}", self.log()),
            }
        }
    }

    /// The address of a database under a role, good for sqlx, psql and pg_dump.
    #[must_use]
    pub fn url(&self, database: &str, role: &str) -> String {
        let folder = self.folder.display();
        format!("postgres://{role}@localhost/{database}?host={folder}&sslmode=disable")
    }

    /// What the server wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(self.folder.join("log")) {
            let _ = file.read_to_string(&mut text);
        }
        text
    }

    /// A new empty database.
    pub async fn database(self: &Arc<Self>) -> Database {
        let name = format!("t{}", self.made.fetch_add(1, Ordering::Relaxed));
        let mut admin = self.admin().await;
        execute(&mut admin, &format!("create database {name} template template0")).await;
        admin.close().await.expect("it closes");
        Database { server: Arc::clone(self), name }
    }

    /// A superuser's connection to the database `postgres`.
    pub async fn admin(&self) -> PgConnection {
        PgConnection::connect(&self.url("postgres", SUPERUSER)).await.expect("a connection")
    }

    /// The folder of its files.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The number of its first process, whose children are its backends.
    #[must_use]
    pub fn process(&self) -> u32 {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("its number");
        text.lines().next().and_then(|n| n.parse().ok()).expect("a number")
    }

    /// A program that is run under the server's account.
    #[must_use]
    pub fn beside(program: &str) -> Command {
        command(Path::new(program), account())
    }

    /// One of PostgreSQL's programs, such as `pg_dump`.
    #[must_use]
    pub fn program(name: &str) -> PathBuf {
        programs().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The shell stops the server and removes its folder; nobody needs to wait for that.
        drop(self.keeper.stdin.take());
    }
}

/// A database of a test.
#[derive(Clone)]
pub struct Database {
    /// The server it is on.
    pub server: Arc<Server>,
    /// Its name.
    pub name: String,
}

impl Database {
    /// Its address as a superuser.
    #[must_use]
    pub fn url(&self) -> SecretString {
        self.url_as(SUPERUSER)
    }

    /// Its address under a role.
    #[must_use]
    pub fn url_as(&self, role: &str) -> SecretString {
        SecretString::from(self.server.url(&self.name, role))
    }

    /// A superuser's connection.
    pub async fn connect(&self) -> PgConnection {
        self.connect_as(SUPERUSER).await
    }

    /// A connection under a role.
    pub async fn connect_as(&self, role: &str) -> PgConnection {
        PgConnection::connect(&self.server.url(&self.name, role)).await.expect("a connection")
    }

    /// Runs statements as a superuser.
    pub async fn run(&self, sql: &str) {
        let mut connection = self.connect().await;
        execute(&mut connection, sql).await;
        connection.close().await.expect("it closes");
    }

    /// `pg_dump --schema-only` of it: what somebody else says that its schema is.
    #[must_use]
    pub fn schema_by_pg_dump(&self) -> String {
        let output = Command::new(programs().join("pg_dump"))
            .args(["--schema-only", "--no-publications", "--dbname"])
            .arg(self.server.url(&self.name, SUPERUSER))
            .output()
            .expect("pg_dump runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        // A key of this very dump, against scripts that smuggle in commands.
        text.lines()
            .filter(|l| !l.starts_with("\\restrict") && !l.starts_with("\\unrestrict"))
            .fold(String::new(), |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            })
    }
}

/// Runs statements.
pub async fn execute(connection: &mut PgConnection, sql: &str) {
    if let Err(e) = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await {
        panic!("{e}\n{sql}");
    }
}

/// The folder of the newest PostgreSQL that Debian installed, else that of the first on the PATH.
fn programs() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = debian
        .filter_map(|e| Some((e.file_name().to_str()?.parse::<u32>().ok()?, e.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .max();
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .map(|(_, bin)| bin)
        .or_else(|| std::env::split_paths(&path).find(|bin| bin.join("initdb").exists()))
        .expect("PostgreSQL 15 or later is installed: `apt install postgresql`")
}

/// A new folder that belongs to PostgreSQL's account.
pub fn lent_folder() -> PathBuf {
    let folder = tempfile::Builder::new().prefix("sy-pg-").tempdir().expect("a folder").keep();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).expect("mode");
    if let Some((uid, gid)) = account() {
        chown(&folder, Some(uid), Some(gid)).expect("the folder is lent");
    }
    folder
}

/// PostgreSQL refuses root, which lends it the account `postgres`.
fn account() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").expect("/proc").uid() != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line =
        accounts.lines().find(|l| l.starts_with("postgres:")).expect("an account `postgres`");
    let mut fields = line.split(':').skip(2).map(|f| f.parse().expect("a number"));
    Some((fields.next().expect("a user"), fields.next().expect("a group")))
}

fn command(program: &Path, account: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command.current_dir("/").process_group(0).stdin(Stdio::null());
    if let Some((uid, gid)) = account {
        command.uid(uid).gid(gid);
    }
    command
}
