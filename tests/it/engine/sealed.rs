//! Encrypted arguments: by every door, under keys that change, and nowhere in plain text.

use super::support::until;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_queue::{
    Context, Job, JobError, JobId, JobResult, JobState, JobStore, MissedPolicy, NewJob, Options,
    Outcome, Placement, QueueName, Registry, RetryPolicy, ScheduleSpec, SealFault, SystemClock,
    SystemEntropy, WorkerInfo,
};
use switchyard_scheduler::{Planned, SchedulerConfig};
use switchyard_store::maintenance::{self, KeepDays};
use switchyard_store::sealing::{self, KeyUse};
use switchyard_store::{Db, PgJobStore, Scope, StoreFault, jobs};
use switchyard_tests::TestDb;
use switchyard_tests::kit::ring;
use switchyard_workers::WorkerConfig;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What must not be found.
const SECRET: &str = "plain-as-day-4711";

/// What the jobs of a test heard.
type Heard = Arc<Mutex<Vec<String>>>;

/// Keeps a secret.
#[derive(Clone, Serialize, Deserialize)]
struct Whisper {
    secret: String,
    n: u32,
}

impl Job for Whisper {
    type State = Heard;

    const KIND: &'static str = "test.whisper";
    const ABOUT: &'static str = "Keeps a secret.";
    const QUEUE: QueueName = QueueName("q");
    const MAX_ATTEMPTS: u16 = 5;
    const ENCRYPTED: bool = true;

    fn options(&self) -> Options {
        Options::new().unique_by_args()
    }

    async fn run(self, cx: &Context<Heard>) -> JobResult {
        let shown = format!("{:?} {:?}", cx.job(), cx.job().args);
        assert!(!shown.contains(SECRET), "the job's record shows it");
        cx.state().lock().unwrap().push(self.secret);
        Ok(Outcome::Done)
    }
}

fn whisper(n: u32) -> Whisper {
    Whisper { secret: format!("{SECRET} {n}"), n }
}

/// Tells everybody: the proof that looking finds something.
#[derive(Serialize, Deserialize)]
struct Shout {
    word: String,
}

impl Job for Shout {
    type State = Heard;

    const KIND: &'static str = "test.shout";
    const ABOUT: &'static str = "Tells everybody.";
    const QUEUE: QueueName = QueueName("q");

    async fn run(self, _: &Context<Heard>) -> JobResult {
        Err(JobError::permanent("it is over"))
    }
}

fn registry() -> Registry<Heard> {
    Registry::new().with::<Whisper>().with::<Shout>()
}

/// The database as a process sees it that has these keys.
fn with_keys(test: &TestDb, keys: &[u8]) -> Db {
    test.db.clone().sealing_with(Some(Arc::new(ring(keys))))
}

async fn enqueue(db: &Db, jobs: Vec<NewJob>) -> Vec<(JobId, Placement)> {
    let mut tx = db.begin(Scope::Platform).await.unwrap();
    let answers = tx.enqueue_all(jobs).await.unwrap();
    tx.commit().await.unwrap();
    answers.into_iter().map(|a| (a.id, a.what)).collect()
}

fn whispers(n: std::ops::Range<u32>) -> Vec<NewJob> {
    n.map(|n| NewJob::of(&whisper(n)).unwrap()).collect()
}

/// A worker with the keys of this database; it ends when it is dropped.
fn work(db: &Db, keys: Option<&[u8]>) -> (Heard, DropGuard) {
    let heard = Heard::default();
    let cipher = keys.map(|k| Arc::new(ring(k)) as Arc<dyn switchyard_queue::ArgsCipher>);
    let dispatcher = registry().opening_with(cipher).bind(
        Arc::clone(&heard),
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
    );
    let soon = Duration::from_millis(50);
    let config = WorkerConfig {
        concurrency: 4,
        poll_interval: soon,
        retry: RetryPolicy { base: soon, cap: soon, floor: soon },
        ..WorkerConfig::default()
    };
    let stop = CancellationToken::new();
    let (store, wake) = (PgJobStore::new(db), Arc::clone(db.wake()));
    tokio::spawn(switchyard_workers::run(store, dispatcher, wake, config, stop.clone()));
    (heard, stop.drop_guard())
}

async fn state(db: &Db, id: JobId, wanted: JobState) -> jobs::JobDetail {
    until("the job's state", async || {
        let detail = jobs::show(db, id).await.unwrap();
        (detail.row.state == wanted).then_some(detail)
    })
    .await
}

/// The tables in which the text is found, in whatever column.
async fn found_in(owner: &mut PgConnection, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
         where n.nspname in ('engine', 'switchyard', 'public') and c.relkind in ('r', 'p')
           and not c.relispartition order by 1",
    )
    .fetch_all(&mut *owner)
    .await
    .unwrap();
    assert!(tables.len() > 20, "{tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let sql = format!("select exists (select from {table} t where t::text like '%{text}%')");
        let there = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *owner).await.unwrap();
        if there {
            found.push(table);
        }
    }
    found
}

async fn use_of(db: &Db, key: Option<&str>) -> KeyUse {
    let uses = sealing::uses(db, KeepDays::default()).await.unwrap();
    uses.into_iter().find(|u| u.key.as_deref() == key).unwrap_or_default()
}

fn id_of(key: u8) -> String {
    use switchyard_queue::ArgsCipher;
    ring(&[key]).keys().remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_every_door_the_job_hears_its_secret_and_the_database_does_not() {
    let test = TestDb::new().await;
    let db = with_keys(&test, &[1]);
    let mut owner = test.owner().await;
    // A program's own, and one that was given as a name and JSON (CLI, HTTP).
    let named = registry().parse(Whisper::KIND, json!(whisper(1))).unwrap();
    let direct = NewJob::of(&whisper(0)).unwrap();
    let ids: Vec<JobId> =
        enqueue(&db, vec![direct, named]).await.into_iter().map(|(id, _)| id).collect();
    // The scheduler's.
    let args = json!(whisper(2));
    let spec = ScheduleSpec {
        name: "whisper",
        cron: "* * * * * *",
        tz: "UTC",
        kind: Whisper::KIND,
        args: args.clone(),
        missed: MissedPolicy::Skip,
    };
    let job = registry().parse(Whisper::KIND, args).unwrap();
    let stop = CancellationToken::new();
    let planned = vec![Planned { spec, job }];
    let config = SchedulerConfig::default();
    let scheduler =
        tokio::spawn(switchyard_scheduler::run(db.clone(), planned, config, stop.clone()));
    until("it fires", async || {
        let rows = jobs::list(&db, &Default::default()).await.unwrap();
        (rows.len() == 3).then_some(())
    })
    .await;
    stop.cancel();
    scheduler.await.unwrap();
    assert_eq!(found_in(&mut owner, SECRET).await, Vec::<String>::new(), "before they run");
    let shown = jobs::show(&db, ids[0]).await.unwrap();
    assert_eq!(shown.args, json!({"$sealed": {"key": id_of(1)}}));
    assert!(!format!("{shown:?}").contains("data"), "{shown:?}");
    let glance = switchyard_store::overview::job_args(&db, &ids).await.unwrap();
    assert!(glance.values().all(|a| !a.contains("data")), "{glance:?}");
    assert_eq!(sealing::reveal(&db, ids[1]).await.unwrap(), json!(whisper(1)));

    let (heard, _worker) = work(&db, Some(&[1]));
    for id in &ids {
        state(&db, *id, JobState::Completed).await;
    }
    until("all are heard", async || (heard.lock().unwrap().len() >= 3).then_some(())).await;
    let mut all = heard.lock().unwrap().clone();
    all.sort();
    assert_eq!(all, [0, 1, 2].map(|n| whisper(n).secret));
    assert_eq!(found_in(&mut owner, SECRET).await, Vec::<String>::new(), "after they ran");
    assert_eq!(sealing::reveal(&db, ids[0]).await.unwrap(), json!(whisper(0)), "from history");

    // And what is not secret is found by the same look.
    let loud = enqueue(&db, vec![NewJob::of(&Shout { word: SECRET.into() }).unwrap()]).await[0].0;
    state(&db, loud, JobState::Discarded).await;
    assert_eq!(found_in(&mut owner, SECRET).await, ["engine.jobs"]);
}

#[tokio::test]
async fn the_database_itself_refuses_such_jobs_and_so_does_a_program_without_a_key() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let store = PgJobStore::new(&test.db);
    let info =
        WorkerInfo { declares: registry().kinds().copied().collect(), ..super::support::info() };
    let _presence = store.register(&info).await.unwrap();
    let sql = "select * from engine.enqueue('test.whisper', '{\"secret\": \"x\", \"n\": 1}')";
    let refused = sqlx::raw_sql(sql).execute(&mut owner).await.unwrap_err();
    let told = refused.as_database_error().unwrap();
    assert_eq!(told.code().as_deref(), Some("22023"));
    assert!(told.message().contains("encrypted"), "{told}");
    let loud = "select * from engine.enqueue('test.shout', '{\"word\": \"x\"}')";
    sqlx::raw_sql(loud).execute(&mut owner).await.unwrap();

    let mut tx = test.db.begin(Scope::Platform).await.unwrap();
    let refused = tx.enqueue_all(whispers(0..1)).await.unwrap_err();
    assert!(matches!(refused, StoreFault::Sealed(SealFault::NoKey)), "{refused}");
    let forged = json!({"$sealed": {"key": id_of(1), "data": "AAAA"}});
    let forged = NewJob::raw("k", "q", Duration::from_secs(1), forged, Options::new());
    let refused = with_keys(&test, &[1]).begin(Scope::Platform).await.unwrap();
    let refused = { refused }.enqueue(forged).await.unwrap_err();
    assert!(matches!(refused, StoreFault::Sealed(SealFault::Reserved)), "{refused}");
    // What does not fit is not quoted.
    let misfit = registry().parse(Whisper::KIND, json!({"secret": 7, "n": SECRET})).unwrap_err();
    assert!(misfit.contains("do not fit") && !misfit.contains(SECRET), "{misfit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_key_is_missing_is_tried_again_and_runs_when_the_key_is_there() {
    let test = TestDb::new().await;
    let db = with_keys(&test, &[1]);
    let id = enqueue(&db, whispers(0..1)).await[0].0;
    let ignorant = work(&db, Some(&[2]));
    let failed = state(&db, id, JobState::Retryable).await.row.error.unwrap();
    assert!(failed.contains(&id_of(1)) && failed.contains("encryption.keys"), "{failed}");
    drop(ignorant);
    let keyless = work(&db, None);
    maintenance::promote_due(&db).await.unwrap();
    until("it fails again", async || {
        maintenance::promote_due(&db).await.unwrap();
        (jobs::find(&db, id).await.unwrap().attempt >= 2).then_some(())
    })
    .await;
    drop(keyless);
    // As long as nobody brings the key it ends as a dead letter, which an operator retries.
    let _ignorant = work(&db, Some(&[2]));
    until("it is a dead letter", async || {
        maintenance::promote_due(&db).await.unwrap();
        (jobs::find(&db, id).await.unwrap().state == JobState::Discarded).then_some(())
    })
    .await;
    drop(_ignorant);
    let others = with_keys(&test, &[2]);
    assert_eq!(sealing::missing_keys(&others).await.unwrap(), [(id_of(1), 1)]);
    assert_eq!(sealing::missing_keys(&db).await.unwrap(), []);
    let (heard, _worker) = work(&db, Some(&[2, 1]));
    jobs::retry(&db, id).await.unwrap();
    state(&db, id, JobState::Completed).await;
    assert_eq!(*heard.lock().unwrap(), [whisper(0).secret]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sealed_for_one_job_does_not_run_as_another() {
    let test = TestDb::new().await;
    let db = with_keys(&test, &[1]);
    let mut owner = test.owner().await;
    let placed = enqueue(&db, whispers(0..3)).await;
    // Somebody who can write into the table swaps two of them.
    sqlx::query(
        "update engine.jobs j set args = o.args from engine.jobs o
         where j.id = any($1) and o.id = any($1) and o.id <> j.id",
    )
    .bind(vec![placed[0].0.0, placed[1].0.0])
    .execute(&mut owner)
    .await
    .unwrap();
    let (heard, _worker) = work(&db, Some(&[1]));
    for (id, _) in &placed[..2] {
        let dead = state(&db, *id, JobState::Discarded).await.row;
        assert_eq!(dead.attempt, 1, "no retry can mend it");
        assert!(dead.error.unwrap().contains("sealed for another job"));
    }
    state(&db, placed[2].0, JobState::Completed).await;
    assert_eq!(*heard.lock().unwrap(), [whisper(2).secret]);
    assert_eq!(sealing::reseal(&with_keys(&test, &[2, 1])).await.unwrap().failed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_while_workers_run() {
    let test = TestDb::new().await;
    let old = with_keys(&test, &[1]);
    // One lies there for long; one was enqueued before its kind was encrypted.
    let late = whisper(9999);
    let late = NewJob::with_options(&late, late.options().delay(Duration::from_secs(99)));
    let late = enqueue(&old, vec![late.unwrap()]).await[0].0;
    let mut early = NewJob::of(&whisper(8888)).unwrap();
    early.encrypted = false;
    early.run_at = Some(chrono::Utc::now() + Duration::from_secs(99));
    let early = enqueue(&old, vec![early]).await[0].0;
    let placed = enqueue(&old, whispers(0..1500)).await;

    let both = with_keys(&test, &[2, 1]);
    let (heard, worker) = work(&both, Some(&[2, 1]));
    let mut resealed = 0;
    let rounds = async {
        while use_of(&both, Some(&id_of(1))).await.open > 0 {
            let round = sealing::reseal(&both).await.unwrap();
            assert_eq!(round.failed, 0);
            resealed += round.done;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), rounds)
        .await
        .expect("all are done, or sealed anew");
    assert!(resealed >= 2, "at least those that wait");
    until("all have run, and the two that wait are left", async || {
        let left = use_of(&both, Some(&id_of(2))).await;
        (left.open == 2 && heard.lock().unwrap().len() >= placed.len()).then_some(())
    })
    .await;
    let mut all = heard.lock().unwrap().clone();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), placed.len(), "each heard its own");
    drop(worker);

    // The old key is only needed for what is over.
    let (before, after) =
        (use_of(&both, Some(&id_of(1))).await, use_of(&both, Some(&id_of(2))).await);
    assert_eq!((before.open, before.present, before.current), (0, true, false));
    assert_eq!(before.unique_keys, 1, "of the late one, until it ends");
    assert_eq!((after.open, after.current), (2, true));
    let total = i64::try_from(placed.len()).unwrap();
    assert_eq!(before.history + after.history, total);
    assert!(before.history == 0 || before.history_until > Some(chrono::Utc::now()));
    assert_eq!(use_of(&both, None).await.open, 0, "nothing lies in plain text");
    let mut owner = test.owner().await;
    assert_eq!(found_in(&mut owner, SECRET).await, Vec::<String>::new());

    // Without the old key.
    let new = with_keys(&test, &[2]);
    assert_eq!(sealing::missing_keys(&new).await.unwrap(), []);
    let (heard, _worker) = work(&new, Some(&[2]));
    for id in [late, early] {
        jobs::retry(&new, id).await.unwrap();
        state(&new, id, JobState::Completed).await;
    }
    assert_eq!(heard.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_worker_holds_is_left_alone_and_what_is_locked_is_not_waited_for() {
    let test = TestDb::new().await;
    let placed = enqueue(&with_keys(&test, &[1]), whispers(0..3)).await;
    let mut owner = test.owner().await;
    let mut tx = sqlx::Connection::begin(&mut owner).await.unwrap();
    let lock = sqlx::query("select 1 from engine.jobs where id = $1 for update");
    lock.bind(placed[0].0.0).execute(&mut *tx).await.unwrap();
    let hold =
        "update engine.jobs set worker = 1, fence = 1, claimed_at = now(), lease_until = now()
                where id = $1";
    let mut other = test.owner().await;
    sqlx::query(hold).bind(placed[1].0.0).execute(&mut other).await.unwrap();
    let both = with_keys(&test, &[2, 1]);
    assert_eq!(sealing::reseal(&both).await.unwrap().done, 1, "the third");
    tx.rollback().await.unwrap();
    assert_eq!(sealing::reseal(&both).await.unwrap().done, 1, "the first");
    assert_eq!(use_of(&both, Some(&id_of(1))).await.open, 1, "the second is in somebody's hands");
}

#[tokio::test]
async fn unique_jobs_stay_unique_unread_and_while_keys_change() {
    let test = TestDb::new().await;
    let (old, both) = (with_keys(&test, &[1]), with_keys(&test, &[2, 1]));
    let first = enqueue(&old, whispers(7..8)).await[0];
    assert_eq!(first.1, Placement::Inserted);
    let key = jobs::find(&old, first.0).await.unwrap().unique_key.unwrap();
    let plain = NewJob::of(&whisper(7)).unwrap().unique_key.unwrap();
    assert!(key.starts_with(&format!("test.whisper sealed:{}:", id_of(1))), "{key}");
    assert_ne!(key, plain, "a plain hash could be guessed");
    assert_eq!(enqueue(&old, whispers(7..8)).await[0], (first.0, Placement::Standing));
    assert_eq!(enqueue(&both, whispers(7..8)).await[0], (first.0, Placement::Standing));
    let others = enqueue(&both, whispers(7..9)).await;
    assert_eq!((others[0].1, others[1].1), (Placement::Standing, Placement::Inserted));
    let key = jobs::find(&both, others[1].0).await.unwrap().unique_key.unwrap();
    assert!(key.contains(&id_of(2)), "what is new is held under the new key: {key}");

    // The new arguments are sealed for the job that stands.
    let options = Options::new().unique_by_fields(["n"]).replace_args();
    let one = |word: &str| {
        let job = Whisper { secret: word.to_owned(), n: 1 };
        NewJob::with_options(&job, options.clone()).unwrap()
    };
    let standing = enqueue(&both, vec![one("before")]).await[0].0;
    assert_eq!(enqueue(&both, vec![one("after")]).await[0], (standing, Placement::Replaced));
    let now: Value = sealing::reveal(&both, standing).await.unwrap();
    assert_eq!(now["secret"], "after");

    // A copy of what is over is sealed for itself, under today's key, and holds its key again.
    jobs::cancel(&both, first.0).await.unwrap();
    let copy = jobs::retry(&both, first.0).await.unwrap();
    assert_ne!(copy.id, first.0);
    assert_eq!(sealing::reveal(&both, copy.id).await.unwrap(), json!(whisper(7)));
    assert_eq!(jobs::show(&both, copy.id).await.unwrap().args["$sealed"]["key"], json!(id_of(2)));
    assert_eq!(enqueue(&both, whispers(7..8)).await[0], (copy.id, Placement::Standing));
    jobs::cancel(&both, copy.id).await.unwrap();
    let refused = jobs::retry(&with_keys(&test, &[3]), copy.id).await.unwrap_err();
    assert!(refused.to_string().contains(&id_of(2)), "{refused}");
}
