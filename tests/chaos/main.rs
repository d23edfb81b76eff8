//! Things are killed while leads run. Every accepted webhook must end as exactly one lead and one
//! assignment, and no message may reach a provider's socket twice.
//!
//! [`storm`] and [`poison`] do the same to jobs of their own, which tell a witness what they do;
//! [`network`] and [`clocks`] harm not the processes but what they go by; [`tally`] does all of it at
//! once. [`accepted`] kills the API alone and counts what it had promised. In [`soak`] nobody is harmed.
//!
//! The short forms run with all tests; the long ones are told in `tests/README.md`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)] // tests that print figures

mod accepted;
mod audit;
mod books;
mod clocks;
mod commissions;
mod fleet;
mod herd;
mod jobs;
mod network;
mod payouts;
mod poison;
mod soak;
mod storm;
mod tally;
mod traffic;
mod witness;

use fleet::Fleet;
use nix::sys::signal::Signal;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(120);

fn leads() -> usize {
    std::env::var("SWITCHYARD_TEST_CHAOS_LEADS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

fn traffic(fleet: &Fleet) -> JoinHandle<anyhow::Result<Vec<String>>> {
    tokio::spawn(traffic::send(fleet.url(), fleet.portal_key.clone(), leads(), 8))
}

async fn finish(what: &str, fleet: Fleet, sending: JoinHandle<anyhow::Result<Vec<String>>>) {
    let events = sending.await.unwrap().unwrap();
    audit::settle(&fleet, PATIENCE).await.unwrap();
    let findings = audit::audit(&fleet, &events).await.unwrap();
    fleet.stop().await;
    findings.judge(what);
}

#[tokio::test]
async fn workers_api_and_schedulers_are_killed() {
    let mut fleet = Fleet::start(3, false).await.unwrap();
    let sending = traffic(&fleet);
    // While leads come in, so that the victim is in the middle of work; then the dust may settle.
    let mut round = 0;
    while round < 6 || (!sending.is_finished() && round < leads() / 20) {
        // Not a wait for a condition: this is the rhythm of the disaster.
        sleep(Duration::from_millis(250)).await;
        fleet.kill_worker(round).await.unwrap();
        if round % 4 == 1 {
            fleet.kill_api().await.unwrap();
        }
        if round % 4 == 3 {
            fleet.kill_scheduler().await.unwrap();
        }
        round += 1;
    }
    println!("{round} workers were killed");
    finish("kill -9", fleet, sending).await;
}

#[tokio::test]
async fn redis_is_flushed_and_restarted() {
    let mut fleet = Fleet::start(2, true).await.unwrap();
    let sending = traffic(&fleet);
    for _ in 0..3 {
        sleep(Duration::from_millis(200)).await;
        fleet.wreck_redis().await.unwrap();
    }
    finish("Redis flushed and restarted", fleet, sending).await;
}

#[tokio::test]
async fn postgres_is_restarted() {
    let fleet = Fleet::start(2, false).await.unwrap();
    let sending = traffic(&fleet);
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        sleep(Duration::from_millis(300)).await;
        fleet.end_postgres(signal).await.unwrap();
        // It is back when it answers.
        fleet.owner().await.unwrap();
    }
    finish("PostgreSQL restarted", fleet, sending).await;
}
