//! A delivery as stations on one track: webhook, lead, agency, e-mail, WhatsApp.

use super::format::{When, between};
use chrono::{DateTime, Utc};
use switchyard_domain::LeadState;
use switchyard_store::overview::{AssignmentLine, LeadHead, LeadLine, MessageLine};

/// A delivery younger than this is marked as just come.
const FRESH_MS: i64 = 2_500;

/// One row of the track.
pub(super) struct LineView {
    pub event: String,
    pub href: String,
    pub name: String,
    pub is_test: bool,
    pub received: When,
    pub about: String,
    pub fresh: bool,
    pub stops: [Stop; 5],
}

/// One station.
pub(super) struct Stop {
    /// `done`, `go`, `warn`, `bad` or `wait` (not reached).
    pub class: &'static str,
    pub text: String,
    /// Time since the webhook.
    pub delta: Option<String>,
    pub sub: String,
}

impl Stop {
    fn new(class: &'static str, text: impl Into<String>) -> Self {
        Self { class, text: text.into(), delta: None, sub: String::new() }
    }

    fn sub(mut self, sub: impl Into<String>) -> Self {
        self.sub = sub.into();
        self
    }

    fn after(mut self, from: DateTime<Utc>, to: Option<DateTime<Utc>>) -> Self {
        self.delta = to.and_then(|to| between(from, to)).map(|d| format!("+{d}"));
        self
    }

    fn wait() -> Self {
        Self::new("wait", "–")
    }
}

impl LineView {
    pub(super) fn new(line: &LeadLine, now: DateTime<Utc>) -> Self {
        let href = match &line.lead {
            Some(lead) => format!("/ops/leads/{}", lead.id),
            None => format!("/ops/deliveries/{}", line.event),
        };
        Self {
            event: line.event.to_string(),
            href,
            name: name(line),
            is_test: line.lead.as_ref().is_some_and(|l| l.is_test),
            received: When::new(line.received_at, now),
            about: line.lead.as_ref().map(about).unwrap_or_default(),
            fresh: (now - line.received_at).num_milliseconds() < FRESH_MS,
            stops: stops(line),
        }
    }

    pub(super) fn all(lines: &[LeadLine], now: DateTime<Utc>) -> Vec<Self> {
        lines.iter().map(|l| Self::new(l, now)).collect()
    }
}

/// What people call it: the person, else where it came from.
pub(super) fn name(line: &LeadLine) -> String {
    match &line.lead {
        Some(lead) if !lead.name.is_empty() => lead.name.clone(),
        Some(lead) => lead
            .email
            .clone()
            .or_else(|| lead.phone.clone())
            .unwrap_or_else(|| "Lead without a name".to_owned()),
        None => format!("Delivery from {}", line.portal_name),
    }
}

fn about(lead: &LeadHead) -> String {
    let place = match (&lead.postal_code, &lead.city) {
        (Some(code), Some(city)) => Some(format!("{code} {city}")),
        (code, city) => code.clone().or_else(|| city.clone()),
    };
    [place, lead.product.clone()].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn stops(line: &LeadLine) -> [Stop; 5] {
    let held = line.assignments.last();
    [
        webhook(line),
        lead(line),
        agency(line, held),
        told(line, held, "email"),
        told(line, held, "whatsapp"),
    ]
}

fn webhook(line: &LeadLine) -> Stop {
    let stop = match line.event_state.as_str() {
        "received" => Stop::new("go", "Received"),
        "rejected" => Stop::new("bad", "Rejected"),
        _ => Stop::new("done", "Accepted"),
    };
    match line.reasons.first() {
        Some(fault) if line.event_state == "rejected" => {
            stop.sub(format!("{}: {}", fault.field, fault.message))
        }
        _ => stop.sub(&line.portal_name),
    }
}

fn lead(line: &LeadLine) -> Stop {
    match &line.lead {
        Some(lead) if lead.origin != line.event => {
            Stop::new("done", "Known").sub("repeats an earlier lead")
        }
        Some(lead) => Stop::new("done", "Created")
            .after(line.received_at, Some(lead.created_at))
            .sub(lead.state.as_str()),
        None if line.event_state == "received" => Stop::new("wait", "Waiting"),
        None => Stop::wait(),
    }
}

fn agency(line: &LeadLine, held: Option<&AssignmentLine>) -> Stop {
    let Some(lead) = &line.lead else { return Stop::wait() };
    match (lead.state, held) {
        (LeadState::Unassigned, _) => {
            Stop::new("warn", "Nobody covers it").sub("waits for a territory")
        }
        (LeadState::Pending, _) => Stop::new("go", "Fetching"),
        (LeadState::Duplicate, _) => Stop::new("done", "Nobody").sub("repeats an earlier lead"),
        (LeadState::New, _) | (_, None) => Stop::new("go", "Choosing"),
        (_, Some(a)) => {
            Stop::new(if a.state == "rejected" { "warn" } else { "done" }, a.agency.clone())
                .after(line.received_at, Some(a.assigned_at))
                .sub(why(a, line.assignments.len()))
        }
    }
}

fn why(a: &AssignmentLine, offers: usize) -> String {
    let reason = match a.reason.as_str() {
        "catch_all" => "catch-all",
        "manual" => "by hand",
        _ => "round robin",
    };
    let word = if a.state == "offered" { reason } else { a.state.as_str() };
    if offers > 1 { format!("{word}, offer {offers}") } else { word.to_owned() }
}

/// One station for all messages of a channel: the worst state shows.
fn told(line: &LeadLine, held: Option<&AssignmentLine>, channel: &str) -> Stop {
    let Some(a) = held else { return Stop::wait() };
    let all: Vec<&MessageLine> = a.messages.iter().filter(|m| m.channel == channel).collect();
    let Some(first) = all.first() else {
        return Stop::new("wait", "Not used").sub("no recipient");
    };
    let many = |state: &str| all.iter().filter(|m| m.state == state).count();
    let sub =
        if all.len() == 1 { first.recipient.clone() } else { format!("{} recipients", all.len()) };
    let sent = many("sent");
    let stop = match () {
        () if many("failed") > 0 => Stop::new("bad", "Failed"),
        () if many("unknown") > 0 => Stop::new("warn", "In doubt"),
        () if sent < all.len() => Stop::new("go", if sent > 0 { "Sending" } else { "Queued" }),
        () => {
            let last = all.iter().filter_map(|m| m.sent_at).max();
            Stop::new("done", "Sent").after(line.received_at, last)
        }
    };
    stop.sub(sub)
}

/// What is read out when a delivery moves on.
pub(super) fn spoken(line: &LeadLine) -> String {
    let last = stops(line).into_iter().rfind(|s| s.class != "wait");
    last.map(|s| format!("{}: {} {}", name(line), s.text, s.sub)).unwrap_or_default()
}
