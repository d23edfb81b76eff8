//! Cutting into files, and reading them.

use crate::kit::{changes, kit};
use bytes::Bytes;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use switchyard_backup::change::Change;
use switchyard_backup::format::{
    ChangeReader, ChangeWriter, ChunkWriter, Contents, ObjectWriter, lines, read_object,
    write_object,
};
use tokio::runtime::Runtime;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn files_put_together_are_what_was_written(
        lines in prop::collection::vec("[^\n]{0,200}\n", 0..200),
        limit in 1u64..6000,
    ) {
        Runtime::new().unwrap().block_on(async {
            let kit = kit();
            let mut writer = ChunkWriter::new(&kit.vault, "full/x", Contents::Rows).with_limit(limit);
            for line in &lines {
                writer.write(line.as_bytes(), 1).await.unwrap();
            }
            let objects = writer.finish().await.unwrap();
            let mut whole = Vec::new();
            for (at, object) in objects.iter().enumerate() {
                assert_eq!(object.key, format!("full/x/{at:04}.copy.gz.age"));
                let stored = std::fs::read(kit.path(&object.key)).unwrap();
                assert_eq!(object.bytes, stored.len() as u64);
                assert_eq!(object.sha256, hex::encode(Sha256::digest(&stored)));
                let plain = read_object(&kit.vault, object).await.unwrap();
                assert_eq!(object.plain_bytes, plain.len() as u64);
                assert_eq!(object.rows, plain.iter().filter(|b| **b == b'\n').count() as u64);
                assert!(plain.ends_with(b"\n") && plain.len() as u64 <= limit + 1000);
                whole.extend(plain);
            }
            assert_eq!(whole, lines.concat().into_bytes());
        });
    }

    #[test]
    fn every_file_of_changes_stands_alone(transactions in 1u32..200, limit in 1u64..4000) {
        Runtime::new().unwrap().block_on(async {
            let kit = kit();
            let chunks = ChunkWriter::new(&kit.vault, "log/a-1/x", Contents::Changes).with_limit(limit);
            let mut writer = ChangeWriter::over(chunks);
            // The relation is described once, as the server does it.
            let told = |at: usize, c: &Change| at < 6 || !matches!(c, Change::Relation(_));
            let all: Vec<Change> = (0..transactions).flat_map(changes).enumerate()
                .filter(|(at, c)| told(*at, c)).map(|(_, c)| c).collect();
            for change in &all {
                writer.write(change).await.unwrap();
            }
            let written = writer.finish().await.unwrap();
            assert_eq!(written.transactions, u64::from(transactions));
            assert_eq!(written.changes, 3 * u64::from(transactions));
            for object in &written.objects {
                let plain = read_object(&kit.vault, object).await.unwrap();
                let mut described = false;
                for line in std::str::from_utf8(&plain).unwrap().lines() {
                    match lines::parse(line).unwrap() {
                        Change::Relation(_) => described = true,
                        Change::Insert { .. } | Change::Update { .. } | Change::Delete { .. } => {
                            assert!(described, "{} uses a relation before it describes it", object.key);
                        }
                        _ => {}
                    }
                }
            }
            let without = |c: &Change| !matches!(c, Change::Relation(_));
            let mut read = Vec::new();
            let mut reader = ChangeReader::open(&kit.vault, written.objects).unwrap();
            while let Some(batch) = reader.next().await.unwrap() {
                read.extend(batch);
            }
            assert!(read.into_iter().filter(without).eq(all.into_iter().filter(without)));
        });
    }
}

#[tokio::test]
async fn many_changes_go_over_the_borders_of_pieces_and_batches() {
    let kit = kit();
    let mut writer = ChangeWriter::new(&kit.vault, "log/a-1/x");
    let all: Vec<Change> = (0..20_000).flat_map(changes).collect();
    for change in &all {
        writer.write(change).await.unwrap();
    }
    let written = writer.finish().await.unwrap();
    let mut read = Vec::new();
    let mut reader = ChangeReader::open(&kit.vault, written.objects).unwrap();
    while let Some(batch) = reader.next().await.unwrap() {
        read.extend(batch);
    }
    assert!(read == all);
}

#[tokio::test]
async fn without_a_line_there_is_no_file() {
    let kit = kit();
    let writer = ChunkWriter::new(&kit.vault, "full/x", Contents::Rows);
    assert_eq!(writer.finish().await.unwrap(), []);
    let written = ChangeWriter::new(&kit.vault, "log/a-1/x").finish().await.unwrap();
    assert_eq!(written, switchyard_backup::format::Written::default());
    assert!(kit.vault.archive.list("").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_given_up_leaves_nothing() {
    let kit = kit();
    let mut writer = ObjectWriter::create(&kit.vault, "full/x").unwrap();
    for _ in 0..100 {
        writer.write(Bytes::from(vec![7; 100_000]), 0).await.unwrap();
    }
    drop(writer);
    let mut chunks = ChunkWriter::new(&kit.vault, "full/y", Contents::Rows);
    chunks.write(&vec![b'\n'; 1_000_000], 1_000_000).await.unwrap();
    drop(chunks);
    let partial = kit.path(".partial");
    // The giving up goes on beside us.
    while std::fs::read_dir(&partial).is_ok_and(|mut files| files.next().is_some()) {
        tokio::task::yield_now().await;
    }
    assert!(kit.vault.archive.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_relation_that_was_not_described_is_refused() {
    let kit = kit();
    let mut writer = ChangeWriter::new(&kit.vault, "log/a-1/x");
    let change = Change::Insert { oid: 5, row: Vec::new() };
    let fault = writer.write(&change).await.unwrap_err();
    assert!(fault.to_string().contains("relation 5"), "{fault}");
}

#[tokio::test]
async fn what_the_archive_refuses_comes_out_of_the_writer() {
    let kit = kit();
    std::fs::write(kit.path("full"), b"in the way").unwrap();
    let written = write_object(&kit.vault, "full/x", Bytes::from_static(b"x")).await;
    let fault = written.unwrap_err().to_string();
    assert!(fault.contains("set a directory that holds nothing but backups"), "{fault}");
    let written = write_object(&kit.vault, "../x", Bytes::from_static(b"x")).await;
    assert!(written.unwrap_err().to_string().contains("is no key of an archive"));
}
