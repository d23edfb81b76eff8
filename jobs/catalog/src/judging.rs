//! What an event stands for, by its portal's settings.

use chrono::{DateTime, Utc};
use std::sync::Arc;
use switchyard_domain::mapping::Judgement;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{FieldFault, Headers};
use switchyard_store::events::EventToProcess;

/// What a delivery stands for: decoded and judged, as `webhook.process` does it. Needs no database.
///
/// # Errors
/// What is wrong with the body.
pub fn judge(
    settings: &PortalSettings,
    headers: &Headers,
    body: &[u8],
    url: Option<&str>,
    received_at: DateTime<Utc>,
) -> Result<Judgement, Vec<FieldFault>> {
    let body = settings
        .decode(headers, body)
        .map_err(|e| vec![FieldFault::new("body", e.code, format!("{e}."))])?;
    Ok(settings.judge(&body, headers, url, received_at))
}

/// The place of a fault in an event: of several leads it says which.
#[must_use]
pub fn placed(ordinal: usize, of: usize, fault: FieldFault) -> FieldFault {
    if of == 1 {
        return fault;
    }
    FieldFault { field: format!("leads[{ordinal}].{}", fault.field), ..fault }
}

/// An event judged by today's settings.
pub(crate) struct Verdict {
    /// The settings, if they can be read.
    pub(crate) settings: Option<Arc<PortalSettings>>,
    /// What the event stands for, or why nobody can tell.
    pub(crate) judgement: Result<Judgement, Vec<FieldFault>>,
}

/// Judges a stored event. Settings that cannot be read are a reason like any other: the event waits
/// for them to be mended.
pub(crate) fn verdict(event: &EventToProcess) -> Verdict {
    let settings = match &event.settings {
        Ok(settings) => Arc::clone(settings),
        Err(faults) => {
            let at = |f: &FieldFault| FieldFault {
                field: format!("portal settings {}", f.field),
                ..f.clone()
            };
            return Verdict { settings: None, judgement: Err(faults.iter().map(at).collect()) };
        }
    };
    let judgement = match serde_json::from_value::<Headers>(event.headers.clone()) {
        Ok(headers) => {
            judge(&settings, &headers, &event.body, event.url.as_deref(), event.received_at)
        }
        Err(e) => {
            let message = format!("The stored headers: {e}.");
            Err(vec![FieldFault::new("headers", "unreadable", message)])
        }
    };
    Verdict { settings: Some(settings), judgement }
}
