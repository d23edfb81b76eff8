//! The real SQL beside a model of what it promises ([`reference`]): after every step each job is
//! where the model has it, no way leads where `transitions()` has none, and in the end the books
//! balance. [`walk`] goes every way there is.
//!
//! The short form always does the same. The long one does something else each time:
//! `SWITCHYARD_TEST_MODEL_CASES=2000 ops/test -E 'test(engine::model)'`.

mod ops;
mod reference;
mod walk;

use super::support::{LONG, failure, faults, held, info, job, settlement};
use ops::{Op, Result};
use proptest::test_runner::{Config, RngSeed};
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use reference::{Answer, Model, PARTITIONS, WORKERS};
use sqlx::PgConnection;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use switchyard_queue::{
    ClaimRequest, ClaimedJob, ErrorClass, FailurePolicy, JobId, JobState, JobStore, LaneId,
    LaneTake, NewJob, Options, Presence, SettleAs, WorkerId, Workflow, transitions,
};
use switchyard_store::jobs::{JobFilter, JobRow, Refusal};
use switchyard_store::{Db, PgJobStore, Scope, StoreFault, jobs, maintenance, workflows};
use switchyard_tests::TestDb;
use tokio::runtime::Runtime;

/// Cases after which a new database is taken, so that looking at everything stays cheap.
const CASES_A_DATABASE: u32 = 50;
/// Longer than any test.
const LATER: Duration = Duration::from_secs(3600);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// How many cases there were, and the database of the last ones.
static SHARED: Mutex<(u32, Option<Arc<World>>)> = Mutex::new((0, None));

struct World {
    test: TestDb,
    store: PgJobStore,
}

impl World {
    /// A database of its own: promoting and expiring reach every job that there is.
    fn new() -> Arc<Self> {
        let test = RUNTIME.block_on(TestDb::new());
        // The lines of a store are opened when they are first needed.
        let store = PgJobStore::new(&test.db);
        Arc::new(Self { test, store })
    }

    /// One for some cases, one after the other, and the number of this one.
    fn shared() -> (Arc<Self>, u32) {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let case = shared.0;
        shared.0 += 1;
        if case.is_multiple_of(CASES_A_DATABASE) || shared.1.is_none() {
            shared.1 = Some(Self::new());
        }
        (Arc::clone(shared.1.as_ref().unwrap()), case)
    }

    /// What is wrong with it must not be held against the next case.
    fn spoiled() {
        SHARED.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }
}

/// The engine in one case.
struct Real {
    world: Arc<World>,
    owner: PgConnection,
    case: u32,
    queue: String,
    /// By the model's numbers.
    ids: Vec<JobId>,
    lanes: [Option<LaneId>; PARTITIONS],
    /// Every worker that there was, by the model's numbers.
    workers: Vec<WorkerId>,
    present: Vec<Presence>,
    claims: HashMap<(usize, i64), ClaimedJob>,
}

impl Real {
    /// The model begins with a job in each partition; so does this. Its queue and keys are its own.
    async fn begin((world, case): (Arc<World>, u32)) -> Self {
        let mut present = Vec::new();
        for _ in 0..WORKERS {
            present.push(world.store.register(&info()).await.unwrap());
        }
        let mut real = Self {
            owner: world.test.owner().await,
            world,
            case,
            queue: format!("q{case}"),
            ids: Vec::new(),
            lanes: [None; PARTITIONS],
            workers: present.iter().map(|p| p.id).collect(),
            present,
            claims: HashMap::new(),
        };
        for partition in 0..PARTITIONS {
            real.enqueue(partition, Options::new()).await;
        }
        real
    }

    fn db(&self) -> &Db {
        &self.world.test.db
    }

    fn number(&self, id: JobId) -> usize {
        self.ids.iter().position(|known| *known == id).expect("a job that nobody enqueued")
    }

    fn job(&self, partition: usize, options: Options) -> NewJob {
        let mut job = job("k", options.partition(partition));
        job.queue = self.queue.clone().into();
        job
    }

    /// Does it, and gives the answer in the model's words.
    async fn act(&mut self, op: &Op, model: &Model) -> Answer {
        match *op {
            Op::Enqueue { partition, priority, later, key, replace } => {
                let mut o = Options::new().priority(priority);
                if later {
                    o = o.delay(LATER);
                }
                if let Some(key) = key {
                    o = o.unique_by((self.case, key));
                }
                if replace {
                    o = o.replace_run_at();
                }
                self.enqueue(partition, o).await
            }
            Op::Chain { partition, later, ends_are_enough } => {
                let policy =
                    if ends_are_enough { FailurePolicy::Continue } else { FailurePolicy::Hold };
                let late = if later { Options::new().delay(LATER) } else { Options::new() };
                let flow = Workflow::new("chain")
                    .policy(policy)
                    .add("parent", self.job(partition, Options::new()))
                    .add_after("child", self.job(partition, late), ["parent"]);
                let mut tx = self.db().begin(Scope::Platform).await.unwrap();
                let started = tx.start_workflow(flow).await.unwrap();
                tx.commit().await.unwrap();
                let first = self.ids.len();
                self.ids.extend([started.jobs[1], started.jobs[0]]);
                Answer::New(vec![first, first + 1])
            }
            Op::Claim { worker, partition, take, alone } => {
                let take = if alone { 1 } else { take };
                self.claim(self.present[worker].id, partition, take, alone, model).await
            }
            Op::Settle { result, .. } => self.settle(&model.answer, result).await,
            Op::Renew { .. } => {
                let Answer::Renewed(n, fence, _) = model.answer else { return Answer::Nothing };
                let claimed = held(&self.claims[&(n, fence)]);
                let renewed = self.world.store.renew(&[claimed], LONG).await.unwrap();
                Answer::Renewed(n, fence, renewed.first().map(|r| r.cancel_requested))
            }
            Op::Die(worker) => self.die(worker).await,
            Op::Cancel(n) | Op::Revive(n) | Op::Discard(n) => {
                self.operate(op, n % self.ids.len()).await
            }
            Op::Lapse(n) => {
                let lapse = "update engine.jobs set lease_until = now() - interval '1 second'
                             where id = $1 and worker is not null";
                self.touch(n, lapse).await
            }
            Op::ComeDue(n) => {
                let due = "update engine.jobs set run_at = statement_timestamp()
                           where id = $1 and stage = 1";
                self.touch(n, due).await
            }
            Op::Expire(n) => {
                let late = "update engine.jobs set deadline = now() - interval '1 second'
                            where id = $1";
                let answer = self.touch(n, late).await;
                maintenance::end_overdue(self.db()).await.unwrap();
                answer
            }
            Op::Promote => {
                maintenance::promote_due(self.db()).await.unwrap();
                maintenance::fold_counters(self.db()).await.unwrap();
                Answer::Nothing
            }
            Op::Pause(paused) => {
                jobs::pause(self.db(), &self.queue, paused).await.unwrap();
                Answer::Nothing
            }
            Op::PausePartition(n, paused) => {
                let partition = n.to_string();
                jobs::pause_partition(self.db(), &self.queue, &partition, paused).await.unwrap();
                Answer::Nothing
            }
        }
    }

    async fn enqueue(&mut self, partition: usize, options: Options) -> Answer {
        let new = self.job(partition, options);
        let mut tx = self.db().begin(Scope::Platform).await.unwrap();
        let answer = tx.enqueue(new).await.unwrap();
        tx.commit().await.unwrap();
        if !answer.inserted() {
            return Answer::Stands(self.number(answer.id), answer.what);
        }
        self.lanes[partition] = Some(answer.lane);
        self.ids.push(answer.id);
        Answer::New(vec![self.ids.len() - 1])
    }

    async fn claim(
        &mut self,
        worker: WorkerId,
        partition: usize,
        take: usize,
        alone: bool,
        model: &Model,
    ) -> Answer {
        let lane = self.lanes[partition].expect("every case begins with a job in each partition");
        let lanes = [LaneTake::whole(lane, u32::try_from(take).unwrap())];
        let kinds = ["k".to_owned()];
        let dead: Vec<WorkerId> = model.dead.iter().map(|n| self.workers[*n]).collect();
        let request =
            ClaimRequest { worker, kinds: &kinds, lanes: &lanes, lease: LONG, dead: &dead, alone };
        let claimed = self.world.store.claim(&request).await.unwrap().jobs;
        let mut answer = Vec::new();
        for job in claimed {
            let n = self.number(job.id);
            answer.push((n, job.fence.0, job.crashes));
            self.claims.insert((n, job.fence.0), job);
        }
        Answer::Claimed(answer)
    }

    /// `expected` says which claim it is about.
    async fn settle(&self, expected: &Answer, result: Result) -> Answer {
        let Answer::Written(n, fence, _) = *expected else { return Answer::Nothing };
        let claimed = &self.claims[&(n, fence)];
        let result = match result {
            Result::Commit => return Answer::Written(n, fence, self.commit(claimed).await),
            Result::Complete => SettleAs::Completed,
            Result::GiveUp => SettleAs::Cancelled("dice".into()),
            Result::Retry => SettleAs::Retry(LATER, failure()),
            Result::Snooze => SettleAs::Snooze(LATER),
            Result::Fail => SettleAs::Discard(failure()),
            Result::GiveBack => SettleAs::GiveBack,
        };
        let stood = self.world.store.settle(&[settlement(claimed, result)]).await.unwrap();
        Answer::Written(n, fence, stood == [claimed.id])
    }

    async fn commit(&self, claimed: &ClaimedJob) -> bool {
        match self.db().begin_job(claimed).await {
            Ok(tx) => match tx.done().await {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.class(), ErrorClass::Lost, "{error:?}");
                    false
                }
            },
            Err(StoreFault::LeaseLost) => false,
            Err(fault) => panic!("{fault:?}"),
        }
    }

    /// The worker's connection ends, somebody notices, and another worker takes its place.
    async fn die(&mut self, worker: usize) -> Answer {
        let successor = self.world.store.register(&info()).await.unwrap();
        self.workers.push(successor.id);
        let gone = std::mem::replace(&mut self.present[worker], successor);
        let id = gone.id;
        drop(gone);
        super::support::until("a dead worker is found", async || {
            self.world.store.reap(None).await.unwrap().gone.contains(&id).then_some(())
        })
        .await;
        Answer::Nothing
    }

    async fn operate(&mut self, op: &Op, n: usize) -> Answer {
        let (db, id) = (self.db(), self.ids[n]);
        let answer = match op {
            Op::Cancel(_) => jobs::cancel(db, id).await,
            Op::Discard(_) => jobs::discard(db, id).await,
            _ => jobs::retry(db, id).await,
        };
        match answer {
            Ok(row) if row.id == id => Answer::Acted(n, row.state),
            Ok(copy) => {
                self.ids.push(copy.id);
                Answer::Copied(n, self.ids.len() - 1)
            }
            Err(Refusal::WrongState(state)) => Answer::WrongState(n, state),
            Err(Refusal::KeyHeld(by)) => Answer::KeyHeld(n, self.number(by)),
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Time passes for one job.
    async fn touch(&mut self, n: usize, statement: &'static str) -> Answer {
        let n = n % self.ids.len();
        sqlx::query(statement).bind(self.ids[n].0).execute(&mut self.owner).await.unwrap();
        Answer::Touched(n)
    }

    /// Does it as the model did it.
    async fn step(&mut self, op: &Op, model: &Model) {
        let answer = self.act(op, model).await;
        assert_eq!(answer, model.answer, "left: the engine, right: the model, after {op:?}");
        // The scheduler's part: what ended in a claim, or by a deadline, is told its workflow.
        workflows::advance_left(self.db()).await.unwrap();
        for way in &model.went {
            assert!(transitions().contains(way), "{op:?} led a way that is not there: {way:?}");
        }
    }

    /// Every job is exactly once somewhere, and there as the model has it.
    async fn compare(&self, model: &Model) {
        let filter =
            JobFilter { queue: Some(self.queue.clone()), limit: 1000, ..JobFilter::default() };
        let rows = jobs::list(self.db(), &filter).await.unwrap();
        assert_eq!(rows.len(), model.jobs.len(), "open and finished jobs: {rows:#?}");
        for row in rows {
            let n = self.number(row.id);
            assert_eq!(seen(&row), self.expected(model, n), "job {n}: engine, model");
        }
    }

    fn expected(&self, model: &Model, n: usize) -> Seen {
        let job = &model.jobs[n];
        let worker = job.holder.map(|w| self.workers[w]);
        (job.state, job.attempt, job.crashes, job.cancel_requested, worker)
    }
}

type Seen = (JobState, i16, i16, bool, Option<WorkerId>);

/// A finished job names who finished it; the model does not follow that.
fn seen(row: &JobRow) -> Seen {
    let worker = row.worker.filter(|_| !row.state.is_final());
    (row.state, row.attempt, row.crashes, row.cancel_requested, worker)
}

struct AgainstSql;

impl StateMachineTest for AgainstSql {
    type SystemUnderTest = Real;
    type Reference = Model;

    fn init_test(_: &Model) -> Real {
        RUNTIME.block_on(Real::begin(World::shared()))
    }

    fn apply(mut real: Real, model: &Model, op: Op) -> Real {
        RUNTIME.block_on(real.step(&op, model));
        real
    }

    fn check_invariants(real: &Real, model: &Model) {
        RUNTIME.block_on(real.compare(model));
    }

    fn teardown(mut real: Real, _: Model) {
        let faults = RUNTIME.block_on(faults(&mut real.owner));
        if !faults.is_empty() {
            World::spoiled();
            panic!("the books do not balance: {faults:#?}");
        }
    }
}

fn config() -> Config {
    let cases = std::env::var("SWITCHYARD_TEST_MODEL_CASES").ok().and_then(|n| n.parse().ok());
    Config {
        rng_seed: if cases.is_some() { RngSeed::Random } else { RngSeed::Fixed(7) },
        cases: cases.unwrap_or(12),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn the_engine_does_what_the_model_does(sequential 40..80 => AgainstSql);
}
