//! Messages: the capture box.

use super::assets::Asset;
use super::deliveries::cause;
use super::error::Screen;
use super::format::{When, exact, first_line, short};
use super::job_view::{self, JobView};
use super::jobs::missing;
use super::leads::cursor;
use super::live::Hub;
use super::session::back;
use super::shell::{Fact, Notice, Pager, Shell, Tab, page};
use crate::auth::{Caller, MessagesRead};
use crate::{Api, ApiError, RequestContext};
use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::sync::Arc;
use switchyard_catalog::line;
use switchyard_domain::MessageId;
use switchyard_store::messages::ResendFault;
use switchyard_store::overview::{self, MessageDetail, MessageFilter, MessageRow};
use switchyard_store::{Scope, jobs};

const PAGE: u32 = 40;

/// The policy of a rendered e-mail: styles and pictures that it carries itself, nothing else. It
/// runs no script, sends no form, loads nothing, and only our own pages may frame it.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
    form-action 'none'; base-uri 'none'; frame-ancestors 'self'; sandbox";

/// A message's row.
struct MessageView {
    id: MessageId,
    short: String,
    channel: String,
    icon: &'static str,
    to: String,
    recipient: String,
    title: String,
    state: String,
    agency: String,
    provider: String,
    error: Option<String>,
    created: When,
}

impl MessageView {
    fn new(row: &MessageRow, now: DateTime<Utc>) -> Self {
        Self {
            id: row.id,
            short: short(row.id),
            channel: row.channel.clone(),
            icon: if row.channel == "whatsapp" { "chat" } else { "mail" },
            to: row.agent.clone().unwrap_or_else(|| row.agency.clone()),
            recipient: row.recipient.clone(),
            title: row.subject.clone().unwrap_or_else(|| first_of(&row.preview)),
            state: row.state.clone(),
            agency: row.agency.clone(),
            provider: row.provider.clone().unwrap_or_default(),
            error: row.error.clone().filter(|_| row.state != "sent"),
            created: When::new(row.sent_at.unwrap_or(row.created_at), now),
        }
    }

    /// Whether it may be sent anew.
    fn in_trouble(&self) -> bool {
        matches!(self.state.as_str(), "failed" | "unknown")
    }
}

/// The first line of a WhatsApp text, without the asterisks that WhatsApp takes for bold.
fn first_of(text: &str) -> String {
    first_line(text).trim_matches('*').to_owned()
}

/// The list's query.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    show: Option<String>,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "messages.html")]
struct Messages {
    shell: Shell,
    tabs: Vec<Tab>,
    rows: Vec<MessageView>,
    filtered: bool,
    hint: &'static str,
    pager: Pager,
    seen: String,
}

const TABS: [(MessageFilter, &str, &str); 4] = [
    (MessageFilter::All, "", "All"),
    (MessageFilter::Email, "email", "E-mail"),
    (MessageFilter::WhatsApp, "whatsapp", "WhatsApp"),
    (MessageFilter::Trouble, "trouble", "In trouble"),
];

/// `GET /ops/messages`
pub(super) async fn list(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<MessagesRead>,
    shell: Shell,
    Query(query): Query<ListQuery>,
) -> Screen {
    let word = query.show.unwrap_or_default();
    let known = TABS.iter().find(|(_, w, _)| *w == word);
    let (filter, ..) = *known.ok_or_else(|| {
        ApiError::bad_request(
            "bad_filter",
            "messages are shown by `email`, `whatsapp` or `trouble`",
        )
    })?;
    let after = cursor(query.after.as_deref())?;
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = overview::messages(&mut tx, filter, after, PAGE).await?;
    tx.rollback().await?;
    let href = |w: &str| {
        if w.is_empty() { "/ops/messages".to_owned() } else { format!("/ops/messages?show={w}") }
    };
    let tab = |(f, w, label): (MessageFilter, &str, &'static str)| Tab {
        href: href(w),
        label,
        current: f == filter,
    };
    page(&Messages {
        tabs: TABS.into_iter().map(tab).collect(),
        rows: found.rows.iter().map(|r| MessageView::new(r, shell.now)).collect(),
        filtered: filter != MessageFilter::All || after.is_some(),
        hint: match filter {
            MessageFilter::Trouble => "No message failed, and none is in doubt.",
            _ => {
                "When a lead is given to an agency, its agents are told: their messages stand here."
            }
        },
        pager: Pager::new(&href(&word), after.is_some(), found.next),
        seen: hub.data().await?.newest_message(),
        shell: shell.at("/ops/messages").live("/ops/live"),
    })
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message {
    shell: Shell,
    m: MessageView,
    text: String,
    has_html: bool,
    facts: Vec<Fact>,
    jobs: Vec<JobView>,
}

/// `GET /ops/messages/{id}`
pub(super) async fn show(
    State(api): State<Api>,
    Extension(hub): Extension<Arc<Hub>>,
    _: Caller<MessagesRead>,
    shell: Shell,
    Path(id): Path<MessageId>,
) -> Screen {
    let detail = load(&api, id).await?;
    let rows = match &detail.request_id {
        Some(request) => jobs::by_request(&api.db, request).await?,
        None => Vec::new(),
    };
    let data = hub.data().await?;
    let views = JobView::all(&api, &data, &rows, shell.now).await?;
    page(&Message {
        m: MessageView::new(&detail.row, shell.now),
        has_html: detail.html.is_some(),
        facts: facts(&detail),
        jobs: job_view::about(&views).remove(&id.to_string()).unwrap_or_default(),
        text: detail.text,
        shell: shell.at("/ops/messages"),
    })
}

async fn load(api: &Api, id: MessageId) -> Screen<MessageDetail> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let found = overview::message(&mut tx, id).await;
    tx.rollback().await?;
    found.map_err(|e| missing(e, "There is no such message."))
}

fn facts(detail: &MessageDetail) -> Vec<Fact> {
    let row = &detail.row;
    let mut facts = vec![
        Fact::code("Id", row.id.to_string()),
        Fact::new("About", "the lead").to(format!("/ops/leads/{}", row.lead)),
        Fact::new("Agency", row.agency.clone()),
        Fact::new("Attempts", row.attempts.to_string()),
        Fact::new("Written", exact(row.created_at)),
    ];
    let some = [
        Fact::maybe("Agent", row.agent.clone()),
        Fact::maybe("Sent", row.sent_at.map(exact)),
        Fact::maybe("Provider", row.provider.clone()),
        detail.provider_id.clone().map(|p| Fact::code("Provider's id", p)),
    ];
    facts.extend(some.into_iter().flatten());
    facts
}

/// `GET /ops/messages/{id}/html`: the HTML part alone, under a policy of its own.
pub(super) async fn html(
    State(api): State<Api>,
    _: Caller<MessagesRead>,
    Path(id): Path<MessageId>,
) -> Screen {
    let none = || super::error::OpsError::not_found("This message has no HTML part.");
    let body = load(&api, id).await?.html.ok_or_else(none)?;
    let mut response = Html(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(MAIL_POLICY));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    Ok(response)
}

/// `POST /ops/messages/{id}/resend`
pub(super) async fn resend(
    State(api): State<Api>,
    _: Caller<crate::auth::JobsManage>,
    context: RequestContext,
    headers: HeaderMap,
    Path(id): Path<MessageId>,
) -> Screen {
    let mut tx = api.db.begin(Scope::Platform).await?;
    match line::resend(&mut tx, id, &cause(&context)).await {
        Ok(new) => {
            tx.commit().await?;
            let notice =
                Notice::done("Sent anew. This is the new message; the old one keeps its record.");
            Ok(back(&format!("/ops/messages/{}", new.id), &notice, &headers))
        }
        Err(ResendFault::Store(fault)) => Err(missing(fault, "There is no such message.")),
        Err(refusal) => {
            let notice = Notice::failed(format!("Not done: {refusal}."));
            Ok(back(&format!("/ops/messages/{id}"), &notice, &headers))
        }
    }
}
