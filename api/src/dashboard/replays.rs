//! What today's mapping would make of a delivery, and doing it.

use super::assets::Asset;
use super::deliveries::cause;
use super::error::Screen;
use super::format::short;
use super::jobs::missing;
use super::session::back;
use super::shell::{Notice, Shell, page};
use crate::auth::{Caller, EventsRead, EventsRerun};
use crate::{Api, RequestContext};
use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::Value;
use switchyard_catalog::line;
use switchyard_catalog::replay::{self, EventReplay, LeadReplay};
use switchyard_domain::{EventId, FieldFault};
use switchyard_store::Scope;

/// One lead of the comparison.
struct LeadView {
    place: i32,
    href: Option<String>,
    change: &'static str,
    says: &'static str,
    /// Field, before, after.
    fields: Vec<(String, String, String)>,
}

impl LeadView {
    fn new(lead: &LeadReplay) -> Self {
        use switchyard_catalog::replay::LeadChange as C;
        let text = |v: &Value| match v {
            Value::Null => "—".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self {
            place: lead.ordinal + 1,
            // What a dry run made is gone again.
            href: lead
                .lead
                .filter(|_| !matches!(lead.change, C::New | C::Linked))
                .map(|id| format!("/ops/leads/{id}")),
            change: lead.change.as_str(),
            says: match lead.change {
                C::Same => "It stands as it is.",
                C::Changed => "It stands, and these fields change.",
                C::New => "It becomes a lead and is given out.",
                C::Linked => "It becomes a lead that names the person's first one.",
                C::Repeats => "It repeats a lead of another delivery.",
                C::Merged => "It completes the person's first lead.",
                C::Refused => "It is no lead by today's mapping. One that stands stays.",
                C::Vanished => "Today's mapping would not make it. It stays.",
            },
            fields: lead
                .fields
                .iter()
                .map(|f| (f.field.clone(), text(&f.before), text(&f.after)))
                .collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "replay.html")]
struct Replay {
    shell: Shell,
    id: EventId,
    short: String,
    differs: bool,
    left: Option<&'static str>,
    state: String,
    becomes: String,
    versions: String,
    leads: Vec<LeadView>,
    reasons: Vec<FieldFault>,
}

impl Replay {
    fn new(told: EventReplay, shell: Shell) -> Self {
        Self {
            id: told.event,
            short: short(told.event),
            differs: told.differs(),
            left: told.left,
            state: told.state.to_string(),
            becomes: told.becomes.to_string(),
            versions: match told.judged_by {
                Some(before) if before != told.version => {
                    format!("settings version {before}, now {}", told.version)
                }
                _ => format!("settings version {}", told.version),
            },
            leads: told.leads.iter().map(LeadView::new).collect(),
            reasons: told.reasons,
            shell: shell.at("/ops/deliveries"),
        }
    }
}

/// `GET /ops/deliveries/{id}/replay`: a dry run.
pub(super) async fn show(
    State(api): State<Api>,
    _: Caller<EventsRead>,
    shell: Shell,
    Path(id): Path<EventId>,
) -> Screen {
    let told = replay::preview(&api.db, id).await;
    let told = told.map_err(|e| missing(e, "There is no such delivery."))?;
    page(&Replay::new(told, shell))
}

/// `POST /ops/deliveries/{id}/replay`
pub(super) async fn apply(
    State(api): State<Api>,
    _: Caller<EventsRerun>,
    context: RequestContext,
    headers: HeaderMap,
    Path(id): Path<EventId>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let told = line::replay(&mut tx, id, &cause(&context)).await;
    let told = told.map_err(|e| missing(e, "There is no such delivery."))?;
    tx.commit().await?;
    let notice = match (told.left, told.differs()) {
        (Some(why), _) => Notice::failed(format!("Left alone: {why}.")),
        (None, true) => Notice::done("The delivery is brought up to date with today's mapping."),
        (None, false) => Notice::done("Nothing differs: it stands as today's mapping says."),
    };
    Ok(back(&format!("/ops/deliveries/{id}"), &notice, &headers))
}
