//! Leads: the list as tracks, and one lead's way with everything that happened.

use super::assets::Asset;
use super::error::Screen;
use super::format::{When, between, short};
use super::job_view::{self, JobView};
use super::jobs::missing;
use super::lead_work::Work;
use super::lines::{self, LineView};
use super::live::{self, Hub};
use super::overview::curl;
use super::shell::{Fact, Pager, Shell, Tab, page};
use crate::auth::{Caller, LeadsRead};
use crate::{Api, ApiError};
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use switchyard_domain::{LeadId, LeadState};
use switchyard_store::overview::{self, AssignmentLine, Cursor, LeadFilter, LeadLine, MessageLine};
use switchyard_store::{Scope, jobs};

const PAGE: u32 = 30;
const STATES: [LeadState; 6] = [
    LeadState::New,
    LeadState::Assigned,
    LeadState::Accepted,
    LeadState::Unassigned,
    LeadState::Pending,
    LeadState::Duplicate,
];

/// The list's query.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    state: Option<String>,
    after: Option<String>,
}

/// A cursor from a query.
pub(super) fn cursor(after: Option<&str>) -> Result<Option<Cursor>, ApiError> {
    let parsed = after.filter(|a| !a.is_empty()).map(str::parse).transpose();
    parsed.map_err(|e: String| ApiError::bad_request("bad_cursor", e))
}

#[derive(Template)]
#[template(path = "leads.html")]
struct Leads {
    shell: Shell,
    tabs: Vec<Tab>,
    lines: Vec<LineView>,
    filtered: bool,
    hint: &'static str,
    curl: String,
    pager: Pager,
    seen: String,
}

/// `GET /ops/leads`
pub(super) async fn list(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<LeadsRead>,
    shell: Shell,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Screen {
    let state = query.state.as_deref().filter(|s| !s.is_empty()).map(str::parse::<LeadState>);
    let state = state.transpose().map_err(|e| ApiError::bad_request("bad_state", e))?;
    let after = cursor(query.after.as_deref())?;
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = overview::leads(&mut tx, &LeadFilter { state, after, limit: PAGE }).await?;
    tx.rollback().await?;
    let data = hub.data().await?;
    let href = |s: Option<LeadState>| match s {
        Some(s) => format!("/ops/leads?state={s}"),
        None => "/ops/leads".to_owned(),
    };
    let tab = |s: Option<LeadState>| Tab { href: href(s), label: label(s), current: s == state };
    page(&Leads {
        tabs: std::iter::once(None).chain(STATES.map(Some)).map(tab).collect(),
        lines: LineView::all(&found.rows, shell.now),
        filtered: state.is_some() || after.is_some(),
        hint: match state {
            Some(LeadState::Unassigned) => "Every lead found an agency.",
            Some(LeadState::New) => "Leads stay new only until they are given out.",
            _ => "Look at all leads, or wait: they appear here as they come.",
        },
        curl: if found.rows.is_empty() && state.is_none() {
            curl(&headers, &api).await?
        } else {
            String::new()
        },
        pager: Pager::new(&href(state), after.is_some(), found.next),
        seen: data.newest_event(),
        shell: shell.at("/ops/leads").live("/ops/live"),
    })
}

fn label(state: Option<LeadState>) -> &'static str {
    match state {
        None => "All",
        Some(LeadState::New) => "New",
        Some(LeadState::Assigned) => "Assigned",
        Some(LeadState::Accepted) => "Accepted",
        Some(LeadState::Unassigned) => "Unassigned",
        Some(LeadState::Pending) => "Being fetched",
        Some(LeadState::Duplicate) => "Duplicates",
    }
}

/// One thing that happened.
struct Step {
    class: &'static str,
    title: String,
    href: Option<String>,
    state: Option<String>,
    at: Option<When>,
    delta: Option<String>,
    text: String,
    error: Option<String>,
    jobs: Vec<JobView>,
}

#[derive(Template)]
#[template(path = "lead.html")]
struct LeadPage {
    shell: Shell,
    id: LeadId,
    short: String,
    name: String,
    state: LeadState,
    is_test: bool,
    total: Option<String>,
    steps: Vec<Step>,
    facts: Vec<Fact>,
    work: Work,
}

/// `GET /ops/leads/{id}`
pub(super) async fn show(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<LeadsRead>,
    shell: Shell,
    Path(id): Path<LeadId>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = overview::lead(&mut tx, id).await;
    let detail = found.map_err(|e| missing(e, "There is no such lead."))?;
    let work = Work::of(&mut tx, id, shell.now).await?;
    tx.rollback().await?;
    let line = &detail.line;
    let rows = match &line.request_id {
        Some(request) => jobs::by_request(&api.db, request).await?,
        None => Vec::new(),
    };
    let data = hub.data().await?;
    let views = JobView::all(&api, &data, &rows, shell.now).await?;
    let jobs = job_view::about(&views);
    let way = Way { line, jobs: &jobs, now: shell.now };
    let watched = live::url(rows.iter().map(|r| r.id));
    let joint = if watched.contains('?') { '&' } else { '?' };
    page(&LeadPage {
        shell: shell.at("/ops/leads").live(format!("{watched}{joint}lead={id}")),
        id,
        short: short(id),
        name: lines::name(line),
        state: line.lead.as_ref().map_or(LeadState::New, |l| l.state),
        is_test: line.lead.as_ref().is_some_and(|l| l.is_test),
        total: total(line),
        steps: way.steps(),
        facts: facts(&detail),
        work,
    })
}

/// From the webhook to the last message.
fn total(line: &LeadLine) -> Option<String> {
    let messages = line.assignments.iter().flat_map(|a| &a.messages);
    let last = messages.filter_map(|m| m.sent_at).max()?;
    Some(format!("{} from the webhook to the last message", between(line.received_at, last)?))
}

fn facts(detail: &overview::LeadDetail) -> Vec<Fact> {
    let mut facts = vec![
        Fact::code("id", detail.line.lead.as_ref().map(|l| l.id.to_string()).unwrap_or_default()),
        Fact::new("portal", detail.line.portal_name.clone())
            .to(format!("/ops/portals/{}", detail.line.portal_code)),
    ];
    facts.extend(detail.line.request_id.clone().map(|r| Fact::code("request", r)));
    facts.extend(detail.fields.iter().map(|(name, value)| Fact::new(name, value.clone())));
    facts
}

/// Makes the steps of one lead.
struct Way<'a> {
    line: &'a LeadLine,
    jobs: &'a HashMap<String, Vec<JobView>>,
    now: DateTime<Utc>,
}

impl Way<'_> {
    fn steps(&self) -> Vec<Step> {
        let mut steps = vec![self.webhook()];
        steps.extend(self.lead());
        for assignment in &self.line.assignments {
            steps.push(self.assignment(assignment));
            steps.extend(assignment.messages.iter().map(|m| self.message(m)));
        }
        steps
    }

    fn jobs(&self, id: impl std::fmt::Display) -> Vec<JobView> {
        self.jobs.get(&id.to_string()).cloned().unwrap_or_default()
    }

    fn after(&self, at: Option<DateTime<Utc>>) -> Option<String> {
        at.and_then(|at| between(self.line.received_at, at)).map(|d| format!("+{d}"))
    }

    fn webhook(&self) -> Step {
        let line = self.line;
        Step {
            class: match line.event_state.as_str() {
                "received" => "go",
                "rejected" => "bad",
                _ => "done",
            },
            title: format!("Webhook from {}", line.portal_name),
            href: Some(format!("/ops/deliveries/{}", line.event)),
            state: Some(line.event_state.clone()),
            at: Some(When::new(line.received_at, self.now)),
            delta: None,
            text: String::new(),
            error: None,
            jobs: self.jobs(line.event),
        }
    }

    fn lead(&self) -> Option<Step> {
        let lead = self.line.lead.as_ref()?;
        let text = match lead.state {
            LeadState::Unassigned => {
                "No active, subscribed agency covers the place. It is given out as soon as one does."
            }
            LeadState::New => "Not given out yet.",
            LeadState::Pending => "Its portal sent an id only; the rest is being fetched.",
            LeadState::Duplicate => {
                "Its person asked before, which was known only once it was fetched. It is not given out."
            }
            _ => "",
        };
        Some(Step {
            class: if lead.state == LeadState::Unassigned { "warn" } else { "done" },
            title: "Lead created".to_owned(),
            href: None,
            state: (lead.state == LeadState::Unassigned).then(|| lead.state.to_string()),
            at: Some(When::new(lead.created_at, self.now)),
            delta: self.after(Some(lead.created_at)),
            text: text.to_owned(),
            error: None,
            jobs: self.jobs(lead.id),
        })
    }

    fn assignment(&self, a: &AssignmentLine) -> Step {
        let mut text = a.explanation.clone();
        if let Some(at) = a.responded_at {
            let took = between(a.assigned_at, at).unwrap_or_default();
            text = format!("{text} The agency {} it after {took}.", a.state);
        }
        if let Some(note) = &a.note {
            text = format!("{text} Its note: {note}");
        }
        Step {
            class: match a.state.as_str() {
                "rejected" => "warn",
                "accepted" => "done",
                _ => "go",
            },
            title: format!("Offered to {}", a.agency),
            href: None,
            state: Some(a.state.clone()),
            at: Some(When::new(a.assigned_at, self.now)),
            delta: self.after(Some(a.assigned_at)),
            text,
            error: None,
            jobs: Vec::new(),
        }
    }

    fn message(&self, m: &MessageLine) -> Step {
        let channel = if m.channel == "whatsapp" { "WhatsApp" } else { "E-mail" };
        let to = m.agent.as_deref().unwrap_or("the agency");
        Step {
            class: match m.state.as_str() {
                "sent" => "done",
                "queued" => "go",
                "failed" => "bad",
                _ => "warn",
            },
            title: format!("{channel} to {to}"),
            href: Some(format!("/ops/messages/{}", m.id)),
            state: Some(m.state.clone()),
            at: Some(When::new(m.sent_at.unwrap_or(m.created_at), self.now)),
            delta: self.after(m.sent_at),
            text: m.recipient.clone(),
            error: m.error.clone().filter(|_| m.state != "sent"),
            jobs: self.jobs(m.id),
        }
    }
}
