//! The schema's dump makes the schema again: `pg_dump` sees no difference to what its own dump makes.
#![allow(clippy::unwrap_used)]
#![allow(missing_docs)]

mod support;

use support::replay::psql;
use support::{Database, Server};
use switchyard_backup::SourceConfig;
use switchyard_backup::source::schema::{Dump, dump};

const NASTY: &str = include_str!("support/nasty.sql");

async fn dump_of(database: &Database) -> Dump {
    let config = SourceConfig::new(database.url());
    let mut connection = config.connect().await.expect("a connection");
    dump(&mut connection, &config).await.expect("a dump")
}

/// What `pg_dump` says of a database made from our dump, and of one made from its own. (Not of the source
/// itself: PostgreSQL writes some bodies of functions otherwise after it has read them once.)
async fn both(source: &Database) -> (String, String) {
    let ours = source.server.database().await;
    let dump = dump_of(source).await;
    psql(&ours, dump.before.as_bytes());
    psql(&ours, dump.after.as_bytes());
    let theirs = source.server.database().await;
    psql(&theirs, source.schema_by_pg_dump().as_bytes());
    (ours.schema_by_pg_dump(), theirs.schema_by_pg_dump())
}

fn same(ours: &str, theirs: &str) {
    for (at, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {}", at + 1);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

#[tokio::test]
async fn switchyards_own_schema_is_made_again() {
    let database = Server::shared().await.database().await;
    switchyard_store::migrate(&database.url()).await.expect("the migrations");
    let (ours, theirs) = both(&database).await;
    assert!(ours.contains("CREATE TABLE engine.jobs ") && ours.contains("CREATE POLICY"));
    same(&ours, &theirs);
}

#[tokio::test]
async fn a_schema_that_is_hard_to_write_down_is_made_again() {
    let database = Server::shared().await.database().await;
    database.run(NASTY).await;
    let (ours, theirs) = both(&database).await;
    assert!(ours.contains("ALTER DEFAULT PRIVILEGES") && ours.contains("ATTACH PARTITION"));
    same(&ours, &theirs);
}

#[tokio::test]
async fn a_partition_that_comes_or_goes_does_not_change_the_hash_and_everything_else_does() {
    let database = Server::shared().await.database().await;
    database.run(NASTY).await;
    let hash = dump_of(&database).await.hash;
    database
        .run(
            "create table a.history_new partition of a.history for values in ('new');
              create index on a.history_new (day);
              grant select on a.history_new to reader;
              comment on table a.history_new is 'new';
              alter table a.history_a detach partition a.history_a_1;
              drop table a.history_a_1",
        )
        .await;
    assert_eq!(dump_of(&database).await.hash, hash);
    for change in [
        "alter table a.hen add column more int",
        "alter table a.history add column more int",
        "create table a.one_more (id int primary key)",
        "alter table a.quick alter column id type bigint",
        "create or replace function a.base(n int) returns int language sql immutable as 'select n * 3'",
        "alter table a.history detach partition a.history_new",
        "alter table a.made_later replica identity default",
        "grant select on a.made_later to reader",
    ] {
        let before = dump_of(&database).await.hash;
        database.run(change).await;
        assert_ne!(dump_of(&database).await.hash, before, "{change}");
    }
}

#[tokio::test]
async fn a_schema_that_is_left_out_is_in_neither_part() {
    let database = Server::shared().await.database().await;
    database
        .run(
            "create schema theirs; create schema ours; create table theirs.t (id int primary key);
              create index on theirs.t ((id + 1)); comment on table theirs.t is 'x';
              grant select on theirs.t to public; create table ours.t (id int primary key)",
        )
        .await;
    let mut config = SourceConfig::new(database.url());
    config.exclude_schemas = vec!["theirs".to_owned()];
    let mut connection = config.connect().await.expect("a connection");
    let dump = dump(&mut connection, &config).await.expect("a dump");
    assert!(!dump.before.contains("theirs") && !dump.after.contains("theirs"), "{dump:?}");
    assert!(dump.before.contains("ours.t") && dump.after.contains("ours.t"));
}

#[tokio::test]
async fn an_empty_database_has_a_schema_too() {
    let server = Server::shared().await;
    let (ours, theirs) = both(&server.database().await).await;
    same(&ours, &theirs);
}
