//! The engine's periodic maintenance, done by the leader. Each chore runs on its own: one that
//! fails, hangs or panics holds up no other.

use crate::SchedulerConfig;
use crate::trouble::Trouble;
use futures::FutureExt;
use futures::future::BoxFuture;
use metrics::{Gauge, gauge};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_store::backups::{alarms as backup_alarms, restored, runs};
use switchyard_store::jobs::bulk;
use switchyard_store::{
    Db, Result, Scope, commissions, jobs, limits, maintenance, pulse, schedules, workflows,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Limits whose use is shown.
const MOST_LIMITS: u32 = 200;

type Work = Box<dyn Fn(Db) -> BoxFuture<'static, Result<u64>> + Send + Sync>;

/// What a chore that is under way gets to come to its end.
const GRACE: Duration = Duration::from_secs(1);

struct Chore {
    what: &'static str,
    every: Duration,
    work: Work,
}

fn chore<F, R>(what: &'static str, every: Duration, work: F) -> Chore
where
    F: Fn(Db) -> R + Send + Sync + 'static,
    R: Future<Output = Result<u64>> + Send + 'static,
{
    Chore { what, every, work: Box::new(move |db| work(db).boxed()) }
}

/// All of them. Each is idempotent and safe to run in two processes at once, because a leader that
/// lost its lock may not know yet.
fn all(config: &SchedulerConfig) -> Vec<Chore> {
    let keep = config.keep_days;
    let hour = Duration::from_secs(3600);
    vec![
        chore("promote due jobs", Duration::from_millis(200), |db| async move {
            maintenance::promote_due(&db).await
        }),
        chore("let workflows go on", Duration::from_millis(200), |db| async move {
            workflows::advance_left(&db).await
        }),
        chore("end cancelled workflows", Duration::from_secs(1), |db| async move {
            workflows::end_cancelled(&db).await
        }),
        chore("fold the counters", Duration::from_secs(1), |db| async move {
            maintenance::fold_counters(&db).await
        }),
        chore("fold the failures", Duration::from_secs(1), |db| async move {
            maintenance::fold_errors(&db).await
        }),
        chore("end what is overdue", Duration::from_secs(1), |db| async move {
            maintenance::end_overdue(&db).await
        }),
        chore("park what nobody knows", Duration::from_secs(5), |db| async move {
            maintenance::park_unknown(&db, maintenance::PARKING_PATIENCE).await
        }),
        chore("forget lapsed keys", Duration::from_secs(60), |db| async move {
            maintenance::forget_lapsed(&db).await
        }),
        count_stuck(),
        count_limited(),
        show_silent(),
        show_backups(),
        show_commissions(),
        chore("make slices ahead", hour, |db| async move { maintenance::ensure_slices(&db).await }),
        // One slice a minute: after an upgrade that finds a month of them, claims still come first.
        chore("seal the slices of past days", Duration::from_secs(60), |db| async move {
            maintenance::seal_slice(&db).await
        }),
        chore(
            "bulk operations",
            Duration::from_millis(500),
            |db| async move { bulk::work(&db).await },
        ),
        chore("forget old bulk operations", hour * 24, move |db| async move {
            bulk::forget(&db, keep.standard).await
        }),
        // Every hour, because a full backup may be reading them at any one time.
        chore("drop old slices", hour, move |db| async move {
            maintenance::drop_slices(&db, keep).await
        }),
        chore("forget old failures", hour * 24, move |db| async move {
            maintenance::forget_errors(&db, keep.standard).await
        }),
        chore("forget old effects", hour * 24, move |db| async move {
            maintenance::forget_effects(&db, keep.longest()).await
        }),
        chore("forget workers of long ago", hour * 24, move |db| async move {
            maintenance::forget_workers(&db, keep.longest()).await
        }),
        chore("forget old workflows", hour * 24, move |db| async move {
            workflows::forget(&db, keep.standard).await
        }),
        chore("forget old firings", hour * 24, move |db| async move {
            schedules::forget_firings(&db, keep.standard).await
        }),
    ]
}

/// Shows how many jobs of each kind are stuck, for as long as this process leads.
fn count_stuck() -> Chore {
    let shown = Arc::new(Shown::new(|kind| gauge!("switchyard_jobs_stuck", "kind" => kind)));
    chore("count stuck jobs", Duration::from_secs(10), move |db| {
        let shown = Arc::clone(&shown);
        async move {
            let kinds = jobs::stuck(&db).await?;
            shown.show(kinds.iter().map(|k| (k.kind.clone(), k.n.unsigned_abs())));
            Ok(kinds.iter().map(|k| k.n.unsigned_abs()).sum())
        }
    })
}

/// Shows how many jobs run under each limit, for as long as this process leads. Those that were made
/// from a pattern, one for each agency perhaps, are in its number.
fn count_limited() -> Chore {
    let shown = Arc::new(Shown::new(|limit| gauge!("switchyard_limit_running", "limit" => limit)));
    chore("count limited jobs", Duration::from_secs(10), move |db| {
        let shown = Arc::clone(&shown);
        async move {
            let mut all = limits::list(&db, MOST_LIMITS).await?;
            all.retain(|l| !l.from_pattern);
            shown.show(all.iter().map(|l| (l.scope.to_string(), l.running)));
            Ok(all.iter().map(|l| l.running).sum())
        }
    })
}

/// Shows which portals are silent for longer than is usual, for as long as this process leads.
fn show_silent() -> Chore {
    let shown = Arc::new(Shown::new(|code| gauge!("switchyard_portal_silent", "portal" => code)));
    chore("show silent portals", Duration::from_secs(30), move |db| {
        let shown = Arc::clone(&shown);
        async move {
            let codes = pulse::silent(&db).await?;
            let n = codes.len() as u64;
            shown.show(codes.into_iter().map(|code| (code, 1)));
            Ok(n)
        }
    })
}

/// Shows how backups stand, for as long as this process leads. Times are Unix time, so that whoever
/// watches sees an age grow even if nobody tells anything any more.
fn show_backups() -> Chore {
    let alarms = Arc::new(Shown::new(|key| gauge!("switchyard_alarm_open", "alarm" => key)));
    chore("show backups", Duration::from_secs(15), move |db| {
        let alarms = Arc::clone(&alarms);
        async move {
            let held = restored::awaits_release(&db).await?;
            gauge!("switchyard_awaits_release").set(f64::from(u8::from(held)));
            let mut tx = db.begin(Scope::Platform).await?;
            let open = backup_alarms::open(&mut tx).await?;
            let latest = runs::latest(&mut tx).await?;
            tx.rollback().await?;
            alarms.show(open.into_iter().map(|a| (a.key, 1)));
            for run in &latest {
                let kind = run.kind.as_str();
                let ended = run.finished_at.unwrap_or(run.began_at);
                gauge!("switchyard_backup_last_success_seconds", "kind" => kind).set(unix(ended));
                if let Some(covers) = run.covers {
                    gauge!("switchyard_backup_covers_seconds", "kind" => kind).set(unix(covers));
                }
            }
            Ok(latest.len() as u64)
        }
    })
}

/// Shows how many commission events are not booked, for as long as this process leads.
fn show_commissions() -> Chore {
    let events =
        Arc::new(Shown::new(|state| gauge!("switchyard_commission_events", "state" => state)));
    // In whole seconds, by how long the one has waited that waits longest.
    let oldest = Arc::new(Shown::new(
        |state| gauge!("switchyard_commission_oldest_seconds", "state" => state),
    ));
    chore("show unbooked commissions", Duration::from_secs(30), move |db| {
        let (events, oldest) = (Arc::clone(&events), Arc::clone(&oldest));
        async move {
            let mut tx = db.begin(Scope::Platform).await?;
            let open = commissions::backlog(&mut tx).await?;
            tx.rollback().await?;
            let counts =
                [("pending", open.pending), ("waiting", open.waiting), ("refused", open.refused)];
            let shown = counts.map(|(state, n)| (state.to_owned(), n.unsigned_abs()));
            events.show(shown.into_iter());
            let age = open.oldest_pending.map_or(0, |age| age.as_secs());
            oldest.show([("pending".to_owned(), age)].into_iter());
            Ok(open.pending.unsigned_abs())
        }
    })
}

/// Seconds of Unix time.
fn unix(at: chrono::DateTime<chrono::Utc>) -> f64 {
    // Far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    let seconds = at.timestamp() as f64;
    seconds
}

/// Gauges by the value of their label. What is gone shows 0, and so does all of it when this process
/// leads no longer: it must not go on telling old numbers.
struct Shown {
    gauge: fn(String) -> Gauge,
    labels: Mutex<BTreeSet<String>>,
}

impl Shown {
    fn new(gauge: fn(String) -> Gauge) -> Self {
        Self { gauge, labels: Mutex::default() }
    }

    fn show(&self, numbers: impl Iterator<Item = (String, u64)>) {
        let mut shown = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *shown);
        for (label, n) in numbers {
            // Far below 2^52.
            #[allow(clippy::cast_precision_loss)]
            (self.gauge)(label.clone()).set(n as f64);
            shown.insert(label);
        }
        before.difference(&shown).for_each(|label| (self.gauge)(label.clone()).set(0.0));
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        for label in self.labels.get_mut().unwrap_or_else(PoisonError::into_inner).iter() {
            (self.gauge)(label.clone()).set(0.0);
        }
    }
}

/// Starts them; they stop when `term` ends.
pub(crate) fn start(db: &Db, config: &SchedulerConfig, term: &CancellationToken) -> JoinSet<()> {
    let start = |chore: Chore| {
        let trouble = Trouble::new(chore.what);
        supervise(chore, trouble, db.clone(), term.clone())
    };
    all(config).into_iter().map(start).collect()
}

async fn supervise(chore: Chore, mut trouble: Trouble, db: Db, term: CancellationToken) {
    loop {
        // Almost always it ends in a moment. Dropping a statement in the middle breaks its connection
        // off, which the pool replaces, or rolls back what has not begun, and the server warns of it.
        let late = async {
            term.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let done = tokio::select! {
            done = once(&chore, &db) => done,
            () = late => return,
        };
        let pause = match done {
            Ok(Ok(n)) => {
                trouble.over();
                tracing::trace!(task = chore.what, n, "done");
                chore.every
            }
            Ok(Err(fault)) => trouble.again(&fault),
            Err(Panicked) => trouble.panicked(),
        };
        if term.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

struct Panicked;

async fn once(chore: &Chore, db: &Db) -> std::result::Result<Result<u64>, Panicked> {
    AssertUnwindSafe((chore.work)(db.clone())).catch_unwind().await.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use switchyard_queue::{Wake, WakeToken};
    use switchyard_store::{DbConfig, StoreFault};
    use tokio::sync::broadcast;

    struct Silence;

    impl Wake for Silence {
        fn send(&self, _: &[WakeToken]) {}
        fn subscribe(&self) -> broadcast::Receiver<WakeToken> {
            broadcast::channel(1).1
        }
    }

    #[tokio::test]
    async fn a_chore_that_fails_or_panics_is_tried_again_after_a_wait() {
        let url = "postgres://nobody@127.0.0.1:1/none".to_owned().into();
        let db = Db::connect(DbConfig::new(url), Arc::new(Silence)).expect("a URL");
        let runs = Arc::new(AtomicU32::new(0));
        let term = CancellationToken::new();
        let (count, end) = (Arc::clone(&runs), term.clone());
        let began = std::time::Instant::now();
        let chore = chore("test", Duration::from_millis(40), move |_| {
            let n = count.fetch_add(1, Ordering::SeqCst);
            let end = end.clone();
            async move {
                match n {
                    0 => Err(StoreFault::NotFound),
                    1 => panic!("on purpose"),
                    2 => Ok(0),
                    _ => {
                        end.cancel();
                        Ok(0)
                    }
                }
            }
        });
        supervise(chore, Trouble::waiting("test", Duration::from_millis(10)), db, term).await;
        assert_eq!(runs.load(Ordering::SeqCst), 4);
        // Twice as long after the second failure, then the chore's own interval.
        assert!(began.elapsed() >= Duration::from_millis(10 + 20 + 40));
    }
}
