//! pgBackRest beside the server: gzip 1, AES, two processes, over the server's own files.

use super::{report, tree_size};
use crate::support::Server;
use crate::support::server::lent_folder;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A repository of its own. It archives no log, so that nothing of it runs while others are measured: what a
/// restore replays is taken from the server's folder.
pub struct PgBackRest {
    folder: PathBuf,
    source: PathBuf,
}

impl Drop for PgBackRest {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl PgBackRest {
    /// Ready for a first backup; none where it is not installed.
    pub fn of(server: &Server) -> Option<Self> {
        let there = Server::beside("/usr/bin/pgbackrest").arg("version").output();
        if !there.is_ok_and(|o| o.status.success()) {
            println!("pgBackRest is not installed: jobs/backup/benches/run installs it");
            return None;
        }
        let (folder, source) = (lent_folder(), server.data());
        let at = |name: &str| folder.join(name).display().to_string();
        let settings = format!(
            "[global]\nrepo1-path={}\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=only-for-this-bench\n\
             process-max=2\ncompress-type=gz\ncompress-level=1\nstart-fast=y\narchive-check=n\n\
             lock-path={}\nspool-path={}\nlog-level-console=warn\nlog-level-file=off\n\
             [bench]\npg1-path={}\npg1-socket-path={}\npg1-user=postgres\npg1-database=postgres\n",
            at("repo"),
            at("lock"),
            at("spool"),
            source.display(),
            server.host().display(),
        );
        std::fs::write(folder.join("settings"), settings).expect("its settings");
        let own = Self { folder, source };
        own.run(&["stanza-create"]);
        Some(own)
    }

    fn run(&self, args: &[&str]) {
        let done = Server::beside("/usr/bin/pgbackrest")
            .arg(format!("--config={}", self.folder.join("settings").display()))
            .arg("--stanza=bench")
            .args(args)
            .status()
            .expect("pgbackrest");
        assert!(done.success(), "pgbackrest {args:?} failed");
    }

    /// Takes a backup of this type: `full` or `incr`.
    pub fn backup(&self, kind: &str) {
        let before = tree_size(&self.folder);
        let since = Instant::now();
        self.run(&[&format!("--type={kind}"), "backup"]);
        let (took, added) = (since.elapsed(), tree_size(&self.folder) - before);
        report(&format!("pgBackRest, {kind}"), took, Some(added), "");
    }

    /// Restores the newest backup and starts a server on it. Answers how long both took, and the server.
    pub async fn restore(&self, settings: &[(&str, &str)]) -> (Duration, Arc<Server>) {
        let folder = lent_folder();
        let data = folder.join("data");
        let since = Instant::now();
        self.run(&[&format!("--pg1-path={}", data.display()), "--type=none", "restore"]);
        copy_log(&self.source, &data);
        let server = Server::run(folder, settings).await;
        (since.elapsed(), server)
    }
}

/// Copies the log that makes a restored folder whole: from where its backup began.
fn copy_log(source: &Path, data: &Path) {
    let label = std::fs::read_to_string(data.join("backup_label")).expect("a backup's label");
    let from = label.split("(file ").nth(1).and_then(|rest| rest.split(')').next());
    let from = from.expect("the file in which it began").to_owned();
    let names = std::fs::read_dir(source.join("pg_wal")).expect("the log").flatten();
    let mut names: Vec<PathBuf> = names.map(|e| e.path()).filter(|p| p.is_file()).collect();
    names.retain(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n >= from.as_str()));
    let done = Server::beside("/bin/cp").args(names).arg(data.join("pg_wal")).status();
    assert!(done.expect("cp").success(), "the log could not be copied");
}
