//! Every example of `docs/mapping.md` is run: the page says what the program does. A block of `jsonl`
//! holds one example a line; a block of `json` with `leads` or `ignored` is a whole one.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::{Map, Value, json};
use std::fs;
use switchyard_domain::mapping::Judgement;
use switchyard_domain::portal::PortalSettings;
use switchyard_domain::{FieldFault, Headers, StandardLead};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn page() -> String {
    fs::read_to_string(format!("{ROOT}/docs/mapping.md")).unwrap()
}

/// The fenced blocks in this language, each with the line it begins at.
fn blocks(language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for (at, line) in page().lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(found)) => open = Some((at + 2, found.to_owned(), String::new())),
            (Some(_), Some(_)) => {
                let (at, found, text) = open.take().unwrap();
                if found == language {
                    blocks.push((at, text));
                }
            }
            (Some((_, _, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

fn defaults() -> Value {
    json!({"country": "PL", "time_zone": "Europe/Warsaw", "currency": "PLN", "number_locale": "pl-PL"})
}

fn settings(example: &Value) -> PortalSettings {
    let mut settings = json!({
        "mapping": example["mapping"],
        "defaults": example.get("defaults").cloned().unwrap_or_else(defaults),
    });
    if let Some(enrich) = example.get("enrich") {
        settings["enrich"] = enrich.clone();
    }
    PortalSettings::parse(&settings).unwrap_or_else(|faults| panic!("{faults:#?}\n{example}"))
}

fn judge(example: &Value) -> Judgement {
    let headers: Headers = example
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.as_str(), v.as_str().unwrap()))
        .collect();
    let received_at = "2026-11-22T15:00:00Z".parse().unwrap();
    settings(example).judge(&example["body"], &headers, example["url"].as_str(), received_at)
}

/// The lead without what is absent.
fn plain(lead: &StandardLead) -> Value {
    fn prune(value: Value) -> Value {
        match value {
            Value::Object(members) => Value::Object(
                members
                    .into_iter()
                    .filter(|(_, v)| !v.is_null())
                    .map(|(k, v)| (k, prune(v)))
                    .collect::<Map<_, _>>(),
            ),
            other => other,
        }
    }
    let mut lead = prune(serde_json::to_value(lead).unwrap());
    let members = lead.as_object_mut().unwrap();
    members.retain(|name, value| match name.as_str() {
        "is_test" => *value != json!(false),
        "warnings" => *value != json!([]),
        _ => true,
    });
    lead
}

type Outcome = Result<StandardLead, Vec<FieldFault>>;

fn leads(example: &Value, at: usize) -> Vec<(Outcome, Option<String>)> {
    match judge(example) {
        Judgement::Leads(judged) => {
            judged.into_iter().map(|j| (j.lead, j.fetch.map(|f| f.url))).collect()
        }
        Judgement::Ignored { code, .. } => panic!("line {at}: ignored as {code}"),
    }
}

/// One line of a `jsonl` block: what differs.
fn run_line(line: &Value, at: usize) -> Option<String> {
    let known = [
        "field", "rule", "then", "in", "when", "body", "headers", "url", "out", "holds", "warning",
        "fault",
    ];
    for name in line.as_object().unwrap().keys() {
        assert!(known.contains(&name.as_str()), "line {at}: `{name}`");
    }
    let field = line["field"].as_str().unwrap_or("custom.out").to_owned();
    let rule = if let Some(when) = line.get("when") {
        json!({"const": "holds", "when": when})
    } else if let Some(then) = line.get("then") {
        json!({"path": "in", "then": then})
    } else {
        line["rule"].clone()
    };
    let body = line.get("body").cloned().unwrap_or_else(|| json!({"in": line["in"]}));
    let mut fields = json!({ field.clone(): rule });
    if field != "email" {
        fields["email"] = json!({"const": "a@b.co"});
    }
    let mut example = line.clone();
    example["mapping"] = json!({ "fields": fields });
    example["body"] = body;
    let (lead, _) = leads(&example, at).remove(0);
    if let Some(code) = line.get("fault") {
        assert_eq!(lead.unwrap_err()[0].code, code.as_str().unwrap(), "line {at}");
        return None;
    }
    let lead = plain(&lead.unwrap_or_else(|faults| panic!("line {at}: {faults:#?}")));
    let got = field.split('.').try_fold(&lead, |v, key| v.get(key)).cloned().unwrap_or_default();
    let wanted = match line.get("holds") {
        Some(holds) if *holds == json!(true) => json!("holds"),
        Some(_) => Value::Null,
        None => line["out"].clone(),
    };
    let warnings: Vec<&Value> = line.get("warning").into_iter().collect();
    let noted = lead.get("warnings").cloned().unwrap_or(json!([]));
    let same = got == wanted && json!(warnings) == noted;
    (!same).then(|| format!("line {at}: expected {wanted}, got {got}, warnings {noted}"))
}

#[test]
fn every_line_does_what_it_says() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for (first, block) in blocks("jsonl") {
        for (i, line) in block.lines().enumerate() {
            let at = first + i;
            let line = serde_json::from_str(line).unwrap_or_else(|e| panic!("line {at}: {e}"));
            wrong.extend(run_line(&line, at));
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 150, "{count} lines");
}

#[test]
fn every_whole_example_does_what_it_says() {
    let mut count = 0;
    for (at, block) in blocks("json") {
        let example: Value =
            serde_json::from_str(&block).unwrap_or_else(|e| panic!("line {at}: {e}"));
        if let Some(code) = example.get("ignored") {
            match judge(&example) {
                Judgement::Ignored { code: got, .. } => assert_eq!(json!(got), *code, "line {at}"),
                leads => panic!("line {at}: {leads:?}"),
            }
            count += 1;
            continue;
        }
        let judged = leads(&example, at);
        let plain_leads: Vec<_> = judged
            .iter()
            .map(|(lead, _)| plain(lead.as_ref().unwrap_or_else(|f| panic!("line {at}: {f:#?}"))))
            .collect();
        assert_eq!(json!(plain_leads), example["leads"], "line {at}");
        let fetch: Vec<_> = judged.iter().filter_map(|(_, fetch)| fetch.clone()).collect();
        assert_eq!(json!(fetch), example.get("fetch").cloned().unwrap_or(json!([])), "line {at}");
        if let Some(fetched) = example.get("fetched") {
            let lead = judged[0].0.clone().unwrap();
            let whole = settings(&example).enrich(lead, fetched).unwrap();
            assert_eq!(plain(&whole), example["enriched"], "line {at}");
        }
        count += 1;
    }
    assert!(count >= 11, "{count} examples");
}

/// No operator without an example, no example without its operator in the schema.
#[test]
fn the_page_shows_every_operator_of_the_schema() {
    let schema: Value =
        serde_json::from_slice(&fs::read(format!("{ROOT}/docs/portal.schema.json")).unwrap())
            .unwrap();
    let page = page();
    let examples: String = blocks("jsonl").into_iter().map(|(_, text)| text).collect();
    let names = |definition: &str| -> Vec<String> {
        let members = schema["$defs"][definition]["properties"].as_object().unwrap();
        members.keys().cloned().collect()
    };
    for step in names("step_object") {
        assert!(examples.contains(&format!("\"{step}\"")), "no example of the step `{step}`");
    }
    for place in names("source_object") {
        assert!(page.contains(&format!("\"{place}\"")), "no example of `{place}`");
    }
    for test in names("condition_object") {
        assert!(page.contains(&format!("\"{test}\"")), "no example of the condition `{test}`");
    }
}
