//! An archive whose disk is full, on a real file system that is.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::kit::{Kit, contents, same};
use switchyard_backup::{BackupFault, Keys, Shelf, Silent, Target, Vault, full, incremental};
use switchyard_providers::archive::{ArchiveFault, Directory};
use tempfile::TempDir;

/// A file system of its own in memory, gone with this value.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// None where nothing may be mounted; it is said why.
    fn new(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=0700"), "tmpfs"]);
        let mounted = root.then(|| mount.arg(folder.path()).output());
        match mounted {
            Some(Ok(output)) if output.status.success() => return Some(Self { folder }),
            None => eprintln!("skipped: only root can mount a small disk"),
            Some(told) => eprintln!("skipped: a small disk cannot be mounted here: {told:?}"),
        }
        None
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// Fills it but for so many bytes.
    fn fill(&self, but: u64) {
        let mut ballast = File::create(self.folder.path().join("ballast")).unwrap();
        let piece = vec![7_u8; 4096];
        let mut written = 0;
        while ballast.write_all(&piece).is_ok() {
            written += piece.len() as u64;
        }
        ballast.set_len(written.saturating_sub(but)).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.folder.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.folder.path().display());
        }
    }
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|e| if e.path().is_dir() { files(&e.path()) } else { vec![e.path()] })
        .collect()
}

/// It failed for want of room, with a sentence that says what to do.
fn is_full<T: std::fmt::Debug>(outcome: Result<T, BackupFault>) {
    match outcome {
        Err(fault @ BackupFault::Archive(ArchiveFault::Full { .. })) => {
            let said = fault.to_string();
            assert!(said.contains("is full") && said.contains("make room"), "{said}");
            assert!(!fault.is_transient(), "nothing gets better by trying again");
        }
        other => panic!("it went on without room: {other:?}"),
    }
}

/// About 5 MB once it is sealed: digits of hashes make half of their size.
const MUCH: &str = "
    create table much (id int primary key, t text);
    insert into much select g, (select string_agg(md5(g || '-' || i), '') from generate_series(1, 100) i)
      from generate_series(1, 3000) g;
    create table little (id int primary key, t text);
    insert into little select g, md5(g::text) from generate_series(1, 100) g;";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_is_told_leaves_nothing_that_counts_and_is_no_matter_once_there_is_room() {
    let Some(disk) = Disk::new(32) else { return };
    let mut kit = Kit::new(MUCH).await;
    // One table after the other, so that nothing is under way when one fails.
    kit.config.connections = 1;
    let keys = Keys::new()
        .recipients([kit.identity.recipient()])
        .identities([kit.identity.clone()])
        .signing(kit.signer.clone());
    kit.vault = Vault::new(Arc::new(Directory::new(disk.archive())), keys);

    disk.fill(1 << 20);
    for _ in 0..2 {
        is_full(full(&kit.config, &kit.vault, BTreeMap::new(), &Silent).await);
        let shelf = Shelf::load(&kit.vault).await.unwrap();
        assert!(shelf.all().is_empty() && shelf.problems().is_empty(), "{shelf:?}");
        // It would only stand in the way of the next one.
        nothing_more(&disk, &[]).await;
    }
    disk.make_room();
    kit.full().await;
    kit.increment().await;
    let wanted = contents(&kit.source).await;
    let there = files(&disk.archive());

    kit.source.run("update much set t = reverse(t) || md5(t)").await;
    disk.fill(1 << 20);
    for _ in 0..2 {
        is_full(incremental(&kit.config, &kit.vault, BTreeMap::new(), &Silent).await);
        nothing_more(&disk, &there).await;
    }
    // Meanwhile what was finished restores.
    same(&contents(&kit.restore_to("meanwhile", Target::Newest).await).await, &wanted);
    // Not even a manifest fits.
    disk.make_room();
    disk.fill(0);
    is_full(incremental(&kit.config, &kit.vault, BTreeMap::new(), &Silent).await);
    assert_eq!(Shelf::load(&kit.vault).await.unwrap().all().len(), 2);
    disk.make_room();
    kit.increment().await;
    let now = contents(&kit.source).await;
    same(&contents(&kit.restore_to("afterwards", Target::Newest).await).await, &now);
}

/// Waits until the archive has these files and no others; threads may still be closing theirs.
async fn nothing_more(disk: &Disk, wanted: &[PathBuf]) {
    let mut wanted = wanted.to_vec();
    wanted.sort();
    let mut found = Vec::new();
    for _ in 0..100 {
        found = files(&disk.archive());
        found.sort();
        if found == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the archive has {found:#?}");
}
