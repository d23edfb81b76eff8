//! A vault in a folder, and backups of a database that there is not.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use switchyard_backup::change::{Change, Relation, Value};
use switchyard_backup::format::{
    ChangeWriter, ChunkWriter, Contents, layout, put_manifest, write_object,
};
use switchyard_backup::keys::{Identity, Signer};
use switchyard_backup::model::{
    BackupId, FORMAT, Kind, Lsn, Manifest, Object, Snapshot, Source, Sums, Table,
};
use switchyard_backup::{Keys, Vault};
use switchyard_providers::archive::Directory;
use tempfile::TempDir;

/// A vault whose folder goes away with it.
pub struct Kit {
    pub folder: TempDir,
    pub vault: Vault,
    pub identity: Identity,
    pub signer: Signer,
}

pub fn kit() -> Kit {
    let folder = tempfile::tempdir().unwrap();
    let (identity, signer) = (Identity::generate(), Signer::generate());
    let keys = Keys::new()
        .recipients([identity.recipient(), Identity::generate().recipient()])
        .identities([identity.clone()])
        .signing(signer.clone());
    let vault = Vault::new(Arc::new(Directory::new(folder.path())), keys);
    Kit { folder, vault, identity, signer }
}

impl Kit {
    pub fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join(key)
    }

    /// The same folder with other keys.
    pub fn with(&self, keys: Keys) -> Vault {
        Vault::new(Arc::new(Directory::new(self.folder.path())), keys)
    }

    /// The same keys and nothing remembered, over a copy of the folder.
    pub fn copied(&self) -> (TempDir, Vault) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), copy.path());
        let archive = Arc::new(Directory::new(copy.path()));
        let keys = Keys::clone(&self.vault.keys);
        (copy, Vault::new(archive, keys))
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A moment, in minutes after the first one.
pub fn at(minutes: i64) -> DateTime<Utc> {
    let first: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    first + TimeDelta::minutes(minutes)
}

pub fn source(schema: &str) -> Source {
    Source {
        system: "7312345678901234567".to_owned(),
        database: "app".to_owned(),
        timeline: 1,
        server_version: 150_008,
        migration: Some(19),
        schema: schema.to_owned(),
    }
}

pub fn manifest(minutes: i64, random: u32, kind: Kind) -> Manifest {
    Manifest {
        format: FORMAT,
        id: BackupId::new(at(minutes), random),
        source: source("a"),
        began: at(minutes),
        covers: at(minutes) + TimeDelta::seconds(2),
        finished: at(minutes) + TimeDelta::seconds(20),
        kind,
        partitions: Vec::new(),
        recipients: Vec::new(),
        notes: BTreeMap::new(),
    }
}

pub fn object(key: &str) -> Object {
    Object { key: key.to_owned(), bytes: 1, sha256: String::new(), plain_bytes: 1, rows: 1 }
}

/// A full backup without files.
pub fn full(minutes: i64, start: u64) -> Manifest {
    let id = BackupId::new(at(minutes), 0);
    let kind = Kind::Full {
        snapshot: Snapshot { xmin: 1, xmax: 1, running: Vec::new() },
        start: Lsn(start),
        schema_before: object(&layout::schema_before(&id)),
        schema_after: object(&layout::schema_after(&id)),
        tables: Vec::new(),
        sequences: Vec::new(),
    };
    manifest(minutes, 0, kind)
}

/// An increment without files.
pub fn increment(minutes: i64, slot: &str, from: u64, to: u64) -> Manifest {
    let kind = Kind::Incremental {
        slot: slot.to_owned(),
        from: Lsn(from),
        to: Lsn(to),
        newest_commit: None,
        transactions: 0,
        changes: 0,
        objects: Vec::new(),
        sequences: Vec::new(),
    };
    manifest(minutes, 1, kind)
}

/// A differential without files.
pub fn differential(minutes: i64, of: &Manifest, to: u64) -> Manifest {
    let Kind::Full { start, .. } = of.kind else { panic!("no full backup") };
    let kind = Kind::Differential {
        full: of.id.clone(),
        from: start,
        to: Lsn(to),
        newest_commit: None,
        segments: Vec::new(),
        sequences: Vec::new(),
    };
    manifest(minutes, 2, kind)
}

/// Rows of a table, in two files or more.
pub async fn rows(vault: &Vault, id: &BackupId, name: &str) -> Table {
    let folder = layout::table(id, "app", name);
    let mut writer = ChunkWriter::new(vault, folder, Contents::Rows).with_limit(20_000);
    for row in 0..4000 {
        writer.write(format!("{row}\tname {row}\t\\N\n").as_bytes(), 1).await.unwrap();
    }
    let objects = writer.finish().await.unwrap();
    assert!(objects.len() >= 2);
    Table {
        name: format!("app.{name}"),
        root: format!("app.{name}"),
        columns: ["id", "name", "note"].map(str::to_owned).to_vec(),
        sums: Sums { rows: 4000, sum: "0".to_owned(), xor: 0 },
        objects,
    }
}

/// A transaction's changes.
pub fn changes(xid: u32) -> Vec<Change> {
    let text = |s: &str| Value::Text(s.to_owned());
    vec![
        Change::Begin { xid, lsn: Lsn(u64::from(xid)), at: at(i64::from(xid)) },
        Change::Relation(Relation {
            oid: 16_400,
            schema: "app".to_owned(),
            name: "leads".to_owned(),
            columns: vec!["id".to_owned(), "name".to_owned()],
            key: vec![0],
        }),
        Change::Insert { oid: 16_400, row: vec![text("1"), text("Zoë \"Z\" \\ \n\t\u{1}")] },
        Change::Update {
            oid: 16_400,
            old_key: Some(vec![text("1")]),
            row: vec![text("2"), Value::Unchanged],
        },
        Change::Delete { oid: 16_400, key: vec![text("2")] },
        Change::Commit { end: Lsn(u64::from(xid) + 8) },
    ]
}

/// Writes changes, and their manifest's objects.
pub async fn write_changes(vault: &Vault, folder: &str, xid: u32) -> Vec<Object> {
    let mut writer = ChangeWriter::new(vault, folder);
    for change in changes(xid) {
        writer.write(&change).await.unwrap();
    }
    writer.finish().await.unwrap().objects
}

/// A full backup, two increments and a differential, all whole. In the order in which they were written.
pub async fn whole_archive(vault: &Vault) -> Vec<Manifest> {
    let mut first = full(0, 100);
    let id = first.id.clone();
    let Kind::Full { schema_before, schema_after, tables, .. } = &mut first.kind else { panic!() };
    let sql = Bytes::from_static(b"create schema app;\n");
    *schema_before = write_object(vault, layout::schema_before(&id), sql).await.unwrap();
    let sql = Bytes::from_static(b"create index on app.leads (name);\n");
    *schema_after = write_object(vault, layout::schema_after(&id), sql).await.unwrap();
    *tables = vec![rows(vault, &id, "leads").await, rows(vault, &id, "Agencies").await];
    put_manifest(vault, &first).await.unwrap();

    let mut written = vec![first.clone()];
    for (minutes, from, to) in [(10, 50, 200), (20, 200, 300)] {
        let mut next = increment(minutes, "switchyard/7", from, to);
        let folder = layout::increment("switchyard/7", &next.id);
        let Kind::Incremental { objects, .. } = &mut next.kind else { panic!() };
        *objects = write_changes(vault, &folder, u32::try_from(minutes).unwrap()).await;
        put_manifest(vault, &next).await.unwrap();
        written.push(next);
    }
    let mut last = differential(25, &first, 300);
    let folder = layout::segment(&last.id, 0);
    let Kind::Differential { segments, .. } = &mut last.kind else { panic!() };
    *segments = vec![write_changes(vault, &folder, 25).await];
    put_manifest(vault, &last).await.unwrap();
    written.push(last);
    written
}

/// Whether a future can be moved between threads, as jobs need.
pub fn sendable<T: Send>(future: T) -> T {
    future
}
