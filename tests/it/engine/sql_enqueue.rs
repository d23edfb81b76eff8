//! `engine.enqueue`: jobs from any language, in anybody's transaction.

use super::support::{Bench, audit, claim_as, count, info, job, kind};
use sqlx::{PgConnection, Row};
use std::time::Duration;
use switchyard_queue::{JobStore, KindInfo, Options};
use switchyard_store::{PgJobStore, Scope, jobs};
use switchyard_tests::TestDb;
use uuid::Uuid;

type Answer = (Uuid, bool);

async fn ask(connection: &mut PgConnection, call: &'static str) -> Answer {
    sqlx::query_as(call).fetch_one(connection).await.unwrap()
}

/// The code and the sentence with which a statement is refused.
async fn refused(connection: &mut PgConnection, statement: &'static str) -> (String, String) {
    let error = sqlx::raw_sql(statement).execute(connection).await.expect_err(statement);
    let error = error.into_database_error().expect("an answer of the server");
    (error.code().unwrap_or_default().into_owned(), error.message().to_owned())
}

async fn begin(connection: &mut PgConnection) {
    sqlx::raw_sql("begin").execute(connection).await.unwrap();
}

async fn commit(connection: &mut PgConnection) {
    sqlx::raw_sql("commit").execute(connection).await.unwrap();
}

#[tokio::test]
async fn a_job_exists_if_its_callers_transaction_commits() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let call = "select * from engine.enqueue('k', '{\"n\": 1}', queue => 'q', partition => 'new')";
    begin(&mut owner).await;
    assert!(ask(&mut owner, call).await.1);
    sqlx::raw_sql("rollback").execute(&mut owner).await.unwrap();
    for empty in [
        "select count(*) from engine.jobs",
        "select count(*) from engine.lanes",
        "select count(*) from engine.counter_deltas",
        "select count(*) from engine.unplaced",
    ] {
        assert_eq!(count(&mut owner, empty).await, 0, "{empty}");
    }
    begin(&mut owner).await;
    ask(&mut owner, call).await;
    sqlx::raw_sql("savepoint s").execute(&mut owner).await.unwrap();
    ask(&mut owner, "select * from engine.enqueue('k', queue => 'other')").await;
    sqlx::raw_sql("rollback to s").execute(&mut owner).await.unwrap();
    commit(&mut owner).await;
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 1);
    assert_eq!(count(&mut owner, "select count(*) from engine.lanes").await, 1);
    audit(&mut owner).await;
}

#[tokio::test]
async fn every_parameter_reaches_its_column() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let tenant = Uuid::now_v7();
    let (id, inserted): Answer = sqlx::query_as(
        "select * from engine.enqueue('k', args => '{\"a\": [1]}', queue => 'q', partition => 'p',
           priority => -3, delay => '1 minute', max_attempts => 7, timeout => '90 seconds',
           unique_key => 'one', tenant => $1, request_id => 'req-9', trace => 'none',
           limit_key => 'crm', deadline => '1 hour')",
    )
    .bind(tenant)
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert!(inserted);
    assert_eq!(id.get_version_num(), 7);
    let row = sqlx::query(
        "select *, run_at - created_at = interval '1 minute' as waits,
           deadline - created_at = interval '1 hour' as ends,
           (select limit_key from engine.lanes l where l.id = lane) as limit_key from engine.jobs",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert_eq!(row.get::<Uuid, _>("id"), id);
    assert_eq!(row.get::<i16, _>("priority"), -3);
    assert_eq!(row.get::<i16, _>("max_attempts"), 7);
    assert_eq!(row.get::<i32, _>("timeout_ms"), 90_000);
    assert_eq!(row.get::<i16, _>("stage"), 1);
    assert_eq!(row.get::<Option<Uuid>, _>("tenant"), Some(tenant));
    assert_eq!(row.get::<String, _>("unique_key"), "k \"one\"");
    assert_eq!(row.get::<String, _>("request_id"), "req-9");
    assert_eq!(row.get::<serde_json::Value, _>("args"), serde_json::json!({"a": [1]}));
    assert!(row.get::<bool, _>("waits"));
    assert!(row.get::<bool, _>("ends"));
    assert_eq!(row.get::<String, _>("limit_key"), "crm");
    let shown = jobs::show(&bench.test.db, switchyard_queue::JobId(id)).await.unwrap().row;
    assert_eq!((shown.queue.as_str(), shown.partition.as_str()), ("q", "p"));

    // Two jobs of one statement keep their order.
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select e.id from generate_series(1, 50) n, lateral engine.enqueue('k', to_jsonb(n), 'q') e",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(ids.is_sorted(), "ids made later sort later");
    audit(&mut owner).await;
}

#[tokio::test]
async fn what_is_missing_comes_from_the_kinds_that_workers_declare() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let over = "select engine.enqueue('k', queue => 'q', deadline => '0 s')";
    let (code, message) = refused(&mut owner, over).await;
    assert_eq!(code, "22023");
    assert!(message.contains("deadline is over"), "{message}");
    let (code, message) = refused(&mut owner, "select engine.enqueue('k')").await;
    assert_eq!(code, "22023");
    assert!(message.contains("no worker has ever declared"), "{message}");

    let store = PgJobStore::new(&test.db);
    let declared = KindInfo { timeout: Duration::from_secs(7), max_attempts: 3, ..kind() };
    let mut who = info();
    who.declares = vec![declared];
    let presence = store.register(&who).await.unwrap();
    let of_old_name = "select * from engine.enqueue('old.k')";
    ask(&mut owner, of_old_name).await;
    let whole = "select count(*) from engine.jobs j join engine.lanes l on l.id = j.lane
                 where j.kind = 'k' and l.queue = 'q' and j.max_attempts = 3 and j.timeout_ms = 7000";
    assert_eq!(count(&mut owner, whole).await, 1, "the permanent name, and what it declared");
    let claimed = claim_as(&store, presence.id, 5, Duration::from_secs(60), &[]).await;
    assert_eq!(claimed.len(), 1, "and a worker finds it");

    // A later program says it otherwise; the same again writes nothing.
    let before = "select count(distinct declared_at) from engine.kinds";
    who.declares[0].timeout = Duration::from_secs(9);
    let _again = store.register(&who).await.unwrap();
    assert_eq!(count(&mut owner, before).await, 1);
    assert_eq!(
        count(&mut owner, "select count(*) from engine.kinds where timeout_ms = 9000").await,
        2
    );
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_key_is_the_same_key_whoever_asks() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    // What JSON escapes must be escaped alike.
    let odd = "a \"b\" \\ \n\u{1}\u{7f} ż 🙂 /";
    let ours = bench.enqueue(vec![job("k", Options::new().unique_by(odd))]).await[0];
    let (id, inserted): Answer =
        sqlx::query_as("select * from engine.enqueue('k', queue => 'q', unique_key => $1)")
            .bind(odd)
            .fetch_one(&mut owner)
            .await
            .unwrap();
    assert_eq!((id, inserted), (ours.id.0, false));

    let first = "select * from engine.enqueue('k', queue => 'q', unique_key => 'two')";
    let (two, inserted) = ask(&mut owner, first).await;
    assert!(inserted);
    assert_eq!(ask(&mut owner, first).await, (two, false));
    let rust = bench.enqueue(vec![job("k", Options::new().unique_by("two"))]).await[0];
    assert_eq!((rust.id.0, rust.inserted()), (two, false));
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 2);
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_key_for_a_time_outlives_its_job_and_lapses() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let call = "select * from engine.enqueue('k', queue => 'q', unique_key => 'hourly', unique_for => '1 hour')";
    let (first, inserted) = ask(&mut owner, call).await;
    assert!(inserted);
    let claimed = bench.claim(1).await.pop().unwrap();
    assert!(bench.settle(&claimed, switchyard_queue::SettleAs::Completed).await);
    assert_eq!(ask(&mut owner, call).await, (first, false), "held though the job has ended");
    sqlx::raw_sql("update engine.job_uniques set until = now() - interval '1 second'")
        .execute(&mut owner)
        .await
        .unwrap();
    let (second, inserted) = ask(&mut owner, call).await;
    assert!(inserted && second != first, "free again after the time");
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_callers_new_lane_keeps_nobody_waiting() {
    let test = TestDb::new().await;
    let mut slow = test.owner().await;
    let mut quick = test.owner().await;
    begin(&mut slow).await;
    ask(&mut slow, "select * from engine.enqueue('k', queue => 'q', partition => 'p')").await;
    ask(&mut slow, "select * from engine.enqueue('k', queue => 'q', partition => 'o')").await;

    // The same new lane from another language, and from here, while that transaction is open.
    let limit = Duration::from_secs(5);
    let call = "select * from engine.enqueue('k', queue => 'q', partition => 'p')";
    tokio::time::timeout(limit, ask(&mut quick, call)).await.expect("it does not wait");
    let ours = async {
        let mut tx = test.db.begin(Scope::Platform).await.unwrap();
        tx.enqueue(job("k", Options::new().partition("o"))).await.unwrap();
        tx.commit().await.unwrap();
    };
    tokio::time::timeout(limit, ours).await.expect("it does not wait");
    commit(&mut slow).await;
    assert_eq!(count(&mut quick, "select count(*) from engine.lanes").await, 2);
    assert_eq!(
        count(
            &mut quick,
            "select count(*) from engine.jobs j join engine.lanes l on l.id = j.lane"
        )
        .await,
        4
    );
    audit(&mut quick).await;
}

#[tokio::test]
async fn under_a_stricter_isolation_a_race_for_a_lane_ends_one_transaction() {
    let test = TestDb::new().await;
    let mut strict = test.owner().await;
    let mut other = test.owner().await;
    let call = "select * from engine.enqueue('k', queue => 'q', partition => 'p')";
    sqlx::raw_sql("begin isolation level repeatable read; select 1 from engine.lanes")
        .execute(&mut strict)
        .await
        .unwrap();
    ask(&mut other, call).await;
    ask(&mut strict, call).await;
    assert_eq!(refused(&mut strict, "commit").await.0, "40001", "to be tried again");
    ask(&mut strict, call).await;
    assert_eq!(count(&mut other, "select count(*) from engine.jobs").await, 2);
    audit(&mut other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_make_the_same_lanes_do_not_deadlock() {
    let test = TestDb::new().await;
    let tasks: Vec<_> = (0..8_i64)
        .map(|n| {
            let url = test.url.clone();
            tokio::spawn(async move {
                use secrecy::ExposeSecret;
                use sqlx::Connection;
                let mut c = PgConnection::connect(url.expose_secret()).await.unwrap();
                sqlx::query(
                    "select count(*) from generate_series(1, 40) g(i),
                       lateral engine.enqueue('k', queue => 'q' || (i * $1 % 3),
                                              partition => (i * ($1 + 1) % 17)::text)",
                )
                .bind(n)
                .execute(&mut c)
                .await
                .unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut owner = test.owner().await;
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 320);
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_paused_queue_takes_jobs_in_and_gives_none_out() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    bench.enqueue(vec![job("k", Options::new())]).await;
    jobs::pause(&bench.test.db, "q", true).await.unwrap();
    ask(&mut owner, "select * from engine.enqueue('k', queue => 'q')").await;
    ask(&mut owner, "select * from engine.enqueue('k', queue => 'q', partition => 'new')").await;
    assert!(bench.claim(5).await.is_empty());
    jobs::pause(&bench.test.db, "q", false).await.unwrap();
    assert_eq!(bench.claim(5).await.len(), 3);
}

#[tokio::test]
async fn a_lane_that_is_born_in_a_paused_partition_is_paused_too() {
    let bench = Bench::new().await;
    let db = &bench.test.db;
    let mut owner = bench.test.owner().await;
    bench.enqueue(vec![job("k", Options::new().partition("a"))]).await;
    jobs::pause_partition(db, "q", "a", true).await.unwrap();
    let call =
        "select * from engine.enqueue('k', queue => 'q', partition => 'a', limit_key => 'new')";
    ask(&mut owner, call).await;
    assert!(bench.claim(5).await.is_empty());
    jobs::pause(db, "q", true).await.unwrap();
    jobs::pause(db, "q", false).await.unwrap();
    assert!(bench.claim(5).await.is_empty(), "the partition is paused by itself");
    ask(&mut owner, "select * from engine.enqueue('k', queue => 'q', partition => 'b')").await;
    assert_eq!(bench.claim(5).await.len(), 1, "others are not");
    jobs::pause_partition(db, "q", "a", false).await.unwrap();
    assert_eq!(bench.claim(5).await.len(), 2);
}

#[tokio::test]
async fn a_lane_that_is_born_during_a_pause_of_its_partition_is_paused_too() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("k", Options::new().partition("a"))]).await;
    // As `pause_partition` does it, held up before its commit.
    let mut pause = bench.test.owner().await;
    sqlx::raw_sql(
        "begin; select from engine.queues where queue = 'q' for update;
         update engine.lanes set held = true, paused = true where queue = 'q' and partition = 'a'",
    )
    .execute(&mut pause)
    .await
    .unwrap();
    let (mut caller, mut watch) = (bench.test.owner().await, bench.test.owner().await);
    let call =
        "select * from engine.enqueue('k', queue => 'q', partition => 'a', limit_key => 'one')";
    let ours = vec![job("k", Options::new().partition("a").limit_key("two"))];
    let commit = async {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        while count(&mut watch, waiting).await < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        commit(&mut pause).await;
    };
    let all = async { tokio::join!(ask(&mut caller, call), bench.enqueue(ours), commit) };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("both wait for the pause");
    assert!(bench.claim(5).await.is_empty());
}

#[tokio::test]
async fn ten_thousand_jobs_in_one_statement() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let n = "select count(e.inserted) from generate_series(1, 10000) n,
             lateral engine.enqueue('k', jsonb_build_object('n', n), 'q', partition => (n % 5)::text) e";
    assert_eq!(count(&mut owner, n).await, 10_000);
    assert_eq!(count(&mut owner, "select count(*) from engine.lanes").await, 5);
    assert_eq!(
        count(&mut owner, "select count(distinct args->>'n') from engine.jobs").await,
        10_000
    );
    audit(&mut owner).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_sentence() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    for wrong in [
        "select engine.enqueue('', queue => 'q')",
        "select engine.enqueue(null, queue => 'q')",
        "select engine.enqueue('two words', queue => 'q')",
        "select engine.enqueue('k', queue => 'No Queue')",
        "select engine.enqueue('k', queue => 'q', max_attempts => 0)",
        "select engine.enqueue('k', queue => 'q', timeout => '0 s')",
        "select engine.enqueue('k', queue => 'q', priority => 40000)",
        "select engine.enqueue('k', queue => 'q', run_at => 'infinity')",
        "select engine.enqueue('k', queue => 'q', run_at => now(), delay => '1 s')",
        "select engine.enqueue('k', queue => 'q', unique_for => '1 s')",
    ] {
        assert_eq!(refused(&mut owner, wrong).await.0, "22023", "{wrong}");
    }
    // SQL's null where a default stands means the default.
    let nulls = "select * from engine.enqueue('k', null, 'q', null, null, null, null, null, null)";
    assert!(ask(&mut owner, nulls).await.1);
    audit(&mut owner).await;
}

#[tokio::test]
async fn the_role_may_enqueue_and_do_nothing_else() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname in ('engine', 'switchyard', 'public') and c.relkind in ('r', 'p', 'v', 'S')
           and (has_table_privilege('switchyard_enqueue', c.oid, 'select, insert, update, delete, truncate')
             or has_any_column_privilege('switchyard_enqueue', c.oid, 'select, insert, update'))",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(tables, Vec::<String>::new());
    let functions: Vec<String> = sqlx::query_scalar(
        "select p.proname::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where n.nspname in ('engine', 'switchyard', 'public')
           and has_schema_privilege('switchyard_enqueue', n.oid, 'usage')
           and has_function_privilege('switchyard_enqueue', p.oid, 'execute')
           -- An extension's functions (trigrams) work on what they are given, and belong to a superuser.
           and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass
             and d.objid = p.oid and d.deptype = 'e')",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(functions, ["enqueue"]);

    sqlx::raw_sql("set role switchyard_enqueue").execute(&mut owner).await.unwrap();
    begin(&mut owner).await;
    let call =
        "select * from engine.enqueue('k', queue => 'q', partition => 'new', unique_key => 'x')";
    assert!(ask(&mut owner, call).await.1, "the function, with a new lane and a key");
    commit(&mut owner).await;
    for statement in [
        "select 1 from engine.jobs",
        "insert into engine.job_uniques (key, job_id) values ('k', gen_random_uuid())",
        "select engine.take_key('k', gen_random_uuid(), null)",
        "delete from engine.unplaced",
        "select 1 from switchyard.leads",
        "create table engine.mine (n int)",
    ] {
        assert_eq!(refused(&mut owner, statement).await.0, "42501", "{statement}");
    }
    // A table of the caller's with a telling name is not looked at.
    sqlx::raw_sql(
        "create temporary table job_uniques (key text); set search_path = pg_temp, engine",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    assert!(!ask(&mut owner, call).await.1);
    sqlx::raw_sql("reset role").execute(&mut owner).await.unwrap();
    audit(&mut test.owner().await).await;
}
