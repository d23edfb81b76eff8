//! Samples: deliveries with what is expected of them, run through a portal's settings before these are
//! saved, whichever door they come by.

mod expect;

use crate::judging;
use chrono::Utc;
use expect::differences;
use serde::Serialize;
use serde_json::{Map, Value};
use switchyard_domain::mapping::Judgement;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{FieldFault, Headers, StandardLead};

const KNOWN: [&str; 8] =
    ["name", "body", "content_type", "headers", "url", "outcome", "expect", "reasons"];
/// Only where there are files to read.
const OF_FILES: [&str; 2] = ["body_file", "request_file"];

/// What a sender sends.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its header fields.
    pub headers: Headers,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// The URL with its query.
    pub url: Option<String>,
}

/// Completes a delivery from the file that a sample names; `None`: it names none. The text is the
/// sample's pointer.
pub type FromFile<'a> =
    dyn Fn(&Map<String, Value>, &str, &Delivery) -> Option<Result<Delivery, FieldFault>> + 'a;

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

/// Runs every sample.
///
/// # Errors
/// Every difference from what is expected; the pointers begin with `/samples`.
pub fn check(samples: &[Sample], settings: &PortalSettings) -> Result<(), Vec<FieldFault>> {
    let each = samples.iter().enumerate();
    let faults: Vec<_> = each.flat_map(|(n, sample)| sample.faults(n, settings)).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

impl Sample {
    /// Every difference between what this sample says and what the settings make of it.
    fn faults(&self, n: usize, settings: &PortalSettings) -> Vec<FieldFault> {
        let at = format!("/samples/{n}");
        let got = judge(settings, &self.delivery);
        let told = |f: &FieldFault| format!("{}: {}", f.field, f.message);
        let why: Vec<String> = got.reasons.iter().map(told).collect();
        let wanted = self.outcome.as_deref().unwrap_or("leads");
        if got.outcome != wanted {
            let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(" ")) };
            let message =
                format!("Expected outcome `{wanted}`, the mapping gives `{}`{why}.", got.outcome);
            return vec![FieldFault::new(at, "unexpected_outcome", message)];
        }
        let mut faults = Vec::new();
        for code in &self.reasons {
            if !got.reasons.iter().any(|f| f.code == *code) {
                let codes: Vec<&str> = got.reasons.iter().map(|f| f.code.as_str()).collect();
                let message =
                    format!("Expected the reason `{code}`; the reasons are: {}.", codes.join(", "));
                faults.push(FieldFault::new(format!("{at}/reasons"), "unexpected", message));
            }
        }
        // Faults of some leads among others that are well.
        if self.reasons.is_empty() && wanted == "leads" && !why.is_empty() {
            let message = format!("Not all of it became leads: {}", why.join(" "));
            faults.push(FieldFault::new(&at, "unexpected", message));
        }
        faults.extend(self.compare(&at, &got));
        faults
    }

    fn compare(&self, at: &str, got: &Outcome) -> Vec<FieldFault> {
        if self.expect.is_empty() {
            return Vec::new();
        }
        let leads: Vec<&StandardLead> = got.leads.iter().filter_map(|l| l.lead.as_ref()).collect();
        if leads.len() != self.expect.len() {
            let message =
                format!("Expected {} leads, the mapping gives {}.", self.expect.len(), leads.len());
            return vec![FieldFault::new(format!("{at}/expect"), "unexpected", message)];
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

/// Reads a list of samples; what is wrong with them is put to the faults.
#[must_use]
pub fn read(
    value: Option<&Value>,
    files: Option<&FromFile<'_>>,
    faults: &mut Vec<FieldFault>,
) -> Vec<Sample> {
    let items = match value {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            faults.push(FieldFault::new("/samples", "invalid", "`samples` is a list."));
            return Vec::new();
        }
    };
    let of_files: &[&str] = if files.is_some() { &OF_FILES } else { &[] };
    let known = [&KNOWN[..], of_files].concat();
    let mut samples = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let at = format!("/samples/{n}");
        let Value::Object(members) = item else {
            faults.push(FieldFault::new(at, "invalid", "A sample has a `body` and an `expect`."));
            continue;
        };
        for name in members.keys().filter(|n| !known.contains(&n.as_str())) {
            let message = format!("`{name}` belongs to no sample; there are {}.", known.join(", "));
            faults.push(FieldFault::new(format!("{at}/{name}"), "unknown_member", message));
        }
        match one(members, &at, files) {
            Ok(sample) => samples.push(sample),
            Err(fault) => faults.push(fault),
        }
    }
    samples
}

fn one(
    members: &Map<String, Value>,
    at: &str,
    files: Option<&FromFile<'_>>,
) -> Result<Sample, FieldFault> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let outcome = text("outcome").map(str::to_owned);
    if let Some(word) = outcome.as_deref().filter(|w| !["leads", "ignored", "rejected"].contains(w))
    {
        let message = format!("`{word}` is no outcome; write leads, ignored or rejected.");
        return Err(FieldFault::new(format!("{at}/outcome"), "invalid", message));
    }
    Ok(Sample {
        delivery: delivery(members, at, files)?,
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
) -> Result<Vec<Map<String, Value>>, FieldFault> {
    let leads = match members.get("expect") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(lead)) => return Ok(vec![lead.clone()]),
        Some(Value::Array(leads)) => leads,
        Some(_) => {
            let message = "Write the fields of the lead, or a list of leads.";
            return Err(FieldFault::new(format!("{at}/expect"), "invalid", message));
        }
    };
    let lead = |(n, lead): (usize, &Value)| {
        lead.as_object().cloned().ok_or_else(|| {
            FieldFault::new(format!("{at}/expect/{n}"), "invalid", "Write the fields of the lead.")
        })
    };
    leads.iter().enumerate().map(lead).collect()
}

fn delivery(
    members: &Map<String, Value>,
    at: &str,
    files: Option<&FromFile<'_>>,
) -> Result<Delivery, FieldFault> {
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
    let typed = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let headers = fields.iter().cloned().collect();
    let raw = Delivery { headers, body: Vec::new(), url: text("url").map(str::to_owned) };
    let mut whole = match (members.get("body"), files.and_then(|read| read(members, at, &raw))) {
        (_, Some(read)) => read?,
        (Some(Value::String(text)), None) => Delivery { body: text.as_bytes().to_vec(), ..raw },
        (Some(value), None) => Delivery { body: value.to_string().into_bytes(), ..raw },
        (None, None) => {
            let one_of = if files.is_some() { ", `body_file` and `request_file`" } else { "" };
            let message = format!("A sample has one of `body`{one_of}.");
            return Err(FieldFault::new(at, "required", message));
        }
    };
    if !typed && whole.headers.get("content-type").is_none() {
        let all = whole.headers.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        let json = ("content-type".to_owned(), "application/json".to_owned());
        whole.headers = all.chain([json]).collect();
    }
    Ok(whole)
}
