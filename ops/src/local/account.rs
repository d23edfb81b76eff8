//! Under whose name a private server runs. PostgreSQL refuses root, so root lends it the system's
//! `postgres` account.

use crate::Fault;
use nix::unistd::{Gid, Uid, User};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The account.
#[derive(Clone, Copy, Debug)]
pub(super) enum Account {
    /// Whoever runs this program.
    Own,
    /// Another one; only root can lend it.
    Lent(Uid, Gid),
}

impl Account {
    pub(super) fn for_postgres() -> Result<Self, Fault> {
        if !Uid::effective().is_root() {
            return Ok(Self::Own);
        }
        match User::from_name("postgres") {
            Ok(Some(user)) => Ok(Self::Lent(user.uid, user.gid)),
            _ => Err(Fault::new(
                "no_postgres_account",
                "PostgreSQL refuses to run as root, and there is no account `postgres` to lend it",
            )
            .remedy(
                "install the package `postgresql`, which makes the account, or run as another user",
            )),
        }
    }

    /// A command under this account, with a clean environment and in a process group of its own,
    /// so that the terminal's Ctrl-C reaches us and not it: we stop it once we have drained.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .current_dir("/")
            .process_group(0);
        if let Self::Lent(uid, gid) = self {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }

    /// Gives a file or folder to this account.
    pub(super) fn own(self, path: &Path) -> std::io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Lent(uid, gid) => chown(path, Some(uid.as_raw()), Some(gid.as_raw())),
        }
    }

    /// A private folder of this account.
    pub(super) fn make_folder(self, path: &Path) -> std::io::Result<()> {
        fs::create_dir(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        self.own(path)
    }

    /// Whether this account can walk to `folder`. Asked of the system itself, which knows about
    /// groups and access lists.
    pub(super) async fn reaches(self, folder: &Path) -> bool {
        if matches!(self, Self::Own) {
            return true;
        }
        let mut test = self.command(Path::new("/usr/bin/test"));
        test.arg("-x").arg(folder);
        test.status().await.is_ok_and(|s| s.success())
    }

    /// Where the files of a server of `folder` go: into the folder, or, when this account cannot
    /// walk there (a clone below /root), to a folder of its own below /var/lib.
    pub(super) async fn place(self, folder: &Path) -> Result<PathBuf, Fault> {
        let refused = |path: &Path, e: std::io::Error| {
            Fault::new("data_folder", format!("{} cannot be made", path.display())).caused_by(e)
        };
        if self.reaches(folder).await {
            return Ok(folder.to_owned());
        }
        // FNV-1a of the path: one folder there for each data folder here.
        let hash = folder
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let place = PathBuf::from(format!("/var/lib/switchyard/{hash:016x}"));
        fs::create_dir_all(&place).map_err(|e| refused(&place, e))?;
        Ok(place)
    }
}
