//! What every archive keeps to.

use bytes::Bytes;
use futures::TryStreamExt;
use switchyard_providers::archive::{Archive, ArchiveFault};

/// Bytes that are not all alike.
pub fn content(length: usize, seed: u64) -> Bytes {
    let mut state = seed * 2 + 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

pub async fn write(archive: &dyn Archive, key: &str, content: &Bytes) -> Result<(), ArchiveFault> {
    let mut upload = archive.create(key).await?;
    for piece in content.chunks(256 * 1024) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish().await
}

pub async fn read(archive: &dyn Archive, key: &str, from: u64) -> Result<Vec<u8>, ArchiveFault> {
    let pieces: Vec<Bytes> = archive.read(key, from).await?.try_collect().await?;
    Ok(pieces.concat())
}

pub async fn keys(archive: &dyn Archive, prefix: &str) -> Vec<String> {
    let entries = archive.list(prefix).await.expect("a listing");
    entries.into_iter().map(|e| e.key).collect()
}

/// The whole contract, on an archive that is empty.
pub async fn holds(archive: &dyn Archive) {
    assert!(keys(archive, "").await.is_empty());
    small_objects(archive).await;
    large_objects(archive).await;
    nothing_leads_out(archive).await;
}

async fn small_objects(archive: &dyn Archive) {
    let first = content(1000, 1);
    archive.put_new("log/a-1/one.json", first.clone()).await.expect("it is new");
    let again = archive.put_new("log/a-1/one.json", content(1000, 2)).await;
    assert!(matches!(again, Err(ArchiveFault::AlreadyThere { .. })), "{again:?}");
    assert_eq!(read(archive, "log/a-1/one.json", 0).await.expect("it is there"), first);

    let empty = Bytes::new();
    write(archive, "full/empty", &empty).await.expect("an empty one");
    assert_eq!(read(archive, "full/empty", 0).await.expect("it is there"), empty);

    write(archive, "full/x/data/a.b/0000=2f.copy", &first).await.expect("it is written");
    let second = content(500, 3);
    write(archive, "full/x/data/a.b/0000=2f.copy", &second).await.expect("it is replaced");
    assert_eq!(read(archive, "full/x/data/a.b/0000=2f.copy", 0).await.expect("there"), second);

    let missing = archive.read("full/nothing", 0).await.err();
    assert!(matches!(missing, Some(ArchiveFault::NotFound { .. })), "{missing:?}");

    let listed = archive.list("full/").await.expect("a listing");
    let expected = [("full/empty", 0), ("full/x/data/a.b/0000=2f.copy", 500)];
    assert_eq!(listed.iter().map(|e| (e.key.as_str(), e.bytes)).collect::<Vec<_>>(), expected,);
    let old = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    assert!(listed.iter().all(|e| e.modified > old));
    assert_eq!(keys(archive, "log/a-").await, ["log/a-1/one.json"]);
    assert_eq!(keys(archive, "full/x/da").await, ["full/x/data/a.b/0000=2f.copy"]);

    archive.delete("full/empty").await.expect("it goes");
    archive.delete("full/empty").await.expect("what is not there is no fault");
    assert_eq!(keys(archive, "full/e").await, Vec::<String>::new());
}

/// More than two parts of a multipart upload.
async fn large_objects(archive: &dyn Archive) {
    let large = content(17 * 1024 * 1024 + 4321, 4);
    write(archive, "full/large", &large).await.expect("it is written");
    assert!(read(archive, "full/large", 0).await.expect("it is there") == large);
    let from = 9 * 1024 * 1024 + 7;
    assert!(read(archive, "full/large", from as u64).await.expect("the rest") == large[from..]);
    let end = large.len() as u64;
    assert!(read(archive, "full/large", end).await.expect("nothing").is_empty());

    // Given up, and forgotten: of neither is anything seen.
    let mut given_up = archive.create("full/given-up").await.expect("an upload");
    given_up.write(large.clone()).await.expect("a part");
    given_up.abort().await;
    let mut forgotten = archive.create("full/forgotten").await.expect("an upload");
    forgotten.write(large.clone()).await.expect("a part");
    drop(forgotten);
    assert_eq!(keys(archive, "full/").await, ["full/large", "full/x/data/a.b/0000=2f.copy"]);
}

async fn nothing_leads_out(archive: &dyn Archive) {
    for key in
        ["../up", "/etc/passwd", "a/../b", "a//b", "", ".partial/x", "a/./b", "a\0b", "a b", "ü"]
    {
        let content = Bytes::from_static(b"x");
        let refused = [
            archive.put_new(key, content).await.err(),
            archive.create(key).await.err(),
            archive.read(key, 0).await.err(),
            archive.delete(key).await.err(),
        ];
        for fault in refused {
            assert!(matches!(fault, Some(ArchiveFault::Refused { .. })), "{key}: {fault:?}");
        }
    }
}

/// Several write one key at once, each something else: one wins, and what it wrote is there.
pub async fn one_winner_of(many: u64, archive: std::sync::Arc<dyn Archive>) {
    for round in 0..4 {
        let key = format!("log/a-1/{round}.json");
        let mut racing = tokio::task::JoinSet::new();
        for writer in 0..many {
            let (archive, key) = (archive.clone(), key.clone());
            racing.spawn(async move {
                (writer, archive.put_new(&key, content(2000, 1000 + writer)).await)
            });
        }
        let mut winners = Vec::new();
        while let Some(done) = racing.join_next().await {
            match done.expect("it ran") {
                (writer, Ok(())) => winners.push(writer),
                (_, Err(ArchiveFault::AlreadyThere { .. })) => {}
                (writer, Err(fault)) => panic!("writer {writer}: {fault}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let there = read(archive.as_ref(), &key, 0).await.expect("it is there");
        assert_eq!(there, content(2000, 1000 + winners[0]));
    }
}
