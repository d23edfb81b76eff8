//! Draining a queue, a partition or a kind: it is paused, and what runs is waited for.

use super::jobs::away;
use super::output::{Failure, Output};
use crate::Fault;
use serde_json::Value;
use std::time::{Duration, Instant};
use switchyard_store::jobs::{self, Drained};
use switchyard_store::{Db, StoreFault};

/// How often the jobs that run are counted.
const LOOK: Duration = Duration::from_millis(200);
/// Workers hear of a pause within a second and may take jobs until then: only afterwards does "none runs"
/// hold for good.
const HEARD: Duration = Duration::from_secs(2);

/// Drains it; `unknown` is the fault if there is no such thing, `answer` what names it in JSON.
///
/// # Errors
/// `still_running` if some of its jobs run after all that time; it stays paused.
pub(super) async fn drain(
    db: &Db,
    what: Drained<'_>,
    wait: Duration,
    unknown: impl Fn(StoreFault) -> Fault,
    mut answer: Value,
    output: Output,
) -> Result<(), Failure> {
    let paused = jobs::drain(db, what).await;
    let (begun, mut running) = (Instant::now(), paused.map_err(unknown)?);
    let name = name(what);
    while running > 0 || begun.elapsed() < HEARD {
        if running > 0 && begun.elapsed() >= wait {
            let what = format!("{name} is paused, but {running} of its jobs still run");
            let remedy = "wait again with a longer --wait, or `switchyard jobs cancel` them";
            return Err(Fault::new("still_running", what).remedy(remedy).into());
        }
        tokio::time::sleep(LOOK).await;
        running = jobs::running(db, what).await.map_err(away)?;
    }
    answer["paused"] = true.into();
    answer["running"] = 0.into();
    output.answer(&answer, || format!("{name} is paused and none of its jobs runs"));
    Ok(())
}

fn name(what: Drained<'_>) -> String {
    match what {
        Drained::Queue(queue) => queue.to_owned(),
        Drained::Partition { queue, partition } => format!("partition {partition} of {queue}"),
        Drained::Kind(kind) => format!("kind {kind}"),
    }
}
