//! Samples: deliveries with what is expected of them, run through the mapping before it is saved.

use super::FileFault;
use super::expect::differences;
use super::request::{Delivery, deliveries};
use chrono::Utc;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;
use switchyard_catalog::judging;
use switchyard_domain::mapping::Judgement;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{FieldFault, Headers, StandardLead};

const KNOWN: [&str; 10] = [
    "name",
    "body",
    "body_file",
    "content_type",
    "headers",
    "url",
    "request_file",
    "outcome",
    "expect",
    "reasons",
];

/// One sample of a file.
#[derive(Clone, Debug)]
pub struct Sample {
    delivery: Delivery,
    outcome: Option<String>,
    expect: Vec<Map<String, Value>>,
    reasons: Vec<String>,
}

/// What a delivery comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// `leads`, `ignored` or `rejected`.
    pub outcome: &'static str,
    /// The leads, in their order.
    pub leads: Vec<LeadOutcome>,
    /// Why it is ignored or rejected.
    pub reasons: Vec<FieldFault>,
}

/// One lead of a delivery.
#[derive(Clone, Debug, Serialize)]
pub struct LeadOutcome {
    /// The standard lead; null: it is none.
    pub lead: Option<StandardLead>,
    /// Where the rest of it would be fetched.
    pub fetch_url: Option<String>,
    /// What keeps it from being a lead.
    pub faults: Vec<FieldFault>,
}

/// Runs a delivery through a portal's settings, as `webhook.process` would. Credentials are taken out
/// of the headers first, as they are before an event is stored.
#[must_use]
pub fn judge(settings: &PortalSettings, delivery: &Delivery) -> Outcome {
    let headers = delivery.headers.without(&settings.credential_headers());
    let (url, now) = (delivery.url.as_deref(), Utc::now());
    let judged = judging::judge(settings, &headers, &delivery.body, url, now);
    let none = |outcome, reasons| Outcome { outcome, leads: Vec::new(), reasons };
    match judged {
        Err(reasons) => none("rejected", reasons),
        Ok(Judgement::Ignored { code, message }) => {
            none("ignored", vec![FieldFault::new("event", code, message)])
        }
        Ok(Judgement::Leads(all)) => {
            let many = all.len();
            let mut reasons = Vec::new();
            let mut leads = Vec::with_capacity(many);
            for (n, judged) in all.into_iter().enumerate() {
                let (lead, faults) = match judged.lead {
                    Ok(lead) => (Some(lead), Vec::new()),
                    Err(faults) => (None, faults),
                };
                reasons.extend(faults.iter().cloned().map(|f| judging::placed(n, many, f)));
                let fetch_url = judged.fetch.map(|f| f.url);
                leads.push(LeadOutcome { lead, fetch_url, faults });
            }
            let any = leads.iter().any(|l| l.lead.is_some());
            Outcome { outcome: if any { "leads" } else { "rejected" }, leads, reasons }
        }
    }
}

impl Sample {
    /// Every difference between what this sample says and what the settings make of it.
    pub(super) fn faults(&self, n: usize, settings: &PortalSettings) -> Vec<FileFault> {
        let at = format!("/samples/{n}");
        let got = judge(settings, &self.delivery);
        let told = |f: &FieldFault| format!("{}: {}", f.field, f.message);
        let why: Vec<String> = got.reasons.iter().map(told).collect();
        let wanted = self.outcome.as_deref().unwrap_or("leads");
        if got.outcome != wanted {
            let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(" ")) };
            let message =
                format!("Expected outcome `{wanted}`, the mapping gives `{}`{why}.", got.outcome);
            return vec![FileFault::at(at, "unexpected_outcome", message)];
        }
        let mut faults = Vec::new();
        for code in &self.reasons {
            if !got.reasons.iter().any(|f| f.code == *code) {
                let codes: Vec<&str> = got.reasons.iter().map(|f| f.code.as_str()).collect();
                let message =
                    format!("Expected the reason `{code}`; the reasons are: {}.", codes.join(", "));
                faults.push(FileFault::at(format!("{at}/reasons"), "unexpected", message));
            }
        }
        // Faults of some leads among others that are well.
        if self.reasons.is_empty() && wanted == "leads" && !why.is_empty() {
            let message = format!("Not all of it became leads: {}", why.join(" "));
            faults.push(FileFault::at(&at, "unexpected", message));
        }
        faults.extend(self.compare(&at, &got));
        faults
    }

    fn compare(&self, at: &str, got: &Outcome) -> Vec<FileFault> {
        if self.expect.is_empty() {
            return Vec::new();
        }
        let leads: Vec<&StandardLead> = got.leads.iter().filter_map(|l| l.lead.as_ref()).collect();
        if leads.len() != self.expect.len() {
            let message =
                format!("Expected {} leads, the mapping gives {}.", self.expect.len(), leads.len());
            return vec![FileFault::at(format!("{at}/expect"), "unexpected", message)];
        }
        let one = self.expect.len() == 1;
        let each = self.expect.iter().zip(leads).enumerate();
        each.flat_map(|(n, (expected, lead))| {
            let place = if one { format!("{at}/expect") } else { format!("{at}/expect/{n}") };
            differences(expected, lead, &place)
        })
        .collect()
    }
}

pub(super) fn read(
    value: Option<&Value>,
    folder: &Path,
    faults: &mut Vec<FileFault>,
) -> Vec<Sample> {
    let items = match value {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            faults.push(FileFault::at("/samples", "invalid", "`samples` is a list."));
            return Vec::new();
        }
    };
    let mut samples = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let at = format!("/samples/{n}");
        let Value::Object(members) = item else {
            faults.push(FileFault::at(at, "invalid", "A sample has a `body` and an `expect`."));
            continue;
        };
        for name in members.keys().filter(|n| !KNOWN.contains(&n.as_str())) {
            let message = format!("`{name}` belongs to no sample; there are {}.", KNOWN.join(", "));
            faults.push(FileFault::at(format!("{at}/{name}"), "unknown_member", message));
        }
        match one(members, &at, folder) {
            Ok(sample) => samples.push(sample),
            Err(fault) => faults.push(fault),
        }
    }
    samples
}

fn one(members: &Map<String, Value>, at: &str, folder: &Path) -> Result<Sample, FileFault> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let outcome = text("outcome").map(str::to_owned);
    if let Some(word) = outcome.as_deref().filter(|w| !["leads", "ignored", "rejected"].contains(w))
    {
        let message = format!("`{word}` is no outcome; write leads, ignored or rejected.");
        return Err(FileFault::at(format!("{at}/outcome"), "invalid", message));
    }
    Ok(Sample {
        delivery: delivery(members, at, folder)?,
        outcome,
        expect: expectation(members, at)?,
        reasons: reasons(members),
    })
}

fn reasons(members: &Map<String, Value>) -> Vec<String> {
    let all = members.get("reasons").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|r| r.as_str().map(str::to_owned)).collect()
}

fn expectation(
    members: &Map<String, Value>,
    at: &str,
) -> Result<Vec<Map<String, Value>>, FileFault> {
    let leads = match members.get("expect") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(lead)) => return Ok(vec![lead.clone()]),
        Some(Value::Array(leads)) => leads,
        Some(_) => {
            let message = "Write the fields of the lead, or a list of leads.";
            return Err(FileFault::at(format!("{at}/expect"), "invalid", message));
        }
    };
    let lead = |(n, lead): (usize, &Value)| {
        lead.as_object().cloned().ok_or_else(|| {
            FileFault::at(format!("{at}/expect/{n}"), "invalid", "Write the fields of the lead.")
        })
    };
    leads.iter().enumerate().map(lead).collect()
}

fn delivery(members: &Map<String, Value>, at: &str, folder: &Path) -> Result<Delivery, FileFault> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in members.get("headers").and_then(Value::as_object).into_iter().flatten() {
        fields
            .push((name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    if let Some(kind) = text("content_type") {
        fields.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        fields.push(("Content-Type".to_owned(), kind.to_owned()));
    }
    let headers: Headers = fields.into_iter().collect();
    let mut raw = Delivery { headers, body: Vec::new(), url: text("url").map(str::to_owned) };
    if let Some(file) = text("request_file") {
        let mut all = deliveries(&folder.join(file), &raw)
            .map_err(|f| FileFault { pointer: format!("{at}/request_file"), ..f })?;
        return Ok(all.swap_remove(0));
    }
    if raw.headers.get("content-type").is_none() {
        let all = raw.headers.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        raw.headers =
            all.chain([("content-type".to_owned(), "application/json".to_owned())]).collect();
    }
    raw.body = match (members.get("body"), text("body_file")) {
        (Some(Value::String(text)), None) => text.as_bytes().to_vec(),
        (Some(value), None) => value.to_string().into_bytes(),
        (None, Some(file)) => std::fs::read(folder.join(file)).map_err(|e| {
            let message = format!("The file {file} cannot be read: {e}.");
            FileFault::at(format!("{at}/body_file"), "unreadable", message)
        })?,
        _ => {
            let message = "A sample has one of `body`, `body_file` and `request_file`.";
            return Err(FileFault::at(at, "required", message));
        }
    };
    Ok(raw)
}
