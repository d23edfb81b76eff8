//! Unique jobs: by key, by arguments, for a time, and what a new job changes in a standing one.

use super::support::{Bench, audit, count, failure};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use switchyard_queue::{
    ClaimedJob, Enqueued, JobId, NewJob, Options, Placement, SettleAs, UniqueUntil,
};
use switchyard_store::{Scope, jobs, maintenance};

const HOUR: Duration = Duration::from_secs(3600);

fn with(args: Value, options: Options) -> NewJob {
    NewJob::raw("k", "q", Duration::from_secs(30), args, options)
}

async fn put(bench: &Bench, args: Value, options: Options) -> Enqueued {
    bench.enqueue(vec![with(args, options)]).await[0]
}

async fn args_of(bench: &Bench, id: JobId) -> Value {
    jobs::show(&bench.test.db, id).await.unwrap().args
}

#[tokio::test]
async fn equal_arguments_are_the_same_job() {
    let bench = Bench::new().await;
    let all = || Options::new().unique_by_args();
    let first = put(&bench, json!({"lead": 7, "to": ["a", "b"]}), all()).await;
    let same = put(&bench, json!({"to": ["a", "b"], "lead": 7.0}), all()).await;
    assert_eq!((same.what, same.id), (Placement::Standing, first.id));
    assert!(put(&bench, json!({"lead": 7, "to": ["b", "a"]}), all()).await.inserted());

    let by_lead = || Options::new().unique_by_fields(["lead"]);
    let lead = put(&bench, json!({"lead": 7, "n": 1}), by_lead()).await;
    assert!(lead.inserted(), "some of the arguments are another key than all of them");
    assert_eq!(put(&bench, json!({"n": 2, "lead": 7}), by_lead()).await.id, lead.id);
    assert!(put(&bench, json!({"n": 1, "lead": 8}), by_lead()).await.inserted());
    assert!(put(&bench, json!({"n": 1}), by_lead()).await.inserted());
    assert!(!put(&bench, json!({"lead": null}), by_lead()).await.inserted(), "missing is null");
    audit(&mut bench.test.owner().await).await;
}

#[tokio::test]
async fn a_key_for_a_time_is_held_that_long_whatever_becomes_of_the_job() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let hourly = || Options::new().unique_by("report").unique_for(HOUR);
    let mut last = None;
    for end in
        [SettleAs::Completed, SettleAs::Cancelled("unwanted".into()), SettleAs::Discard(failure())]
    {
        let one = put(&bench, json!(1), hourly()).await;
        assert!(one.inserted(), "the time before is over");
        assert_ne!(last, Some(one.id));
        let claimed = bench.claim(1).await.pop().unwrap();
        assert_eq!(claimed.id, one.id);
        assert!(bench.settle(&claimed, end).await);
        let again = put(&bench, json!(1), hourly()).await;
        assert_eq!((again.what, again.id), (Placement::Standing, one.id));
        audit(&mut owner).await;
        last = Some(one.id);
        sqlx::raw_sql("update engine.job_uniques set until = now() - interval '1 second'")
            .execute(&mut owner)
            .await
            .unwrap();
    }
    // Nobody asks for it again: the upkeep removes it, and leaves what is still held.
    assert!(put(&bench, json!(1), hourly().unique_by("other")).await.inserted());
    assert!(put(&bench, json!(1), Options::new().unique_by("open")).await.inserted());
    assert_eq!(maintenance::forget_lapsed(&bench.test.db).await.unwrap(), 1);
    assert_eq!(count(&mut owner, "select count(*) from engine.job_uniques").await, 2);
    audit(&mut owner).await;
}

fn until_start() -> Options {
    Options::new().unique_by("sync").unique_until(UniqueUntil::Start)
}

#[tokio::test]
async fn a_key_until_the_start_is_free_once_its_job_has_begun() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let first = put(&bench, json!(1), until_start()).await;
    let same = put(&bench, json!(2), until_start()).await;
    assert_eq!((same.what, same.id), (Placement::Standing, first.id));
    assert!(
        put(&bench, json!(2), Options::new().unique_by("sync")).await.inserted(),
        "another key"
    );

    let running = bench.claim(5).await.into_iter().find(|j| j.id == first.id).unwrap();
    let second = put(&bench, json!(3), until_start().replace_args()).await;
    assert!(second.inserted(), "what changed since the first began must not be missed");
    // Tried again it does not take its key back, and what becomes of it frees nobody else's.
    let again = SettleAs::Retry(Duration::ZERO, failure());
    assert!(bench.settle(&running, again).await);
    assert_eq!(put(&bench, json!(4), until_start()).await.id, second.id);
    sqlx::raw_sql("update engine.jobs set stage = 0, run_at = now() where stage = 1")
        .execute(&mut owner)
        .await
        .unwrap();
    let running = bench.claim(5).await.into_iter().find(|j| j.id == first.id).unwrap();
    assert!(bench.settle(&running, SettleAs::Completed).await);
    let third = put(&bench, json!(5), until_start().replace_args()).await;
    // The claim above took the second as well.
    assert!(third.inserted());
    assert_eq!(put(&bench, json!(6), until_start().replace_args()).await.what, Placement::Replaced);
    assert_eq!(args_of(&bench, third.id).await, json!(6));
    jobs::cancel(&bench.test.db, third.id).await.unwrap();
    assert!(put(&bench, json!(7), until_start()).await.inserted(), "it went without having begun");
}

#[tokio::test]
async fn whoever_is_told_of_a_job_that_has_not_begun_can_rely_on_it() {
    let bench = Bench::new().await;
    let first = put(&bench, json!(1), until_start()).await;
    let mut told = bench.test.db.begin(Scope::Platform).await.unwrap();
    let answers = told.enqueue_all(vec![with(json!(2), until_start())]).await.unwrap();
    assert_eq!(answers[0].id, first.id);
    // Others are told of it at the same time, from SQL as well.
    assert_eq!(put(&bench, json!(3), until_start()).await.id, first.id);
    let call = "select id from engine.enqueue('k', queue => 'q', unique_key => 'sync', unique_until => 'start')";
    let mut owner = bench.test.owner().await;
    let id: uuid::Uuid = sqlx::query_scalar(call).fetch_one(&mut owner).await.unwrap();
    assert_eq!(JobId(id), first.id);
    assert!(bench.claim(1).await.is_empty(), "it would not see what is not committed yet");
    told.commit().await.unwrap();
    assert_eq!(bench.claim(1).await.len(), 1);
    let next: uuid::Uuid = sqlx::query_scalar(call).fetch_one(&mut owner).await.unwrap();
    assert_ne!(JobId(next), first.id);
    for wrong in [
        "select engine.enqueue('k', queue => 'q', unique_key => 'x', unique_until => 'end')",
        "select engine.enqueue('k', queue => 'q', unique_until => 'start')",
    ] {
        let refused = sqlx::raw_sql(wrong).execute(&mut owner).await.expect_err(wrong);
        assert!(refused.to_string().contains("unique_until is start or finish"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_ask_at_once_one_takes_a_key_whose_job_has_begun() {
    let bench = Bench::new().await;
    let key = |n: u32| Options::new().unique_by(n).unique_until(UniqueUntil::Start);
    let all = |order: &[u32]| order.iter().map(|n| with(json!(n), key(*n))).collect::<Vec<_>>();
    let up: Vec<u32> = (0..30).collect();
    let down: Vec<u32> = up.iter().rev().copied().collect();
    bench.enqueue(all(&up)).await;
    assert_eq!(bench.claim(30).await.len(), 30);
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let (db, replace) = (bench.test.db.clone(), n % 3 == 0);
            let mut jobs = all(if n % 2 == 0 { &up } else { &down });
            if replace {
                jobs = jobs
                    .iter()
                    .map(|j| {
                        with(
                            j.args.clone(),
                            key(serde_json::from_value(j.args.clone()).unwrap()).replace_args(),
                        )
                    })
                    .collect();
            }
            tokio::spawn(async move {
                let mut tx = db.begin(Scope::Platform).await.unwrap();
                let answers = tx.enqueue_all(jobs).await.unwrap();
                tx.commit().await.unwrap();
                answers.iter().filter(|a| a.inserted()).count()
            })
        })
        .collect();
    let mut inserted = 0;
    for task in tasks {
        inserted += task.await.unwrap();
    }
    assert_eq!(inserted, 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lapsed_key_is_taken_by_one_of_those_who_ask() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    sqlx::raw_sql(
        "insert into engine.job_uniques (key, job_id, until)
         select format('k %s', n), gen_random_uuid(), now() - interval '1 day'
         from generate_series(1, 30) n",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let db = bench.test.db.clone();
            tokio::spawn(async move {
                let mut jobs: Vec<_> = (1..=30)
                    .map(|k| with(json!(n), Options::new().unique_by(k).unique_for(HOUR)))
                    .collect();
                if n % 2 == 1 {
                    jobs.reverse();
                }
                let mut tx = db.begin(Scope::Platform).await.unwrap();
                let answers = tx.enqueue_all(jobs).await.unwrap();
                tx.commit().await.unwrap();
                answers.iter().filter(|a| a.inserted()).count()
            })
        })
        .collect();
    let mut inserted = 0;
    for task in tasks {
        inserted += task.await.unwrap();
    }
    assert_eq!(inserted, 30);
    assert_eq!(count(&mut owner, "select count(*) from engine.jobs").await, 30);
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_standing_job_that_has_not_begun_is_changed() {
    let bench = Bench::new().await;
    let mut owner = bench.test.owner().await;
    let one = || Options::new().unique_by("one");
    let first = put(&bench, json!(1), one().delay(HOUR)).await;
    assert_eq!(first.what, Placement::Inserted);

    let args = put(&bench, json!(2), one().partition("elsewhere").replace_args()).await;
    assert_eq!((args.what, args.id), (Placement::Replaced, first.id));
    assert_eq!(args.lane, first.lane, "it stays in its lane");
    assert_eq!(args_of(&bench, first.id).await, json!(2));
    assert!(bench.claim(1).await.is_empty(), "its time is the old one");

    let time = put(&bench, json!(3), one().replace_run_at()).await;
    assert_eq!((time.what, time.id), (Placement::Replaced, first.id));
    assert_eq!(args_of(&bench, first.id).await, json!(2), "only the time was to be changed");
    audit(&mut owner).await;
    put(&bench, json!(3), one().delay(HOUR).replace_run_at()).await;
    audit(&mut owner).await;
    assert!(bench.claim(1).await.is_empty(), "put off again");
    put(&bench, json!(3), one().replace_run_at()).await;

    // Of several in one batch the last counts, for each of the two by itself.
    let both = bench
        .enqueue(vec![
            with(json!(4), one().replace_args()),
            with(json!(5), one().replace_args()),
            with(json!(6), one().replace_run_at()),
            with(json!(7), one()),
        ])
        .await;
    let whats: Vec<_> = both.iter().map(|e| e.what).collect();
    let replaced = Placement::Replaced;
    assert_eq!(whats, [replaced, replaced, replaced, Placement::Standing]);
    let claimed = bench.claim(1).await.pop().unwrap();
    assert_eq!((claimed.id, claimed.args), (first.id, json!(5)));
    audit(&mut owner).await;
}

#[tokio::test]
async fn a_job_that_has_begun_is_left_alone() {
    let bench = Bench::new().await;
    let one = || Options::new().unique_by("one").replace_args().replace_run_at();
    let running = bench.running(one()).await;
    let late = put(&bench, json!("new"), one()).await;
    assert_eq!((late.what, late.id), (Placement::Standing, running.id));
    let wait = SettleAs::Retry(HOUR, failure());
    assert!(bench.settle(&running, wait).await);
    let late = put(&bench, json!("new"), one()).await;
    assert_eq!(late.what, Placement::Standing, "a job between two attempts has begun");
    assert_eq!(args_of(&bench, running.id).await, running.args);

    // In its own transaction a change is undone like everything else.
    let mut tx = bench.test.db.begin(Scope::Platform).await.unwrap();
    let other = || Options::new().unique_by("other").replace_args();
    let first = tx.enqueue(with(json!(1), other())).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = bench.test.db.begin(Scope::Platform).await.unwrap();
    assert_eq!(tx.enqueue(with(json!(2), other())).await.unwrap().what, Placement::Replaced);
    tx.rollback().await.unwrap();
    assert_eq!(args_of(&bench, first.id).await, json!(1));
    audit(&mut bench.test.owner().await).await;
}

/// Enqueuers change the standing job while a worker claims it, over and over: whoever is told that
/// the arguments were replaced must be right, or be replaced in turn before the job begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_to_be_replaced_is_what_runs() {
    const EACH: u32 = 60;
    let bench = Bench::new().await;
    let enqueuers: Vec<_> = (0..4_u32)
        .map(|who| {
            let db = bench.test.db.clone();
            tokio::spawn(async move {
                let mut told = Vec::new();
                for n in 0..EACH {
                    let mark = who * EACH + n;
                    let options = Options::new().unique_by("one").replace_args().replace_run_at();
                    let mut tx = db.begin(Scope::Platform).await.unwrap();
                    let answer = tx.enqueue(with(json!(mark), options)).await.unwrap();
                    tx.commit().await.unwrap();
                    told.push((answer, mark));
                }
                told
            })
        })
        .collect();
    let mut ran: HashMap<JobId, u32> = HashMap::new();
    let mut finish = async |claimed: Vec<ClaimedJob>| {
        for job in claimed {
            let mark = u32::try_from(job.args.as_u64().unwrap()).unwrap();
            assert!(ran.insert(job.id, mark).is_none(), "no job begins twice");
            assert!(bench.settle(&job, SettleAs::Completed).await);
        }
    };
    while !enqueuers.iter().all(|e| e.is_finished()) {
        finish(bench.claim(1).await).await;
    }
    finish(bench.claim(1).await).await;

    let mut marks: HashMap<JobId, Vec<u32>> = HashMap::new();
    let mut inserted = 0;
    let mut replaced = 0;
    for enqueuer in enqueuers {
        for (answer, mark) in enqueuer.await.unwrap() {
            inserted += usize::from(answer.inserted());
            replaced += usize::from(answer.what == Placement::Replaced);
            if answer.what != Placement::Standing {
                marks.entry(answer.id).or_default().push(mark);
            }
        }
    }
    assert_eq!(ran.len(), inserted, "every inserted job ran");
    assert!(replaced > 0, "nothing was ever replaced: the test shows nothing");
    for (id, mark) in &ran {
        assert!(marks[id].contains(mark), "{id} ran with {mark}, which nobody was told");
        // One enqueuer's changes of one job come one after the other: its last one counts.
        let newer = marks[id].iter().any(|m| m / EACH == mark / EACH && m > mark);
        assert!(!newer, "{id} ran with {mark}, though a later change was told: {:?}", marks[id]);
    }
    audit(&mut bench.test.owner().await).await;
}
