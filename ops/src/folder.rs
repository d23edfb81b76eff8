//! The data folder of `up`: one process at a time, the master key, demo.json.

use crate::Fault;
use crate::local::write_private;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use switchyard_domain::secrets::MasterKey;

/// A data folder that belongs to this process.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    // Held open: the lock ends with the process, however it ends.
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be and takes it.
    ///
    /// # Errors
    /// If it cannot be made, or another process has it.
    pub fn take(path: &Path) -> Result<Self, Fault> {
        let failed = |what: &str| {
            Fault::new("data_folder", format!("{} {what}", path.display()))
                .remedy("choose another folder with --data-dir, one that you may write to")
        };
        if !path.exists() {
            fs::create_dir_all(path).map_err(|e| failed("cannot be made").caused_by(e))?;
            // PostgreSQL may run under another account, which must be able to walk in; what is
            // secret is in files of mode 0600 and in its folder of mode 0700.
            let walk_in = fs::Permissions::from_mode(0o711);
            fs::set_permissions(path, walk_in)
                .map_err(|e| failed("cannot be made").caused_by(e))?;
        }
        let path = fs::canonicalize(path).map_err(|e| failed("cannot be used").caused_by(e))?;
        let name = path.join("up.lock");
        let open = File::options().create(true).truncate(false).write(true).open(name);
        let mut lock = open.map_err(|e| failed("cannot be written to").caused_by(e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(failed("is in use by another `switchyard up`")
                    .remedy("stop that one, or choose another folder with --data-dir"));
            }
            Err(TryLockError::Error(e)) => return Err(failed("cannot be locked").caused_by(e)),
        }
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path, _lock: lock })
    }

    /// Where it is, from the root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The master key of this folder, made at the first start.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn master_key(&self) -> Result<MasterKey, Fault> {
        let path = self.path.join("secret.key");
        let failed = |what: &str| Fault::new("secret_key", format!("{} {what}", path.display()));
        match fs::read_to_string(&path) {
            Ok(text) => MasterKey::parse(&text).map_err(|e| {
                failed("holds no master key")
                    .remedy("put the file back from your backup; without it the portals' secrets cannot be read")
                    .caused_by(e)
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = MasterKey::generate();
                write_private(&path, key.expose_base64().as_bytes())
                    .map_err(|e| failed("cannot be written").caused_by(e))?;
                Ok(key)
            }
            Err(e) => Err(failed("cannot be read").caused_by(e)),
        }
    }

    /// Takes demo.json away: whoever waits for it waits for this start, not for the last one.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), Fault> {
        match fs::remove_file(self.path.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Fault::new("data_folder", format!("{name} cannot be removed")).caused_by(e))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file of mode 0600, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), Fault> {
        write_private(&self.path.join(name), content).map_err(|e| {
            Fault::new("data_folder", format!("{name} cannot be written")).caused_by(e)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("data");
        let first = Folder::take(&path).expect("it is free");
        let second = Folder::take(&path).expect_err("it is taken");
        assert!(second.what.contains("in use"), "{}", second.what);
        drop(first);
        Folder::take(&path).expect("it is free again");
    }

    #[test]
    fn the_master_key_stays_and_is_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::take(dir.path()).expect("it is free");
        let first = folder.master_key().expect("a key").expose_base64();
        assert_eq!(*first, *folder.master_key().expect("a key").expose_base64());
        let mode = fs::metadata(dir.path().join("secret.key")).expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::take(dir.path()).expect("it is free");
        fs::write(dir.path().join("secret.key"), "oops").expect("a file");
        assert!(folder.master_key().is_err());
        assert_eq!(fs::read_to_string(dir.path().join("secret.key")).expect("a file"), "oops");
    }
}
