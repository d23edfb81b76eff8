//! Changes compacted per key, in batches, by several connections, make the same as one after the other.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::Row;
use std::collections::BTreeMap;
use support::server::{Database, Server};
use switchyard_backup::apply::{Applier, Compactor, Step};
use switchyard_backup::change::{Change, Relation, Value};

/// What a test does to a table; numbers choose rows of those that are there.
#[derive(Clone, Debug)]
enum Deed {
    Insert { key: u8, text: String },
    Update { nth: u8, text: String, untouched: bool },
    Rekey { nth: u8, key: u8, untouched: bool },
    Delete { nth: u8 },
    Truncate,
}

fn deed() -> impl Strategy<Value = Deed> {
    let text = "[a-z\\\\\t\n\r'\"{},]{0,12}";
    prop_oneof![
        4 => (any::<u8>(), text).prop_map(|(key, text)| Deed::Insert { key, text }),
        4 => (any::<u8>(), text, any::<bool>())
            .prop_map(|(nth, text, untouched)| Deed::Update { nth, text, untouched }),
        3 => (any::<u8>(), any::<u8>(), any::<bool>())
            .prop_map(|(nth, key, untouched)| Deed::Rekey { nth, key, untouched }),
        2 => any::<u8>().prop_map(|nth| Deed::Delete { nth }),
        1 => (0..40_u8).prop_filter_map("seldom", |n| (n == 0).then_some(Deed::Truncate)),
    ]
}

/// One after the other: the rows by key, as (text, large).
type Model = BTreeMap<u8, (Option<String>, String)>;

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

/// Does a deed to the model, and says what the log would tell of it.
fn tell(deed: &Deed, model: &mut Model) -> Option<Change> {
    let nth = |model: &Model, nth: u8| {
        let at = usize::from(nth) % model.len().max(1);
        model.keys().nth(at).copied()
    };
    let row = |key: u8, row: &(Option<String>, String), untouched: bool| {
        let first = row.0.clone().map_or(Value::Null, Value::Text);
        let large = if untouched { Value::Unchanged } else { text(row.1.clone()) };
        vec![text(key.to_string()), first, large]
    };
    match deed {
        Deed::Insert { key, text } => {
            if model.contains_key(key) {
                return None;
            }
            let new = ((!text.is_empty()).then(|| text.clone()), text.repeat(20));
            let change = Change::Insert { oid: 1, row: row(*key, &new, false) };
            model.insert(*key, new);
            Some(change)
        }
        Deed::Update { nth: n, text, untouched } => {
            let key = nth(model, *n)?;
            let there = model.get_mut(&key)?;
            there.0 = Some(text.clone());
            if !untouched {
                there.1 = text.repeat(30);
            }
            Some(Change::Update { oid: 1, old_key: None, row: row(key, there, *untouched) })
        }
        Deed::Rekey { nth: n, key, untouched } => {
            let old = nth(model, *n)?;
            if model.contains_key(key) {
                return None;
            }
            let mut there = model.remove(&old)?;
            if !untouched {
                there.1.push('!');
            }
            let row = row(*key, &there, *untouched);
            model.insert(*key, there);
            Some(Change::Update { oid: 1, old_key: Some(vec![text(old.to_string())]), row })
        }
        Deed::Delete { nth: n } => {
            let key = nth(model, *n)?;
            model.remove(&key);
            Some(Change::Delete { oid: 1, key: vec![text(key.to_string())] })
        }
        Deed::Truncate => {
            model.clear();
            Some(Change::Truncate { oids: vec![1], cascade: false, restart: false })
        }
    }
}

fn relation(name: &str, key: Vec<usize>) -> Change {
    let columns = ["id", "first", "large"].map(str::to_owned).to_vec();
    Change::Relation(Relation { oid: 1, schema: "a".into(), name: name.into(), columns, key })
}

async fn apply(database: &Database, changes: Vec<Change>, budget: usize) {
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(support::kit::exact(database).await);
    }
    let mut applier = Applier::new(connections);
    let (mut compactor, mut steps) = (Compactor::new(budget), Vec::new());
    for change in changes {
        compactor.push(change, &mut steps).expect("it fits");
    }
    compactor.flush(&mut steps);
    for step in steps {
        applier.apply(step).await.expect("it is applied");
    }
}

async fn found(database: &Database) -> Model {
    let mut connection = database.connect().await;
    let rows = sqlx::query("select id, first, large from a.t").fetch_all(&mut connection).await;
    rows.expect("rows")
        .iter()
        .map(|row| {
            let id: i32 = row.get(0);
            (u8::try_from(id).expect("small"), (row.get(1), row.get(2)))
        })
        .collect()
}

/// Runs random deeds against a table that is made by `table`, which has one row of each key below 20.
fn any_deeds_come_out_the_same(table: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let database = runtime.block_on(async {
        let database = Server::shared().await.database().await;
        database.run(&format!("create schema a; {table}")).await;
        database
    });
    // Each takes a second or more; PROPTEST_CASES asks for more of them.
    let more = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let mut runner = TestRunner::new(Config { cases: more.unwrap_or(6), ..Config::default() });
    let deeds = (proptest::collection::vec(deed(), 1..200), 200_usize..20_000);
    let outcome = runner.run(&deeds, |(deeds, budget)| {
        runtime.block_on(async {
            let rows = "insert into a.t (id, first, large) overriding system value select g, 'first ' || g, repeat('x', g) from generate_series(0, 19) g";
            database.run(&format!("truncate a.t; {rows}")).await;
            let mut model: Model = (0..20_u8)
                .map(|g| (g, (Some(format!("first {g}")), "x".repeat(usize::from(g)))))
                .collect();
            let mut changes = vec![relation("t", vec![0])];
            changes.extend(deeds.iter().filter_map(|deed| tell(deed, &mut model)));
            apply(&database, changes, budget).await;
            let found = found(&database).await;
            prop_assert_eq!(found, model);
            Ok(())
        })
    });
    if let Err(fault) = outcome {
        panic!("{fault}");
    }
}

#[test]
fn any_changes_of_a_table_come_out_as_if_applied_one_after_the_other() {
    any_deeds_come_out_the_same(
        "create domain a.words as text not null;
         create table a.t (id int generated always as identity primary key, first text, large a.words,
           twice int generated always as (id * 2) stored)",
    );
}

#[test]
fn any_changes_of_a_partitioned_table_come_out_as_if_applied_one_after_the_other() {
    any_deeds_come_out_the_same(
        "create table a.t (id int primary key, first text, large text) partition by range (id);
         create table a.low partition of a.t for values from (0) to (100);
         create table a.rest partition of a.t default",
    );
}

#[tokio::test]
async fn equal_rows_of_a_table_without_a_key_are_counted() {
    let database = Server::shared().await.database().await;
    database
        .run(
            "create schema a; create table a.t (id int, first json, large text);
              insert into a.t select 1, '{}', 'x' from generate_series(1, 5)",
        )
        .await;
    let row = |id: &str, first: Value| vec![text(id), first, text("x")];
    let one = row("1", text("{}"));
    let changes = vec![
        relation("t", vec![0, 1, 2]),
        Change::Delete { oid: 1, key: one.clone() },
        Change::Delete { oid: 1, key: one.clone() },
        Change::Update {
            oid: 1,
            old_key: Some(one.clone()),
            row: vec![text("2"), Value::Unchanged, Value::Unchanged],
        },
        Change::Insert { oid: 1, row: row("3", Value::Null) },
        Change::Insert { oid: 1, row: row("3", Value::Null) },
    ];
    apply(&database, changes, 1).await;
    let mut connection = database.connect().await;
    let counts = "select string_agg(n, ', ' order by n) from
        (select id || ':' || coalesce(first::text, 'null') || ':' || count(*) n from a.t group by id, first::text) x";
    let counts: String =
        sqlx::query_scalar(counts).fetch_one(&mut connection).await.expect("counts");
    assert_eq!(counts, "1:{}:2, 2:{}:1, 3:null:2");
}

#[tokio::test]
async fn a_log_that_does_not_fit_the_copy_is_told() {
    let database = Server::shared().await.database().await;
    database
        .run("create schema a; create table a.t (id int primary key, first text, large text)")
        .await;
    let update = vec![text("1"), Value::Null, Value::Unchanged];
    let changes = [relation("t", vec![0]), Change::Update { oid: 1, old_key: None, row: update }];
    let (mut compactor, mut steps) = (Compactor::new(1000), Vec::<Step>::new());
    for change in changes {
        compactor.push(change, &mut steps).expect("it fits itself");
    }
    compactor.flush(&mut steps);
    let mut applier = Applier::new(vec![support::kit::exact(&database).await]);
    let step = steps.pop().expect("a step");
    let fault = applier.apply(step).await.expect_err("the row is not there").to_string();
    assert!(fault.contains("a.t") && fault.contains("are not there"), "{fault}");

    let altered = Relation {
        oid: 2,
        schema: "a".into(),
        name: "t".into(),
        columns: vec!["id".into(), "first".into()],
        key: vec![0],
    };
    compactor.push(Change::Relation(altered), &mut steps).expect("a relation");
    compactor.push(Change::Delete { oid: 2, key: vec![text("1")] }, &mut steps).expect("a change");
    compactor.flush(&mut steps);
    let mut applier = Applier::new(vec![support::kit::exact(&database).await]);
    let step = steps.pop().expect("a step");
    let fault = applier.apply(step).await.expect_err("another table").to_string();
    assert!(fault.contains("altered between"), "{fault}");
}
