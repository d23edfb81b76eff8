//! Being the leader, or waiting to become it.

use crate::fire::Line;
use crate::trouble::Trouble;
use crate::{SchedulerConfig, chores, fire};
use std::time::Duration;
use switchyard_store::{Db, LeaderLock, StoreFault};
use tokio_util::sync::CancellationToken;

/// How often the leader makes sure that it still is.
const CHECK: Duration = Duration::from_millis(500);

/// Stands for the lead until `shutdown` fires.
pub(crate) async fn run(
    db: Db,
    lines: Vec<Line>,
    config: SchedulerConfig,
    shutdown: CancellationToken,
) {
    show_leader(false);
    let mut trouble = Trouble::new("stand for the lead");
    while !shutdown.is_cancelled() {
        match shutdown.run_until_cancelled(campaign(&db, &config)).await {
            None => return,
            Some(Ok(lock)) => {
                trouble.over();
                lead(lock, &db, &lines, &config, &shutdown).await;
            }
            Some(Err(fault)) => {
                // A second at most: the lead must not stay vacant while the database is back.
                let pause = trouble.again(&fault).min(config.campaign_interval);
                shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
        }
    }
}

/// Waits until the lead is ours.
async fn campaign(db: &Db, config: &SchedulerConfig) -> Result<LeaderLock, StoreFault> {
    let mut lock = LeaderLock::connect(db).await?;
    while !lock.try_acquire().await? {
        tokio::time::sleep(config.campaign_interval).await;
    }
    Ok(lock)
}

/// Leads until the lock is lost or `shutdown` fires. Everything that the leader does ends before
/// the lock is given up; if the lock was lost, what is under way is harmless beside a new leader's.
async fn lead(
    mut lock: LeaderLock,
    db: &Db,
    lines: &[Line],
    config: &SchedulerConfig,
    shutdown: &CancellationToken,
) {
    tracing::info!("this scheduler leads");
    show_leader(true);
    let term = shutdown.child_token();
    let mut work = chores::start(db, config, &term);
    work.spawn(fire::run(db.clone(), lines.to_vec(), config.clone(), term.clone()));
    let lost = term.run_until_cancelled(watch(&mut lock, &mut work)).await;
    term.cancel();
    while work.join_next().await.is_some() {}
    show_leader(false);
    match lost {
        // At the end the tasks may be seen to have ended before the end itself is seen.
        _ if shutdown.is_cancelled() => lock.release().await,
        Some(why) => tracing::warn!(why, "this scheduler no longer leads; another takes over"),
        None => lock.release().await,
    }
}

/// Ends, with the reason, when the lead is lost.
async fn watch(lock: &mut LeaderLock, work: &mut tokio::task::JoinSet<()>) -> String {
    loop {
        tokio::select! {
            // None of the tasks ends by itself: it panicked. Whoever leads next starts it anew.
            _ = work.join_next() => return "a task of the leader ended".to_owned(),
            () = tokio::time::sleep(CHECK) => {}
        }
        match lock.is_held().await {
            Ok(true) => {}
            Ok(false) => {
                return "the lock is not ours: is there a transaction pooler in between?"
                    .to_owned();
            }
            Err(fault) => return crate::trouble::chain(&fault),
        }
    }
}

fn show_leader(leads: bool) {
    metrics::gauge!("switchyard_scheduler_leader").set(if leads { 1.0 } else { 0.0 });
}
