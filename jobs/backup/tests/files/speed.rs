//! How fast it is. Measured by hand: `cargo test --release --test files -- --ignored --nocapture`.

use crate::kit::kit;
use std::time::Instant;
use switchyard_backup::change::{Change, Relation, Value};
use switchyard_backup::format::{ChangeReader, ChangeWriter, lines};
use switchyard_backup::model::Lsn;

const CHANGES: u32 = 1_000_000;

/// Narrow rows, as the engine's: a key, two numbers and a state.
fn narrow(at: u32) -> Change {
    let text = |s: String| Value::Text(s);
    Change::Update {
        oid: 16_400,
        old_key: None,
        row: vec![
            text(at.to_string()),
            text((at % 977).to_string()),
            text((u64::from(at) * 7919 % 1_000_003).to_string()),
            text("completed".to_owned()),
            Value::Null,
        ],
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; it asserts nothing about time"]
async fn a_million_changes() {
    let all: Vec<Change> = (0..CHANGES).map(narrow).collect();
    let began = Instant::now();
    let mut plain = Vec::with_capacity(200 << 20);
    all.iter().for_each(|change| lines::write(change, &mut plain));
    let written = began.elapsed();
    let text = std::str::from_utf8(&plain).unwrap();
    let began = Instant::now();
    let read = text.lines().filter(|line| lines::parse(line).is_ok()).count();
    eprintln!(
        "lines: {} MB, written in {written:?}, {read} read in {:?}",
        plain.len() >> 20,
        began.elapsed()
    );

    let kit = kit();
    let began = Instant::now();
    let mut writer = ChangeWriter::new(&kit.vault, "log/a-1/x");
    let relation = Relation {
        oid: 16_400,
        schema: "app".to_owned(),
        name: "jobs".to_owned(),
        columns: ["id", "a", "b", "state", "note"].map(str::to_owned).to_vec(),
        key: vec![0],
    };
    writer.write(&Change::Relation(relation)).await.unwrap();
    for change in &all {
        writer.write(change).await.unwrap();
    }
    writer.write(&Change::Commit { end: Lsn(1) }).await.unwrap();
    let objects = writer.finish().await.unwrap().objects;
    let stored: u64 = objects.iter().map(|o| o.bytes).sum();
    let per = stored / u64::from(CHANGES);
    eprintln!("files: written in {:?}, {per} bytes a change", began.elapsed());
    let began = Instant::now();
    let mut reader = ChangeReader::open(&kit.vault, objects).unwrap();
    let mut count = 0;
    while let Some(batch) = reader.next().await.unwrap() {
        count += batch.len();
    }
    eprintln!("files: {count} read in {:?}", began.elapsed());
}
