//! What is damaged, missing or not ours is found before anything is made of it; what was killed begins
//! anew; and a drill tells when a backup is not what it says.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use support::kit::{Kit, ask, contents, exact, same};
use support::server::{Database, Server};
use support::shop::{SCHEMA, STEPS};
use support::writers::Writers;
use switchyard_backup::format::{layout, put_manifest, read_object, seal_manifest, write_object};
use switchyard_backup::keys::{Identity, Signer};
use switchyard_backup::model::{Kind, Manifest, Object, Sums};
use switchyard_backup::restore::{Destination, Nothing, UNFINISHED};
use switchyard_backup::{
    Keys, Progress, RestorePlan, Shelf, Silent, Vault, compare_with_full, differential,
    disaster_recovery, drill, restore,
};
use switchyard_providers::archive::Directory;
use tokio::sync::Notify;

const SMALL: &str = "
    create table a (id int primary key, t text);
    create table b (id int generated always as identity primary key, a int references a, t text);
    create index on b (t);
    insert into a select g, md5(g::text) from generate_series(1, 500) g;
    insert into b (a, t) select g, md5(g::text) from generate_series(1, 500) g;";

/// A small source with a full backup, a differential and increments before and after it.
async fn chain() -> Kit {
    chain_on(Server::shared().await).await
}

async fn chain_on(server: Arc<Server>) -> Kit {
    let kit = Kit::on(server, SMALL).await;
    kit.full().await;
    kit.source.run("update a set t = 'one' where id < 50; delete from b where id > 450").await;
    kit.increment().await;
    differential(&kit.vault, &Silent).await.expect("a differential");
    kit.source
        .run("update a set t = 'two' where id > 300; insert into b (t) values ('late')")
        .await;
    kit.increment().await;
    kit
}

/// The same archive, as another process sees it.
fn anew(kit: &Kit, keys: Keys) -> Vault {
    Vault::new(Arc::new(Directory::new(kit.folder.path())), keys)
}

fn keys(kit: &Kit) -> Keys {
    Keys::new()
        .recipients([kit.identity.recipient()])
        .identities([kit.identity.clone()])
        .signing(kit.signer.clone())
}

/// One file of each kind that the newest state is restored from.
fn kinds(kit: &Kit) -> Vec<PathBuf> {
    let files = kit.files();
    let text = |p: &Path| p.strip_prefix(kit.folder.path()).expect("below").display().to_string();
    // The last by its time: names are of whole seconds.
    let written = |p: &PathBuf| p.metadata().and_then(|m| m.modified()).expect("a time");
    let last = |begin: &str, end: &str| {
        let found = files.iter().filter(|f| text(f).starts_with(begin) && text(f).ends_with(end));
        let newest = found.max_by_key(|f| written(f));
        newest.unwrap_or_else(|| panic!("no {begin}*{end} in {files:?}")).clone()
    };
    vec![
        last("full/", "manifest.json"),
        last("full/", "schema-before.sql.gz.age"),
        last("full/", "schema-after.sql.gz.age"),
        last("full/", ".copy.gz.age"),
        last("diff/", "manifest.json"),
        last("diff/", ".changes.gz.age"),
        last("log/", ".json"),
        last("log/", ".changes.gz.age"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_damaged_file_of_any_kind_is_found_before_a_database_is_made() {
    let kit = chain().await;
    let other = kinds(&kit);
    for (at, file) in other.iter().enumerate() {
        let good = std::fs::read(file).expect("a file");
        let swapped = std::fs::read(&other[(at + 1) % other.len()]).expect("another file");
        let mut flipped = good.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let spoilt = [flipped, good[..good.len() - 10].to_vec(), swapped];
        for (how, content) in spoilt.iter().enumerate() {
            std::fs::write(file, content).expect("it is spoilt");
            let vault = anew(&kit, keys(&kit));
            let outcome = restore(&vault, &kit.plan("damaged"), &Silent, &Nothing).await;
            assert!(outcome.is_err(), "{} spoilt in way {how} was restored", file.display());
            assert_eq!(kit.databases().await, [""; 0], "{} {how}", file.display());
        }
        std::fs::write(file, &good).expect("it is mended");
        if !file.ends_with("manifest.json") && file.extension().is_some_and(|e| e == "age") {
            std::fs::remove_file(file).expect("it is gone");
            let vault = anew(&kit, keys(&kit));
            let fault = restore(&vault, &kit.plan("damaged"), &Silent, &Nothing).await;
            let fault = fault.expect_err("a file is missing").to_string();
            assert!(fault.contains("is missing"), "{fault}");
            std::fs::write(file, &good).expect("it is back");
        }
    }
    let vault = anew(&kit, keys(&kit));
    restore(&vault, &kit.plan("mended"), &Silent, &Nothing).await.expect("all is good again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_right_keys_nothing_is_made() {
    let kit = chain().await;
    let read = Keys::new().identities([Identity::generate()]).trusting([kit.signer.public()]);
    let trust =
        Keys::new().identities([kit.identity.clone()]).trusting([Signer::generate().public()]);
    let none = Keys::new().trusting([kit.signer.public()]);
    for keys in [read, trust, none] {
        let vault = anew(&kit, keys);
        let fault = restore(&vault, &kit.plan("keys"), &Silent, &Nothing).await;
        let fault = fault.expect_err("a wrong key").to_string();
        assert!(fault.contains("key") || fault.contains("identit"), "{fault}");
        assert!(kit.databases().await.is_empty());
    }
}

/// Stops a restore when it comes to its nth step.
struct StopAt {
    left: AtomicUsize,
    now: Notify,
}

impl Progress for StopAt {
    fn step(&self, _: &str) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.now.notify_one();
        }
    }

    fn bytes(&self, _: u64, _: Option<u64>) {}
}

/// Waits before the rows are loaded.
struct Pause {
    reached: Notify,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Progress for Pause {
    fn step(&self, what: &str) {
        if what == "loading the rows" {
            self.reached.notify_one();
            let wait = || self.go_on.lock().unwrap().recv();
            tokio::task::block_in_place(wait).expect("it is told");
        }
    }

    fn bytes(&self, _: u64, _: Option<u64>) {}
}

/// Restores, given up at its nth step; whether it came to its end before that.
async fn stopped_at(kit: &Kit, plan: &RestorePlan, nth: usize) -> bool {
    let stop = StopAt { left: AtomicUsize::new(nth), now: Notify::new() };
    tokio::select! {
        biased;
        () = stop.now.notified() => false,
        done = restore(&kit.vault, plan, &stop, &Nothing) => {
            done.expect("a restore");
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restore_that_was_killed_at_any_step_is_seen_to_be_unfinished_and_begins_anew() {
    let kit = chain().await;
    let wanted = contents(&kit.source).await;
    let mut nth = 1;
    loop {
        let plan = kit.plan(&format!("killed{nth}"));
        let done = stopped_at(&kit, &plan, nth).await;
        if done {
            break;
        }
        let name = format!("{}_killed{nth}", kit.source.name);
        let database = match kit.restore(&plan).await {
            Ok((_, database)) => database,
            // It was killed when the server was giving the database its name: then it is whole.
            Err(fault) => {
                assert!(fault.to_string().contains("already"), "step {nth}: {fault}");
                assert!(kit.databases().await.contains(&name), "step {nth}");
                Database { server: Arc::clone(&kit.server), name }
            }
        };
        same(&contents(&database).await, &wanted);
        nth += 1;
    }
    assert!(nth > 12, "only {nth} steps were seen");
    assert!(!kit.databases().await.iter().any(|name| name.ends_with(UNFINISHED)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_restore_into_an_empty_database_begins_anew() {
    let kit = chain().await;
    let empty = kit.server.database().await;
    let plan = RestorePlan {
        destination: Destination::Empty { name: empty.name.clone() },
        ..kit.plan("unused")
    };
    for nth in [4, 7, 12] {
        assert!(!stopped_at(&kit, &plan, nth).await, "it was to be stopped at step {nth}");
        let marks =
            "select count(*) from pg_namespace where nspname = 'switchyard_restore_unfinished'";
        assert_eq!(ask::<i64>(&empty, marks).await, 1);
    }
    let (_, database) = kit.restore(&plan).await.expect("anew");
    same(&contents(&database).await, &contents(&kit.source).await);
}

/// Changes a file's content and signs the manifest again: a backup that is wrong from the beginning.
async fn forge(kit: &Kit, manifest: &Manifest, object: &Object, edit: impl Fn(String) -> String) {
    let text = String::from_utf8(read_object(&kit.vault, object).await.expect("a file"));
    let edited = edit(text.expect("UTF-8"));
    let forged = write_object(&kit.vault, object.key.clone(), Bytes::from(edited)).await;
    let forged = serde_json::to_value(forged.expect("a forged file")).expect("JSON");
    let mut json = serde_json::to_value(manifest).expect("JSON");
    put_in_place(&mut json, &object.key, &forged);
    let manifest: Manifest = serde_json::from_value(json).expect("a manifest");
    kit.vault.archive.delete(&layout::manifest(&manifest)).await.expect("it is deleted");
    put_manifest(&kit.vault, &manifest).await.expect("it is signed again");
}

fn put_in_place(json: &mut Value, key: &str, forged: &Value) {
    match json {
        Value::Object(map) if map.get("key").is_some_and(|k| k == key) => *json = forged.clone(),
        Value::Object(map) => map.values_mut().for_each(|v| put_in_place(v, key, forged)),
        Value::Array(all) => all.iter_mut().for_each(|v| put_in_place(v, key, forged)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drill_proves_a_good_chain_and_names_the_table_of_a_wrong_row() {
    let kit = chain_on(Server::start(&[]).await).await;
    kit.server.database().await.run("create database switchyard_drill_1__restoring").await;
    let evidence =
        drill(&kit.config, &kit.vault, kit.server_url(), &Silent).await.expect("a drill");
    assert!(evidence.proven && evidence.tables_checked == 2, "{evidence:?}");
    assert!(evidence.steps.iter().any(|s| s.what == "loading the rows"));

    let shelf = Shelf::load(&kit.vault).await.expect("a shelf");
    let full = shelf.newest_full().expect("a full backup").clone();
    let object = full
        .objects()
        .find(|o| o.key.contains("public=2e") || o.key.contains("public.b"))
        .expect("b")
        .clone();
    forge(&kit, &full, &object, |text| text.replacen("c4ca4238", "c4ca4239", 1)).await;
    let vault = anew(&kit, keys(&kit));
    let evidence = drill(&kit.config, &vault, kit.server_url(), &Silent).await.expect("a drill");
    let problem = evidence.problem.expect("a problem");
    assert!(!evidence.proven && problem.contains("public.b"), "{problem}");
    let left = "select count(*) from pg_database where starts_with(datname, 'switchyard_drill_')";
    assert_eq!(ask::<i64>(&kit.source, left).await, 0);
}

/// Two installations on one server, each of which names it by a database of its own, and locks there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drill_leaves_that_of_another_database_alone() {
    let server = Server::start(&[]).await;
    let (ours, theirs) = (chain_on(Arc::clone(&server)).await, chain_on(server).await);
    let (go_on, waits) = mpsc::channel();
    let loading = Arc::new(Pause { reached: Notify::new(), go_on: Mutex::new(waits) });
    let at = Arc::clone(&loading);
    let under_way = tokio::spawn(async move {
        drill(&theirs.config, &theirs.vault, theirs.source.url(), at.as_ref()).await
    });
    loading.reached.notified().await;
    let ours = drill(&ours.config, &ours.vault, ours.source.url(), &Silent).await;
    go_on.send(()).expect("it waits");
    assert!(ours.expect("a drill").proven);
    let theirs = under_way.await.expect("a task").expect("a drill");
    assert!(theirs.proven, "{theirs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_old_full_backup_and_its_increments_make_the_new_one() {
    let kit = Kit::new(SCHEMA).await;
    kit.full().await;
    let writers = Writers::start(&kit.source, 3, STEPS).await;
    writers.commit(40).await;
    kit.increment().await;
    differential(&kit.vault, &Silent).await.expect("a differential");
    writers.commit(40).await;
    let newer = kit.full().await;
    writers.commit(40).await;
    kit.increment().await;
    writers.stop().await;
    let evidence =
        compare_with_full(&kit.config, &kit.vault, &newer.id, kit.server_url(), &Silent).await;
    let evidence = evidence.expect("a comparison");
    assert!(evidence.proven, "{evidence:?}");

    // A change that the log does not tell.
    let kit = chain().await;
    let newer = kit.full().await;
    kit.increment().await;
    let shelf = Shelf::load(&kit.vault).await.expect("a shelf");
    for increment in shelf.all().iter().filter(|m| layout::manifest(m).starts_with("log/")) {
        for object in increment.objects() {
            forge(&kit, increment, object, |text| text.replacen("two", "TWO", 1)).await;
        }
    }
    let vault = anew(&kit, keys(&kit));
    let evidence =
        compare_with_full(&kit.config, &vault, &newer.id, kit.server_url(), &Silent).await;
    let evidence = evidence.expect("a comparison");
    let problem = evidence.problem.expect("a problem");
    assert!(problem.contains("public.a") && !problem.contains("public.b"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disaster_recovery_answers_with_checks_and_times() {
    let kit = chain().await;
    let recovery = disaster_recovery(&kit.vault, &kit.plan("standby"), &Silent, &Nothing).await;
    let recovery = recovery.expect("a recovery");
    assert!(recovery.ready, "{:#?}", recovery.checks);
    assert!(recovery.checks.len() >= 6 && recovery.restored.increments.len() == 1);
    assert!(recovery.seconds >= recovery.restored.seconds && recovery.lost_seconds >= 0.0);
    let json = serde_json::to_string(&recovery).expect("JSON");
    assert_eq!(
        serde_json::from_str::<switchyard_backup::recovery::Recovery>(&json).expect("JSON").checks,
        recovery.checks
    );
}

/// What a backup of format 1 says of a table, of the server's own making.
async fn words(kit: &Kit, table: &str) -> Sums {
    let sql = format!(
        "select count(*), coalesce(sum(hashtextextended(x::text, 0)), 0)::text,
                coalesce(bit_xor(hashtextextended(x::text, 1)), 0) from only {table} x"
    );
    let mut connection = exact(&kit.source).await;
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut connection).await.expect(table);
    let rows = u64::try_from(row.get::<i64, _>(0)).expect("a count");
    Sums { rows, sum: row.get(1), xor: row.get(2) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_checksums_of_the_first_format_are_compared_as_they_were_made() {
    let kit = Kit::on(Server::shared().await, SMALL).await;
    let mut full = kit.full().await;
    full.format = 1;
    let Kind::Full { tables, .. } = &mut full.kind else { panic!("no full backup") };
    for table in tables {
        table.sums = words(&kit, &table.name).await;
    }
    let store = |full: &Manifest| {
        let file = seal_manifest(full, &kit.vault.keys).expect("a manifest");
        let path = kit.folder.path().join(layout::manifest(full));
        std::fs::write(path, file).expect("it is stored");
        anew(&kit, keys(&kit))
    };
    let vault = store(&full);
    let restored = restore(&vault, &kit.plan("first"), &Silent, &Nothing).await;
    let name = restored.expect("a restore").database;
    let database = Database { server: Arc::clone(&kit.server), name };
    same(&contents(&database).await, &contents(&kit.source).await);
    let Kind::Full { tables, .. } = &mut full.kind else { panic!("no full backup") };
    tables[0].sums.xor ^= 1;
    let vault = store(&full);
    let fault = restore(&vault, &kit.plan("other"), &Silent, &Nothing).await;
    let fault = fault.expect_err("a checksum is wrong").to_string();
    assert!(fault.contains("with other contents"), "{fault}");
}
