//! Writers that keep a database busy: transactions of random steps, some rolled back whole, some in
//! part, until they are told to stop.

use super::Database;
use sqlx::{AssertSqlSafe, PgConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Writers at work.
pub struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

/// A small generator of random numbers (xorshift), so that a run can be had again.
pub struct Dice(u64);

impl Dice {
    /// The same seed, the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `below`.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % below
    }
}

impl Writers {
    /// Starts `count` of them, each with a connection of its own.
    pub async fn start(database: &Database, count: u64, steps: &'static [&'static str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for seed in 0..count {
            let mut connection = database.connect().await;
            let (stop, committed) = (Arc::clone(&stop), Arc::clone(&committed));
            tasks.push(tokio::spawn(async move {
                let mut dice = Dice::new(seed + 1);
                while !stop.load(Ordering::Relaxed) {
                    if transaction(&mut connection, &mut dice, steps).await {
                        committed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        Self { stop, committed, tasks }
    }

    /// How many transactions were committed.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Waits until `more` further transactions were committed.
    pub async fn commit(&self, more: u64) {
        let goal = self.committed() + more;
        while self.committed() < goal {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets each finish what it is at.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a writer ends well");
        }
        self.committed.load(Ordering::Relaxed)
    }
}

/// One transaction; whether it was committed. What a neighbour's lock or key refuses is rolled back.
async fn transaction(connection: &mut PgConnection, dice: &mut Dice, steps: &[&str]) -> bool {
    run(connection, "begin").await;
    run(connection, "set local lock_timeout = '2s'").await;
    for n in 0..=dice.roll(5) {
        if dice.roll(3) > 0 {
            if !step(connection, dice, steps).await {
                return !run(connection, "rollback").await;
            }
            continue;
        }
        run(connection, &format!("savepoint s{n}")).await;
        let done = step(connection, dice, steps).await;
        if !done || dice.roll(2) == 0 {
            run(connection, &format!("rollback to s{n}")).await;
        } else {
            run(connection, &format!("release s{n}")).await;
        }
    }
    if dice.roll(6) == 0 {
        run(connection, "rollback").await;
        return false;
    }
    run(connection, "commit").await
}

async fn step(connection: &mut PgConnection, dice: &mut Dice, steps: &[&str]) -> bool {
    let which = usize::try_from(dice.roll(steps.len() as u64)).expect("small");
    let (n, m) = (dice.roll(1_000_000).to_string(), dice.roll(1_000_000).to_string());
    run(connection, &steps[which].replace("$n", &n).replace("$m", &m)).await
}

async fn run(connection: &mut PgConnection, sql: &str) -> bool {
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await {
        Ok(_) => true,
        // Deadlocks, lock timeouts, keys taken, a transaction that has failed already.
        Err(sqlx::Error::Database(e)) => {
            let code = e.code().unwrap_or_default().into_owned();
            let expected = ["40P01", "55P03", "23505", "23503", "25P02", "40001"];
            assert!(expected.contains(&code.as_str()), "{e}\n{sql}");
            false
        }
        Err(e) => panic!("{e}\n{sql}"),
    }
}
