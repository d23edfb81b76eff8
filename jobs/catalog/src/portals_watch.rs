//! `portals.watch`: learns how often each portal sends, and raises an alarm for those that have gone silent.

use crate::fault::OrFail;
use crate::{Platform, alarms, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_queue::{Context, Job, JobResult, Options, QueueName, Retention};
use switchyard_store::backups::alarms::{Severity, Wrong};
use switchyard_store::pulse::{self, Silence};

/// What the keys of these alarms begin with; the portal's code follows.
const ALARMS: &str = "portal.silent.";

/// Looks at what came since the last time. Everything it knows is in the database, so any worker may
/// run it.
#[derive(Debug, Serialize, Deserialize)]
pub struct WatchPortals {}

impl Job for WatchPortals {
    type State = Platform;

    const KIND: &'static str = "portals.watch";
    const ABOUT: &'static str = "Learns how often portals send and marks those that went silent.";
    const QUEUE: QueueName = queues::MAINTENANCE;
    const TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_ATTEMPTS: u16 = 3;
    const RETENTION: Retention = Retention::Short;

    fn options(&self) -> Options {
        Options::new().unique_by("all")
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        loop {
            let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
            if pulse::learn(&mut tx).await.or_fail()? && !cx.cancelled().is_cancelled() {
                tx.commit().await.or_fail()?;
                cx.heartbeat("counting what came");
                continue;
            }
            let changed = pulse::judge(&mut tx).await.or_fail()?;
            for portal in changed {
                let code = portal.code;
                if portal.silent {
                    let usual = portal.usual_gap.as_secs();
                    tracing::warn!(
                        portal = code,
                        usual_gap_seconds = usual,
                        "a portal went silent"
                    );
                } else {
                    tracing::info!(portal = code, "a portal sends again");
                }
            }
            let silent = pulse::silences(&mut tx).await.or_fail()?;
            let wrong: Vec<Wrong> = silent.iter().map(alarm).collect();
            alarms::keep(&mut tx, cx, ALARMS, &wrong).await?;
            return tx.done().await;
        }
    }
}

fn alarm(silence: &Silence) -> Wrong {
    let Silence { code, last_event_at, usual_gap } = silence;
    let hours = usual_gap.as_secs_f64() / 3600.0;
    Wrong {
        key: format!("{ALARMS}{code}"),
        severity: Severity::Warning,
        text: format!(
            "The portal {code} has sent nothing since {} UTC; its pauses are usually no longer than \
             {hours:.1} hours. Look at its refused requests (`switchyard portals show {code}`, or the \
             portal's page), and ask the sender whether its webhook is still on. If the portal is not \
             meant to send any more, close it.",
            last_event_at.format("%F %T"),
        ),
    }
}
