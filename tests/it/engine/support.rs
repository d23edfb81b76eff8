//! Jobs that mean nothing, a worker without a program, and looks behind the curtain.

use serde_json::json;
use sqlx::PgConnection;
use std::future::Future;
use std::time::{Duration, Instant};
use switchyard_queue::{
    ActiveLane, ClaimRequest, ClaimedJob, Enqueued, ErrorReport, Held, JobStore, KindInfo,
    LaneTake, NewJob, Options, Presence, QueueName, Retention, SettleAs, Settlement, WorkerId,
    WorkerInfo,
};
use switchyard_store::{PgJobStore, Scope};
use switchyard_tests::TestDb;

/// A lease that no test outlives.
pub const LONG: Duration = Duration::from_secs(600);

/// A job in queue `q`.
pub fn job(kind: &'static str, options: Options) -> NewJob {
    NewJob::raw(kind, "q", Duration::from_secs(30), json!({"n": 1}), options)
}

/// A failure.
pub fn failure() -> ErrorReport {
    ErrorReport { class: "error", message: "it broke\nbecause".into() }
}

/// Who a worker says it is.
pub fn info() -> WorkerInfo {
    WorkerInfo {
        host: "test".into(),
        pid: std::process::id(),
        version: "0".into(),
        kinds: vec!["k".into()],
        queues: vec!["q".into()],
        declares: Vec::new(),
    }
}

/// What a worker may say of kind `k`, which was `old.k` once.
pub fn kind() -> KindInfo {
    KindInfo {
        kind: "k",
        aliases: &["old.k"],
        version: 1,
        reads_from: 1,
        about: "",
        queue: QueueName("q"),
        timeout: Duration::from_secs(30),
        max_attempts: 20,
        deadline: None,
        retention: Retention::Standard,
        stuck_after: None,
        encrypted: false,
    }
}

/// A database with one worker at it.
pub struct Bench {
    pub test: TestDb,
    pub store: PgJobStore,
    pub presence: Presence,
}

impl Bench {
    pub async fn new() -> Self {
        let test = TestDb::new().await;
        let store = PgJobStore::new(&test.db);
        let presence = store.register(&info()).await.unwrap();
        Self { test, store, presence }
    }

    /// A worker comes, says this of a kind, and goes.
    pub async fn declare(&self, kind: KindInfo) {
        let who = WorkerInfo { declares: vec![kind], ..info() };
        drop(self.store.register(&who).await.unwrap());
    }

    pub async fn enqueue(&self, jobs: Vec<NewJob>) -> Vec<Enqueued> {
        let mut tx = self.test.db.begin(Scope::Platform).await.unwrap();
        let answers = tx.enqueue_all(jobs).await.unwrap();
        tx.commit().await.unwrap();
        answers
    }

    /// One job, enqueued and claimed.
    pub async fn running(&self, options: Options) -> ClaimedJob {
        let id = self.enqueue(vec![job("k", options)]).await[0].id;
        let claimed = self.claim(1).await.pop().unwrap();
        assert_eq!(claimed.id, id);
        claimed
    }

    /// Claims up to `take` jobs of kind `k` from each active lane of `q`, for a long time.
    pub async fn claim(&self, take: u32) -> Vec<ClaimedJob> {
        claim_as(&self.store, self.presence.id, take, LONG, &[]).await
    }

    pub async fn settle(&self, job: &ClaimedJob, result: SettleAs) -> bool {
        let done = self.store.settle(&[settlement(job, result)]).await.unwrap();
        done == [job.id]
    }
}

pub async fn claim_as(
    store: &PgJobStore,
    worker: WorkerId,
    take: u32,
    lease: Duration,
    dead: &[WorkerId],
) -> Vec<ClaimedJob> {
    let lanes = lanes_of(store, take).await;
    let kinds = ["k".to_owned()];
    let request = ClaimRequest { worker, kinds: &kinds, lanes: &lanes, lease, dead, alone: false };
    store.claim(&request).await.unwrap().jobs
}

/// Every active lane of `q` as it is.
pub async fn lanes_of(store: &PgJobStore, take: u32) -> Vec<LaneTake> {
    let lanes = store.active_lanes(&["q".to_owned()]).await.unwrap();
    let take =
        |l: ActiveLane| LaneTake { limited: !l.limits.is_empty(), ..LaneTake::whole(l.lane, take) };
    lanes.into_iter().map(take).collect()
}

/// Claims one job as a worker does that has nothing else in hand.
pub async fn claim_alone(
    store: &PgJobStore,
    worker: WorkerId,
    dead: &[WorkerId],
) -> Option<ClaimedJob> {
    let lanes = lanes_of(store, 1).await;
    let kinds = ["k".to_owned()];
    let request =
        ClaimRequest { worker, kinds: &kinds, lanes: &lanes, lease: LONG, dead, alone: true };
    store.claim(&request).await.unwrap().jobs.pop()
}

pub fn held(job: &ClaimedJob) -> Held {
    Held { id: job.id, fence: job.fence }
}

pub fn settlement(job: &ClaimedJob, result: SettleAs) -> Settlement {
    Settlement { held: held(job), result, ran: Duration::from_millis(5) }
}

/// The one number that a question has for an answer.
pub async fn count(owner: &mut PgConnection, question: &'static str) -> i64 {
    sqlx::query_scalar(question).fetch_one(owner).await.unwrap()
}

/// How many rows of these tables were read since they were made, once nobody but workers' presences has a
/// session: a session tells what it read when it ends.
pub async fn reads_when_alone(owner: &mut PgConnection, tables: &[&str]) -> i64 {
    const OTHERS: &str = "select count(*) from pg_stat_activity a
      where a.datname = current_database() and a.pid <> pg_backend_pid()
        and a.application_name <> 'switchyard presence'";
    while count(owner, OTHERS).await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sqlx::query_scalar(
        "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables
         where schemaname || '.' || relname = any($1)",
    )
    .bind(tables)
    .fetch_one(owner)
    .await
    .unwrap()
}

/// Asks again until there is an answer, at most ten seconds long.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whatever is wrong with the books: counters that differ from a recount, keys without a job, jobs
/// without their key, claims that nobody holds.
pub async fn faults(owner: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "with counted as (
           select lane, kind, state, sum(n)::bigint n
           from (select lane, kind, state, n from engine.counters
                 union all select lane, kind, state, n from engine.counter_deltas) c
           group by 1, 2, 3 having sum(n) <> 0
         ), real as (
           select lane, kind, state, count(*) n
           from (select lane, kind, engine.job_state(stage, attempt, worker) state from engine.jobs
                 union all select lane, kind, outcome from engine.job_history) j
           group by 1, 2, 3
         )
         select format('lane %s kind %s state %s: counted %s, real %s', lane, kind, state, c.n, r.n)
         from counted c full join real r using (lane, kind, state)
         where c.n is distinct from r.n
         union all
         select format('key %s of job %s, which is not open', u.key, u.job_id)
         from engine.job_uniques u left join engine.jobs j
           on j.id = u.job_id and j.unique_key = u.key and j.stage <> 5
         where j.id is null and u.until is null
         union all
         select format('job %s has no lane', id) from engine.jobs
         where lane not in (select id from engine.lanes)
         union all
         select format('job %s was left without its place', job_id) from engine.unplaced
         union all
         select format('job %s is open without its key', j.id)
         from engine.jobs j left join engine.job_uniques u on u.key = j.unique_key and u.job_id = j.id
         where j.unique_key is not null and j.stage <> 5 and u.key is null
         union all
         select format('job %s: half a claim', id) from engine.jobs
         where (worker is null) <> (lease_until is null) or (worker is null) <> (claimed_at is null)
            or (worker is not null and stage <> 0) or (worker is null and cancel_requested)
         union all
         select format('job %s waits for nothing', j.id)
         from engine.jobs j left join engine.workflow_jobs n on n.job_id = j.id
         where j.stage = 2 and coalesce(n.waits_on, 0) <= 0
           and not exists (select from engine.workflow_events e where e.workflow = j.workflow)
         union all
         select format('workflow %s counts %s/%s/%s, its jobs %s/%s/%s', w.id, w.completed, w.failed,
           w.cancelled, n.completed, n.failed, n.cancelled)
         from engine.workflows w cross join lateral (
           select count(*) filter (where state = 8) as completed,
             count(*) filter (where state = 7) as failed,
             count(*) filter (where state = 9) as cancelled, count(*) as total
           from engine.workflow_jobs n where n.workflow = w.id) n
         where (w.completed, w.failed, w.cancelled, w.total)
           <> (n.completed, n.failed, n.cancelled, n.total)
         union all
         select format('job %s of workflow %s ended as %s, and the workflow says %s', h.id, n.workflow,
           h.outcome, n.state)
         from engine.workflow_jobs n join engine.job_history h on h.id = n.job_id
         where n.state is distinct from h.outcome
           and not exists (select from engine.workflow_events e where e.job_id = n.job_id)
         union all
         select format('charges of job %s: %s, but they should be %s', j.id,
           (select array_agg(c.limit_id order by 1) from engine.charges c where c.job_id = j.id), j.charged)
         from engine.jobs j
         where (select coalesce(array_agg(c.limit_id order by c.limit_id), '{}') from engine.charges c
                where c.job_id = j.id)
           <> (select coalesce(array_agg(u order by u), '{}')
               from unnest(case when j.worker is not null then j.charged end) u
               where u in (select id from engine.limits))
         union all
         select format('job %s is charged to limit %s and is not open', c.job_id, c.limit_id)
         from engine.charges c where not exists (select from engine.jobs j where j.id = c.job_id)
         union all
         select format('job %s is both open and finished', j.id)
         from engine.jobs j join engine.job_history h on h.id = j.id",
    )
    .fetch_all(owner)
    .await
    .unwrap()
}

/// Fails if [`faults`] finds any.
pub async fn audit(owner: &mut PgConnection) {
    assert_eq!(faults(owner).await, Vec::<String>::new());
}
