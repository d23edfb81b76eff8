//! `webhook.process`: judges one event by its portal's settings of today; what fits becomes a lead.

use crate::fault::OrFail;
use crate::{DistributeLead, Platform, outbound, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::mapping::{Judged, Judgement};
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{EventId, FieldFault, Headers};
use switchyard_queue::{Context, Job, JobError, JobResult, NewJob, QueueName};
use switchyard_store::JobTx;
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
            Ok(Judgement::Leads(leads)) => {
                let faults = keep(&mut tx, cx, &event, leads).await?;
                if let Some(faults) = faults {
                    events::mark_rejected(&mut tx, event.id, version, &faults).await.or_fail()?;
                }
            }
            Ok(Judgement::Ignored { code, message }) => {
                let reason = FieldFault { field: "event".to_owned(), code, message };
                events::mark_ignored(&mut tx, event.id, version, &reason).await.or_fail()?;
            }
            Err(reasons) => {
                events::mark_rejected(&mut tx, event.id, version, &reasons).await.or_fail()?;
            }
        }
        tx.done().await
    }
}
/// Stores what became leads and sets their distribution going. Faults only if none did.
async fn keep(
    tx: &mut JobTx,
    cx: &Context<Platform>,
    event: &EventToProcess,
    judged: Vec<Judged>,
) -> Result<Option<Vec<FieldFault>>, JobError> {
    let mut stored_any = false;
    let mut made = Vec::new();
    let mut faults = Vec::new();
    for (ordinal, judged) in (0..).zip(judged) {
        match judged.lead {
            Ok(lead) => {
                stored_any = true;
                let stored = leads::store(tx, event, ordinal, &lead).await.or_fail()?;
                if stored.new {
                    made.push(stored.lead);
                    let next = NewJob::of(&DistributeLead { lead: stored.lead }).or_fail()?;
                    tx.enqueue(cx.follow_up(next)).await.or_fail()?;
                }
            }
            Err(reasons) => faults.extend(reasons),
        }
    }
    outbound::leads_created(tx, &made, |job| cx.follow_up(job)).await.or_fail()?;
    Ok((!stored_any).then_some(faults))
}

/// What the event stands for. Settings that cannot be read are a reason like any other: the event
/// waits for them to be mended.
fn judge(event: &EventToProcess) -> Result<Judgement, Vec<FieldFault>> {
    let fault = |field: &str, code: &str, message: String| {
        vec![FieldFault { field: field.to_owned(), code: code.to_owned(), message }]
    };
    let settings = PortalSettings::parse(&event.settings).map_err(|faults| {
        let at = |f: FieldFault| FieldFault { field: format!("portal settings {}", f.field), ..f };
        faults.into_iter().map(at).collect::<Vec<_>>()
    })?;
    let headers: Headers = serde_json::from_value(event.headers.clone())
        .map_err(|e| fault("headers", "unreadable", format!("The stored headers: {e}.")))?;
    let body = settings
        .decode(&headers, &event.body)
        .map_err(|e| fault("body", e.code, format!("{e}.")))?;
    Ok(settings.judge(&body, &headers, event.url.as_deref(), event.received_at))
}
