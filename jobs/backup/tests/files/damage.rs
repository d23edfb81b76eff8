//! Every kind of damage to every kind of file is found, before and while a row is read.

use crate::kit::{Kit, kit, manifest, object, sendable, whole_archive};
use bytes::Bytes;
use std::path::Path;
use switchyard_backup::format::{PlainReader, layout, put_manifest, seal_manifest, write_object};
use switchyard_backup::keys::{Identity, Signer};
use switchyard_backup::model::{FORMAT, Kind, Manifest, Object};
use switchyard_backup::verify::{Depth, Which, verify, verify_chain};
use switchyard_backup::{BackupFault, Keys, Shelf, Silent, Target, Vault};

/// What can happen to a file.
const DAMAGES: [&str; 9] = [
    "first byte",
    "middle byte",
    "last byte",
    "cut by one",
    "cut in the middle",
    "emptied",
    "one byte more",
    "missing",
    "swapped",
];

fn damage(path: &Path, other: &Path, how: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    match how {
        "first byte" => bytes[0] ^= 1,
        "middle byte" => bytes[middle] ^= 0x10,
        "last byte" => *bytes.last_mut().unwrap() ^= 0x80,
        "cut by one" => drop(bytes.pop()),
        "cut in the middle" => bytes.truncate(middle),
        "emptied" => bytes.clear(),
        "one byte more" => bytes.push(0),
        "missing" => return std::fs::remove_file(path).unwrap(),
        "swapped" => bytes = std::fs::read(other).unwrap(),
        _ => panic!("{how}"),
    }
    std::fs::write(path, bytes).unwrap();
}

async fn read(vault: &Vault, object: &Object) -> Result<(), BackupFault> {
    let mut reader = PlainReader::open(vault, object)?;
    while reader.next().await?.is_some() {}
    Ok(())
}

/// One file of each kind, and another one of the same kind with which it can be swapped.
fn kinds(written: &[Manifest]) -> Vec<(Object, Object)> {
    let Kind::Full { schema_before, schema_after, tables, .. } = &written[0].kind else { panic!() };
    let first = |m: &Manifest| m.objects().next().unwrap().clone();
    vec![
        (schema_before.clone(), schema_after.clone()),
        (schema_after.clone(), schema_before.clone()),
        (tables[0].objects[0].clone(), tables[0].objects[1].clone()),
        (tables[1].objects[1].clone(), tables[0].objects[1].clone()),
        (first(&written[1]), first(&written[2])),
        (first(&written[3]), first(&written[2])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_whole_is_found_whole() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    for depth in [Depth::Stored, Depth::Contents] {
        let found = sendable(verify(&kit.vault, &Which::All, depth, &Silent)).await.unwrap();
        assert_eq!(found.problems, []);
        assert_eq!(found.backups, 4);
        assert_eq!(found.objects, written.iter().map(|m| m.objects().count() as u64).sum::<u64>());
        assert_eq!(found.bytes, written.iter().map(Manifest::stored_bytes).sum::<u64>());
        found.into_sound().unwrap();
    }
    let one = Which::One(written[0].id.clone());
    assert_eq!(verify(&kit.vault, &one, Depth::Stored, &Silent).await.unwrap().backups, 1);
    let newest = Which::For(Target::Newest);
    let found = verify(&kit.vault, &newest, Depth::Contents, &Silent).await.unwrap();
    assert_eq!((found.backups, found.is_sound()), (2, true)); // the full one and the differential
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_to_every_kind_of_data_is_found() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    for (object, other) in kinds(&written) {
        for how in DAMAGES {
            let (folder, vault) = kit.copied();
            damage(&folder.path().join(&object.key), &folder.path().join(&other.key), how);
            for depth in [Depth::Stored, Depth::Contents] {
                let found = verify(&vault, &Which::All, depth, &Silent).await.unwrap();
                let keys: Vec<&str> = found.problems.iter().map(|p| p.key.as_str()).collect();
                assert_eq!(keys, [object.key.as_str()], "{how}, {depth:?}");
                let fault = found.into_sound().unwrap_err().to_string();
                assert!(fault.contains("Restore from the second archive"), "{fault}");
            }
            // Without the check beforehand, too.
            let fault = read(&vault, &object).await.unwrap_err();
            assert!(matches!(fault, BackupFault::Damaged { .. }), "{how}: {fault:?}");
        }
    }
}

#[tokio::test]
async fn damage_to_a_file_of_the_chain_is_found_before_it_is_restored() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    let chain = Shelf::load(&kit.vault).await.unwrap().chain_for(&Target::Newest).unwrap();
    let key = written[3].objects().next().unwrap().key.clone();
    damage(&kit.path(&key), &kit.path(&key), "middle byte");
    let found = verify_chain(&kit.vault, &chain, Depth::Stored, &Silent).await.unwrap();
    assert_eq!(found.problems[0].key, key);
}

/// A manifest's file and everything that can be done to it. What is in the answer is a part of the reason.
fn forgeries(
    kit: &Kit,
    written: &Manifest,
    file: &[u8],
) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let text = String::from_utf8(file.to_vec()).unwrap();
    let (body, signature) = text.trim_end().split_once('\n').unwrap();
    let stranger = Keys::new().signing(Signer::generate());
    let sealed = |m: &Manifest, keys: &Keys| seal_manifest(m, keys).unwrap().to_vec();
    let mut newer = written.clone();
    newer.format = FORMAT + 1;
    let mut thieving = written.clone();
    match &mut thieving.kind {
        Kind::Full { schema_before, .. } => *schema_before = object("full/other/schema.sql.gz.age"),
        Kind::Incremental { objects, .. } => objects.push(object("log/other/x.gz.age")),
        Kind::Differential { segments, .. } => segments.push(vec![object("keys/passphrase.age")]),
    }
    let moved = manifest(5555, 3, written.kind.clone());
    let mine = kit.signer.public().to_string();
    let short = format!("{{\"key\":\"{mine}\",\"signature\":\"AAAA\"}}");
    let theirs = Signer::generate().public().to_string();
    vec![
        (
            "edited",
            format!(
                "{}\n{signature}\n",
                body.replace("\"database\":\"app\"", "\"database\":\"apq\"")
            )
            .into(),
            "changed after it was signed",
        ),
        ("another's key", sealed(written, &stranger), "a key that is not trusted"),
        (
            "another's key named",
            format!("{body}\n{}\n", signature.replace(&mine, &theirs)).into(),
            "a key that is not trusted",
        ),
        ("signature cut", format!("{body}\n{short}\n").into(), "a signature that is none"),
        ("unsigned", format!("{body}\n").into(), "is not signed"),
        ("emptied", Vec::new(), "is none"),
        ("cut", body.as_bytes()[..body.len() / 2].to_vec(), "is none"),
        ("no manifest", b"<html>sign in</html>".to_vec(), "is none"),
        ("newer", sealed(&newer, &kit.vault.keys), "use a version of Switchyard at least as new"),
        (
            "of others' files",
            sealed(&thieving, &kit.vault.keys),
            "names files that are not its own",
        ),
        ("in another's place", sealed(&moved, &kit.vault.keys), "put in this place"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_forgery_of_every_manifest_is_refused() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    for manifest in &written {
        let key = layout::manifest(manifest);
        let file = std::fs::read(kit.path(&key)).unwrap();
        for (name, forged, reason) in forgeries(&kit, manifest, &file) {
            // An increment keeps its place whatever its name is, so there this is no forgery.
            if name == "in another's place" && matches!(manifest.kind, Kind::Incremental { .. }) {
                continue;
            }
            let (folder, vault) = kit.copied();
            std::fs::write(folder.path().join(&key), forged).unwrap();
            let shelf = Shelf::load(&vault).await.unwrap();
            assert_eq!(shelf.all().len(), written.len() - 1, "{name}");
            assert!(shelf.get(&manifest.id).is_none(), "{name}");
            let [problem] = shelf.problems() else { panic!("{name}: {:?}", shelf.problems()) };
            assert_eq!(problem.key, key);
            assert!(problem.why.contains(reason), "{name}: {}", problem.why);
            let found = verify(&vault, &Which::All, Depth::Stored, &Silent).await.unwrap();
            assert!(found.problems.iter().any(|p| p.key == key), "{name}");
        }
    }
}

#[tokio::test]
async fn any_flipped_bit_of_a_manifest_is_refused() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    let key = layout::manifest(&written[1]);
    let file = std::fs::read(kit.path(&key)).unwrap();
    let keys = &kit.vault.keys;
    switchyard_backup::format::open_manifest(&key, &file, keys).unwrap();
    for at in 0..file.len() - 1 {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        let opened = switchyard_backup::format::open_manifest(&key, &flipped, keys);
        assert!(opened.is_err(), "bit {} of byte {at}", at % 8);
    }
}

#[tokio::test]
async fn a_missing_manifest_is_a_gap_that_is_told() {
    let kit = kit();
    let written = whole_archive(&kit.vault).await;
    let Kind::Incremental { slot, .. } = &written[1].kind else { panic!() };
    // An increment between two.
    let mut third = written[2].clone();
    third.id = switchyard_backup::model::BackupId::new(crate::kit::at(40), 1);
    let Kind::Incremental { from, to, objects, .. } = &mut third.kind else { panic!() };
    (*from, *to) = (switchyard_backup::model::Lsn(400), switchyard_backup::model::Lsn(500));
    objects.clear();
    put_manifest(&kit.vault, &third).await.unwrap();
    let found = verify(&kit.vault, &Which::All, Depth::Stored, &Silent).await.unwrap();
    let gap = layout::increment_manifest(slot, switchyard_backup::model::Lsn(300));
    assert_eq!(found.problems.iter().map(|p| &p.key).collect::<Vec<_>>(), [&gap]);
    // And the full backup under a differential.
    let key = layout::manifest(&written[0]);
    std::fs::remove_file(kit.path(&key)).unwrap();
    let found = verify(&kit.vault, &Which::All, Depth::Stored, &Silent).await.unwrap();
    assert!(found.problems.iter().any(|p| p.key == key && p.why.contains("differential")));
}

#[tokio::test]
async fn a_manifest_that_counts_wrongly_is_found_by_looking_inside() {
    let kit = kit();
    let mut wrong = crate::kit::increment(10, "a/1", 1, 2);
    let key = format!("{}/0000.changes.gz.age", layout::increment("a/1", &wrong.id));
    let mut object =
        write_object(&kit.vault, key.clone(), Bytes::from_static(b"a\nb\n")).await.unwrap();
    object.rows = 3;
    let Kind::Incremental { objects, .. } = &mut wrong.kind else { panic!() };
    objects.push(object);
    put_manifest(&kit.vault, &wrong).await.unwrap();
    let look = |depth| verify(&kit.vault, &Which::All, depth, &Silent);
    assert!(look(Depth::Stored).await.unwrap().is_sound());
    assert_eq!(look(Depth::Contents).await.unwrap().problems[0].key, key);
}

#[tokio::test]
async fn a_file_that_unpacks_to_more_than_it_should_is_stopped() {
    let kit = kit();
    let content = Bytes::from(vec![b'\n'; 5_000_000]);
    let mut object = write_object(&kit.vault, "full/x/bomb", content).await.unwrap();
    assert!(object.bytes < 50_000);
    object.plain_bytes = 1000;
    let fault = read(&kit.vault, &object).await.unwrap_err().to_string();
    assert!(fault.contains("unpacks to more than its manifest says"), "{fault}");
}

#[tokio::test]
async fn another_identity_does_not_open_what_is_whole_and_says_so() {
    let kit = kit();
    let object = write_object(&kit.vault, "full/x/y", Bytes::from_static(b"text")).await.unwrap();
    let wrong = kit.with(Keys::new().identities([Identity::generate()]));
    let fault = read(&wrong, &object).await.unwrap_err();
    assert!(matches!(fault, BackupFault::Key { .. }), "{fault:?}");
    assert!(fault.to_string().contains("none of the identities given opens full/x/y"), "{fault}");
    let none = kit.with(Keys::new());
    let fault = read(&none, &object).await.unwrap_err();
    assert!(fault.to_string().contains("no identity is set"), "{fault}");
}
