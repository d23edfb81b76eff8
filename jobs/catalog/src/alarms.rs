//! Alarms go to the people that `alarms.email` names and to the address of `alarms.webhook`: when
//! something goes wrong, again and again while it is wrong, and when it is over.

mod tell;

pub use tell::TellAlarm;

use crate::Platform;
use crate::fault::OrFail;
use std::time::Duration;
use switchyard_providers::GuardedClient;
use switchyard_queue::{Context, JobError, NewJob};
use switchyard_store::Tx;
use switchyard_store::backups::alarms::{self, Alarm, Wrong};

/// Who hears of alarms. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Alarms {
    /// Addresses.
    pub email: Vec<String>,
    /// A URL that gets a POST with JSON.
    pub webhook: Option<String>,
    /// What posts it; keeps to the same rules as other outbound webhooks.
    pub client: Option<GuardedClient>,
    /// An alarm that stays open is told again after this.
    pub repeat: Duration,
}

impl Default for Alarms {
    /// Nobody; they are seen on the dashboard and in the log.
    fn default() -> Self {
        Self {
            email: Vec::new(),
            webhook: None,
            client: None,
            repeat: Duration::from_secs(6 * 3600),
        }
    }
}

/// An alarm that people are told of.
pub(crate) struct Told {
    pub(crate) alarm: Alarm,
    /// It is over.
    pub(crate) over: bool,
}

/// Makes the open alarms of this prefix what was found, and enqueues the telling.
pub(crate) async fn keep(
    tx: &mut Tx,
    cx: &Context<Platform>,
    prefix: &str,
    found: &[Wrong],
) -> Result<Vec<Told>, JobError> {
    let channels = &cx.state().alarms;
    let told = alarms::keep(tx, prefix, found, channels.repeat).await.or_fail()?;
    let told: Vec<Told> =
        told.into_iter().map(|a| Told { over: a.resolved_at.is_some(), alarm: a }).collect();
    let mut jobs = Vec::new();
    for t in &told {
        let to = channels.email.iter().map(|a| Some(a.clone()));
        for email in to.chain(channels.webhook.is_some().then_some(None)) {
            let at = t.alarm.resolved_at.or(t.alarm.told_at).unwrap_or(t.alarm.since);
            let job = TellAlarm { alarm: t.alarm.id, email, over: t.over, at };
            jobs.push(cx.follow_up(NewJob::of(&job).or_fail()?));
        }
    }
    tx.enqueue_all(jobs).await.or_fail()?;
    Ok(told)
}
