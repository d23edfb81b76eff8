//! Random operations by several at once: nothing is lost, nothing is there twice, nothing completes
//! twice, and in the end the books balance. What each operation does by itself, [`super::model`] says.

use super::support::{Bench, audit, claim_as, count, failure, info, job, settlement};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use switchyard_queue::{
    ClaimedJob, Enqueued, Entropy, JobId, JobStore, Options, SeededEntropy, SettleAs, WorkerId,
};
use switchyard_store::jobs::Refusal;
use switchyard_store::limits::{self, LimitScope};
use switchyard_store::{Db, PgJobStore, Scope, StoreFault, jobs, maintenance};
use uuid::Uuid;

/// One client that does whatever the dice say.
struct Player {
    db: Db,
    store: PgJobStore,
    me: WorkerId,
    dice: SeededEntropy,
    held: Vec<ClaimedJob>,
    known: Vec<JobId>,
    /// The jobs that are there by this player's doing.
    enqueued: HashSet<JobId>,
    /// How often each job was told to have completed here.
    completed: HashMap<JobId, u32>,
}

impl Player {
    fn below(&self, n: usize) -> usize {
        ((self.dice.unit() * n as f64) as usize).min(n - 1)
    }

    async fn step(&mut self) {
        match self.below(11) {
            0..=2 => self.enqueue().await,
            10 => self.steer().await,
            3 | 4 => self.claim().await,
            5 | 6 => self.settle().await,
            7 => self.operate().await,
            8 => {
                maintenance::promote_due(&self.db).await.unwrap();
                maintenance::fold_counters(&self.db).await.unwrap();
                maintenance::forget_lapsed(&self.db).await.unwrap();
            }
            _ => self.own_transaction().await,
        }
    }

    async fn enqueue(&mut self) {
        let jobs = (0..1 + self.below(6))
            .map(|_| {
                let mut o = Options::new()
                    .partition(self.below(3))
                    .priority(i16::try_from(self.below(3)).unwrap());
                if self.below(2) == 0 {
                    o = o.unique_by(self.below(5));
                    o = match self.below(4) {
                        0 => o.replace_args().replace_run_at(),
                        1 => o.unique_for(Duration::from_millis(20)),
                        _ => o,
                    };
                }
                if self.below(3) == 0 {
                    o = o.delay(Duration::from_millis(20));
                }
                job("k", o)
            })
            .collect();
        let mut tx = self.db.begin(Scope::Platform).await.unwrap();
        match tx.enqueue_all(jobs).await {
            Ok(_) if self.below(8) == 0 => tx.rollback().await.unwrap(),
            Ok(answers) => {
                tx.commit().await.unwrap();
                self.known.extend(answers.iter().map(|a| a.id));
                self.enqueued.extend(answers.iter().filter(|a| a.inserted()).map(|a| a.id));
            }
            // A key changed hands too often: the caller would try again.
            Err(fault) => assert!(fault.is_transient(), "{fault:?}"),
        }
    }

    async fn claim(&mut self) {
        // Now and then everybody's claims are taken for void: fences must hold.
        let dead: Vec<WorkerId> =
            if self.below(12) == 0 { (1..20).map(WorkerId).collect() } else { Vec::new() };
        let take = u32::try_from(1 + self.below(4)).unwrap();
        let lease = Duration::from_millis(if self.below(6) == 0 { 1 } else { 600_000 });
        self.held.extend(claim_as(&self.store, self.me, take, lease, &dead).await);
    }

    async fn settle(&mut self) {
        // A job that was lost and claimed again is held twice, under two fences: the answer names
        // jobs, so the two go into different batches.
        let n = self.held.len().min(1 + self.below(8));
        let mut ids = HashSet::new();
        let (now, later): (Vec<_>, Vec<_>) = self.held.drain(..n).partition(|j| ids.insert(j.id));
        self.held.extend(later);
        let results: Vec<_> = now
            .into_iter()
            .map(|j| {
                let wait = Duration::from_millis(10);
                let result = match self.below(7) {
                    0 | 1 => SettleAs::Completed,
                    2 => SettleAs::Cancelled("dice".into()),
                    3 => SettleAs::Retry(wait, failure()),
                    4 => SettleAs::Snooze(wait),
                    5 => SettleAs::Discard(failure()),
                    _ => SettleAs::GiveBack,
                };
                settlement(&j, result)
            })
            .collect();
        let stood = self.store.settle(&results).await.unwrap();
        for r in results.iter().filter(|r| matches!(r.result, SettleAs::Completed)) {
            if stood.contains(&r.held.id) {
                *self.completed.entry(r.held.id).or_default() += 1;
            }
        }
    }

    async fn own_transaction(&mut self) {
        let Some(mine) = self.held.pop() else { return };
        match self.db.begin_job(&mine).await {
            Ok(mut tx) => {
                let next = tx.enqueue(job("k", Options::new().unique_by(self.below(5)))).await.ok();
                if tx.done().await.is_ok() {
                    *self.completed.entry(mine.id).or_default() += 1;
                    self.enqueued.extend(next.filter(Enqueued::inserted).map(|a| a.id));
                }
            }
            Err(StoreFault::LeaseLost) => {}
            Err(fault) => panic!("{fault:?}"),
        }
    }

    async fn operate(&mut self) {
        if self.known.is_empty() {
            return;
        }
        let id = self.known[self.below(self.known.len())];
        let answer = match self.below(3) {
            0 => jobs::retry(&self.db, id).await,
            1 => jobs::cancel(&self.db, id).await,
            _ => jobs::discard(&self.db, id).await,
        };
        match answer {
            Ok(row) => {
                self.known.push(row.id);
                // Of a finished job there is a copy now.
                if row.id != id {
                    self.enqueued.insert(row.id);
                }
            }
            Err(Refusal::Store(fault)) => assert!(fault.is_transient(), "{fault:?}"),
            Err(_) => {}
        }
    }

    /// Whoever stops something lets it go on with as much luck.
    async fn steer(&mut self) {
        let paused = self.below(3) == 0;
        let steered = match self.below(2) {
            0 => jobs::pause(&self.db, "q", paused).await,
            _ => jobs::pause_partition(&self.db, "q", &self.below(3).to_string(), paused).await,
        };
        match steered {
            // Nobody has enqueued anything yet.
            Ok(()) | Err(StoreFault::NotFound) => {}
            Err(fault) => assert!(fault.is_transient(), "{fault:?}"),
        }
    }
}

async fn players(bench: &Bench, seed: u64, n: u64) -> Vec<Player> {
    let mut players = Vec::new();
    for i in 0..n {
        let store = PgJobStore::new(&bench.test.db);
        let presence = store.register(&info()).await.unwrap();
        players.push(Player {
            db: bench.test.db.clone(),
            store,
            me: presence.id,
            dice: SeededEntropy::new(seed * 1000 + i),
            held: Vec::new(),
            known: Vec::new(),
            enqueued: HashSet::new(),
            completed: HashMap::new(),
        });
    }
    players
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_balance_after_many_at_once() {
    let bench = Bench::new().await;
    // Charges come and go with the claims of one partition.
    let scope = LimitScope::Partition { queue: "q".into(), partition: "2".into() };
    limits::set(&bench.test.db, &scope, Some(3), None).await.unwrap();
    let tasks: Vec<_> = players(&bench, 42, 6)
        .await
        .into_iter()
        .map(|mut player| {
            tokio::spawn(async move {
                for _ in 0..150 {
                    player.step().await;
                }
                (player.completed, player.enqueued)
            })
        })
        .collect();
    let mut completed: HashMap<JobId, u32> = HashMap::new();
    let mut enqueued: HashSet<JobId> = HashSet::new();
    for task in tasks {
        let (some, theirs) = task.await.unwrap();
        for (id, n) in some {
            *completed.entry(id).or_default() += n;
        }
        enqueued.extend(theirs);
    }
    assert!(completed.len() > 50, "it did something");
    assert!(completed.values().all(|n| *n == 1), "nothing completes twice");
    let mut owner = bench.test.owner().await;
    audit(&mut owner).await;
    let in_history: Vec<Uuid> =
        sqlx::query_scalar("select id from engine.job_history where outcome = 8")
            .fetch_all(&mut owner)
            .await
            .unwrap();
    assert_eq!(in_history.len(), completed.len());
    assert!(in_history.iter().all(|id| completed.contains_key(&JobId(*id))));
    let everywhere = "select id from engine.jobs union all select id from engine.job_history";
    let there: Vec<Uuid> = sqlx::query_scalar(everywhere).fetch_all(&mut owner).await.unwrap();
    assert_eq!(there.len(), enqueued.len(), "open and finished jobs, and what was enqueued");
    assert_eq!(there.into_iter().map(JobId).collect::<HashSet<_>>(), enqueued);
    let crashes = "select count(*) from engine.job_attempts where outcome = 'crash'";
    assert!(count(&mut owner, crashes).await > 5, "claims were taken over");
}
