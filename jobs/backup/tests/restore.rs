//! A backup is what can be restored: byte by byte, to every moment, whatever happened in between.
#![allow(clippy::unwrap_used)]

mod support;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use support::kit::{Kit, ask, contents, same};
use support::server::{SUPERUSER, Server, execute};
use support::shop::{SCHEMA, STEPS};
use support::writers::Writers;
use switchyard_backup::restore::{Destination, Nothing, SEQUENCE_MARGIN};
use switchyard_backup::{RestorePlan, Silent, Target, differential, restore};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_comes_back_to_the_end_to_a_time_and_to_a_position() {
    let kit = Kit::new(SCHEMA).await;
    let writers = Writers::start(&kit.source, 3, STEPS).await;
    writers.commit(40).await;
    kit.full().await;
    writers.commit(60).await;
    kit.increment().await;
    writers.commit(60).await;
    writers.stop().await;
    let then: DateTime<Utc> = ask(&kit.source, "select clock_timestamp()").await;
    let position: String = ask(&kit.source, "select pg_current_wal_insert_lsn()::text").await;
    let at_then = contents(&kit.source).await;

    let writers = Writers::start(&kit.source, 3, STEPS).await;
    writers.commit(60).await;
    kit.increment().await;
    let differential = differential(&kit.vault, &Silent).await.expect("a differential");
    writers.commit(60).await;
    writers.stop().await;
    kit.increment().await;
    let at_end = contents(&kit.source).await;
    assert_ne!(at_then, at_end, "the writers changed nothing");

    let (restored, database) = kit.restore(&kit.plan("end")).await.expect("a restore");
    same(&contents(&database).await, &at_end);
    assert_eq!(restored.differential, Some(differential.id));
    assert_eq!(database.schema_by_pg_dump(), kit.source.schema_by_pg_dump());
    let ahead = "select last_value from shop.agencies_id_seq";
    let (there, here): (i64, i64) = (ask(&kit.source, ahead).await, ask(&database, ahead).await);
    assert_eq!(here, there + SEQUENCE_MARGIN);

    let database = kit.restore_to("then", Target::Time(then)).await;
    same(&contents(&database).await, &at_then);
    let lsn = position.parse().expect("a position");
    let database = kit.restore_to("there", Target::Lsn(lsn)).await;
    same(&contents(&database).await, &at_then);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_backup_alone_is_the_moment_at_which_it_was_taken() {
    let kit = Kit::new(SCHEMA).await;
    let before = contents(&kit.source).await;
    let full = kit.full().await;
    kit.source
        .run("delete from shop.events; insert into shop.agencies (name) values ('late')")
        .await;
    kit.increment().await;
    let database = kit.restore_to("full", Target::Backup(full.id)).await;
    same(&contents(&database).await, &before);
    let last = "select last_value::text || is_called from shop.agencies_id_seq";
    assert_eq!(ask::<String>(&database, last).await, "20true", "no margin where nothing follows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_empty_database_comes_back_empty() {
    let kit = Kit::new("").await;
    kit.full().await;
    let (restored, database) = kit.restore(&kit.plan("empty")).await.expect("a restore");
    assert_eq!(restored.rows, 0);
    assert!(contents(&database).await.is_empty());
}

/// As on the day when it counts: a server that knows none of our roles, and whose superuser has another name.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_comes_back_on_a_server_that_knows_none_of_the_roles() {
    let kit = Kit::on(Server::start(&[]).await, SCHEMA).await;
    kit.source
        .run(
            "create role keeper nologin; create role reader nologin;
             create function shop.asked() returns int language sql security definer as 'select 1';
             create table shop.kept (id int primary key); alter table shop.kept owner to keeper;
             grant select on shop.kept to reader; insert into shop.kept values (7)",
        )
        .await;
    kit.full().await;
    kit.source.run("insert into shop.kept values (8)").await;
    kit.increment().await;

    let there = Server::start(&[]).await;
    let mut admin = there.admin().await;
    execute(&mut admin, "create role boss superuser login").await;
    let url = there.url("postgres", "boss");
    let mut boss = PgConnection::connect(&url).await.unwrap();
    execute(&mut boss, &format!("alter role {SUPERUSER} rename to somebody")).await;
    let plan = RestorePlan {
        destination: Destination::New { name: Some("back".into()) },
        ..RestorePlan::newest(url.into())
    };
    restore(&kit.vault, &plan, &Silent, &Nothing).await.expect("a restore");
    let mut back = PgConnection::connect(&there.url("back", "boss")).await.unwrap();
    let (owner, rows, reads): (String, i64, bool) = sqlx::query_as(
        "select (select r.rolname::text from pg_proc p join pg_roles r on r.oid = p.proowner
                  where p.proname = 'asked'),
           (select count(*) from shop.kept), has_table_privilege('reader', 'shop.kept', 'select')",
    )
    .fetch_one(&mut back)
    .await
    .unwrap();
    assert_eq!((owner.as_str(), rows, reads), (SUPERUSER, 2, true));
}

/// History in slices: one there from the beginning, others made, filled and dropped later; a default one
/// beside, and a table without a default one.
const SLICES: &str = "
    create schema h;
    create table h.log (id int, day int, t text, primary key (day, id)) partition by range (day);
    create table h.log_1 partition of h.log for values from (1) to (2);
    create table h.log_2 partition of h.log for values from (2) to (3);
    create table h.log_rest partition of h.log default;
    create index log_t on h.log (t);
    create table h.bare (id int primary key) partition by range (id);
    create table h.bare_1 partition of h.bare for values from (0) to (100);
    insert into h.log select g, 1 + g % 2, 'old ' || g from generate_series(1, 100) g;
    insert into h.bare select generate_series(1, 50);";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn partitions_made_and_dropped_after_the_full_backup_are_as_they_were_at_the_end() {
    let kit = Kit::new(SLICES).await;
    kit.full().await;
    kit.source
        .run(
            "create table h.log_3 partition of h.log for values from (3) to (4);
             create table h.log_4 partition of h.log for values from (4) to (5);
             create table h.bare_2 partition of h.bare for values from (100) to (200);
             insert into h.log select g, 1 + g % 4, 'new ' || g from generate_series(1000, 1100) g;
             insert into h.log values (7, 99, 'in the default one');
             insert into h.bare select generate_series(100, 150);",
        )
        .await;
    kit.increment().await;
    differential(&kit.vault, &Silent).await.expect("a differential");
    // One of the full backup's, one that came after it, and one that comes and goes unseen.
    kit.source
        .run(
            "drop table h.log_1; drop table h.log_3;
             create table h.bare_3 partition of h.bare for values from (200) to (300);
             insert into h.bare select generate_series(200, 250);",
        )
        .await;
    kit.source.run("drop table h.bare_3; update h.log set t = 'changed' where id % 10 = 0").await;
    kit.increment().await;
    let database = kit.restore_to("slices", Target::Newest).await;
    same(&contents(&database).await, &contents(&kit.source).await);
    let indexes = "select string_agg(indexdef, e'\\n' order by indexdef) from pg_indexes where schemaname = 'h'";
    assert_eq!(ask::<String>(&database, indexes).await, ask::<String>(&kit.source, indexes).await);
    // And again by way of a second differential, which knows the slices that are gone by a note only.
    differential(&kit.vault, &Silent).await.expect("a differential");
    let database = kit.restore_to("slices_2", Target::Newest).await;
    same(&contents(&database).await, &contents(&kit.source).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_table_comes_back_with_what_belongs_to_it_and_nothing_else() {
    let kit = Kit::new(SCHEMA).await;
    kit.full().await;
    kit.source.run("update shop.settings set value = 'new' where id % 2 = 0; delete from shop.settings where id % 3 = 0; delete from shop.events").await;
    kit.increment().await;
    let plan = RestorePlan { tables: vec!["settings".to_owned()], ..kit.plan("table") };
    let (_, database) = kit.restore(&plan).await.expect("a restore");
    let (found, wanted) = (contents(&database).await, contents(&kit.source).await);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["shop.settings"]);
    assert_eq!(found["shop.settings"], wanted["shop.settings"]);
    let events = RestorePlan { tables: vec!["shop.events".to_owned()], ..kit.plan("events") };
    kit.restore(&events).await.expect("a partitioned table");
    for (wrong, said) in
        [("nothing", "there is no table"), ("shop.events_us", "partition of shop.events")]
    {
        let plan = RestorePlan { tables: vec![wrong.to_owned()], ..kit.plan("wrong") };
        let fault = kit.refused(&plan).await;
        assert!(fault.contains(said), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_agencys_rows_come_back_with_what_they_refer_to_and_nobody_elses() {
    let kit = Kit::new(SCHEMA).await;
    kit.full().await;
    // Agents change hands after the full backup, with large values that the log does not repeat.
    kit.source
        .run(
            "update shop.agents set agency_id = 3 where agency_id = 4;
             update shop.agents set agency_id = 5 where agency_id = 3 and id % 2 = 0;
             update shop.agents set boss = (select min(id) from shop.agents where agency_id = 9)
               where id = (select min(id) from shop.agents where agency_id = 3);",
        )
        .await;
    kit.increment().await;
    let plan = RestorePlan { agency: Some("3".to_owned()), ..kit.plan("agency") };
    let (_, database) = kit.restore(&plan).await.expect("a restore");
    let mine =
        "select md5(string_agg(x::text, ',' order by id)) from shop.agents x where agency_id = 3";
    assert_eq!(ask::<String>(&database, mine).await, ask::<String>(&kit.source, mine).await);
    // The boss of one of them, of another agency, and that agency.
    assert_eq!(
        ask::<i64>(&database, "select count(*) from shop.agents where agency_id <> 3").await,
        1
    );
    assert_eq!(ask::<i64>(&database, "select count(*) from shop.agencies").await, 2);
    assert_eq!(ask::<i64>(&database, "select count(*) from shop.settings").await, 0);
    assert_eq!(
        ask::<i64>(
            &database,
            "select count(*) from pg_constraint where contype = 'f' and not convalidated"
        )
        .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_there_is_never_overwritten() {
    let kit = Kit::new("create table t (id int primary key); insert into t values (1)").await;
    kit.full().await;
    kit.restore(&kit.plan("twice")).await.expect("the first time");
    let fault = kit.refused(&kit.plan("twice")).await;
    assert!(fault.contains("already") && fault.contains("--into-empty"), "{fault}");

    let into = |name: &str| RestorePlan {
        destination: Destination::Empty { name: name.to_owned() },
        ..kit.plan("unused")
    };
    let fault = kit.refused(&into(&kit.source.name)).await;
    assert!(fault.contains("is not empty"), "{fault}");
    let empty = kit.server.database().await;
    let (_, database) = kit.restore(&into(&empty.name)).await.expect("into an empty one");
    same(&contents(&database).await, &contents(&kit.source).await);
    assert_eq!(
        ask::<i64>(
            &database,
            "select count(*) from pg_namespace where nspname ~ 'switchyard_restore'"
        )
        .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_role_that_may_not_make_databases_is_told_what_to_do() {
    let kit = Kit::new("create table t (id int primary key)").await;
    kit.full().await;
    kit.server
        .database()
        .await
        .run("do $$ begin create role weak login; exception when duplicate_object then end $$")
        .await;
    let url = kit.server.url("postgres", "weak");
    let plan = RestorePlan { server: url.into(), ..kit.plan("weak") };
    let fault = kit.refused(&plan).await;
    assert!(fault.contains("createdb") && fault.contains("--into-empty"), "{fault}");
}
