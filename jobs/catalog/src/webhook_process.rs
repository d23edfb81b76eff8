//! `webhook.process`: judges one event by its portal's settings of today; what fits becomes a lead.

use crate::fault::OrFail;
use crate::{DistributeLead, Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{EventId, FieldFault, Headers, StandardLead};
use switchyard_queue::{Context, Job, JobResult, NewJob, QueueName};
use switchyard_store::events::{self, EventState, EventToProcess};
use switchyard_store::leads;

/// Judges one event.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProcessWebhook {
    /// The event.
    pub event: EventId,
}

impl Job for ProcessWebhook {
    type State = Platform;

    const KIND: &'static str = "webhook.process";
    const ABOUT: &'static str = "Maps one webhook event to a lead, or rejects it with the reasons.";
    const QUEUE: QueueName = queues::WEBHOOKS;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const MAX_ATTEMPTS: u16 = 15;

    // Not unique: the event's key admits one delivery, and a lead is unique by its event.

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
        let event = events::load(&mut tx, self.event).await.or_fail()?;
        if event.state == EventState::Processed {
            return tx.done().await;
        }
        let version = event.portal_version;
        match judge(&event) {
            Ok(lead) => {
                let stored = leads::store(&mut tx, event.id, event.portal, version, &lead).await;
                let stored = stored.or_fail()?;
                if stored.new {
                    let next = NewJob::of(&DistributeLead { lead: stored.lead }).or_fail()?;
                    tx.enqueue(cx.follow_up(next)).await.or_fail()?;
                }
            }
            Err(reasons) => {
                events::mark_rejected(&mut tx, event.id, version, &reasons).await.or_fail()?;
            }
        }
        tx.done().await
    }
}

/// The lead that the event stands for, or everything that is wrong with it. Settings that cannot
/// be read are a reason like any other: the event waits for them to be mended.
fn judge(event: &EventToProcess) -> Result<StandardLead, Vec<FieldFault>> {
    let fault = |field: &str, code: &str, message: String| {
        vec![FieldFault { field: field.to_owned(), code: code.to_owned(), message }]
    };
    let settings = PortalSettings::parse(&event.settings).map_err(|faults| {
        let at = |f: FieldFault| FieldFault { field: format!("portal settings {}", f.field), ..f };
        faults.into_iter().map(at).collect::<Vec<_>>()
    })?;
    let body = serde_json::from_slice(&event.body)
        .map_err(|e| fault("body", "invalid_json", format!("The body is no JSON: {e}.")))?;
    let headers: Headers = serde_json::from_value(event.headers.clone())
        .map_err(|e| fault("headers", "unreadable", format!("The stored headers: {e}.")))?;
    settings.lead(&body, &headers)
}
