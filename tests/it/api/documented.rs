//! The OpenAPI document is complete, and what it says about permissions is so.

use super::support::{Front, json_of};
use axum::http::Method;
use serde_json::{Map, Value};
use switchyard_api::auth::is_public;
use uuid::Uuid;

/// Of the operations that both roles share, those that only operators may use. An agency that is let
/// in by mistake is found, and so is an operator who is shut out.
const OPERATORS_ONLY: [&str; 6] = [
    "commission_record",
    "payout_approve",
    "payout_decline",
    "payout_settle",
    "payout_export",
    "payout_file",
];

fn document() -> Value {
    serde_json::to_value(switchyard_api::openapi()).unwrap()
}

/// Every operation: its path, its method, and what the document says of it.
fn operations(document: &Value) -> Vec<(String, Method, Map<String, Value>)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if let Some(operation) = operation.as_object() {
                all.push((path.clone(), method, operation.clone()));
            }
        }
    }
    assert!(all.len() > 25, "only {} operations", all.len());
    all
}

/// An address that the route matches.
fn address(path: &str) -> String {
    let id = Uuid::nil().to_string();
    path.split('/')
        .map(|segment| match segment {
            "{id}" => id.as_str(),
            s if s.starts_with('{') => "x",
            s => s,
        })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn every_route_that_is_not_public_asks_who_it_is_and_whether_they_may() {
    let front = Front::new().await;
    let admin = front.admin().await;
    let (agency, _) = front.agency("biuro@nowak.example").await;
    let (mut guarded, mut operators_only) = (0, Vec::new());
    for (path, method, operation) in operations(&document()) {
        let public = is_public(&path);
        assert_eq!(operation.contains_key("security"), !public, "{method} {path}");
        if public {
            continue;
        }
        guarded += 1;
        let request = || front.request(method.clone(), &address(&path));
        let nobody = json_of(request(), 401).await;
        assert_eq!(nobody["error"]["code"], "unauthenticated", "{method} {path}");
        // Leads and commissions are both roles', each in its own scope.
        let shared = ["/api/v1/leads/", "/api/v1/commissions/"];
        let shared = shared.iter().any(|s| path.starts_with(s));
        let operators = ["/api/admin/", "/api/v1/backup/"].iter().any(|p| path.starts_with(p));
        let id = operation["operationId"].as_str().unwrap();
        let only = shared && OPERATORS_ONLY.contains(&id);
        operators_only.extend(only.then(|| id.to_owned()));
        let (right, wrong) = match (operators || only, shared) {
            (true, _) => (vec![&admin], vec![&agency]),
            (false, true) => (vec![&admin, &agency], vec![]),
            (false, false) => (vec![&agency], vec![&admin]),
        };
        for token in wrong {
            let refused = json_of(request().bearer_auth(token), 403).await;
            assert_eq!(refused["error"]["code"], "forbidden", "{method} {path}");
        }
        for token in right {
            let answer = request().bearer_auth(token).send().await.unwrap();
            let status = answer.status().as_u16();
            assert!(!matches!(status, 401 | 403 | 405 | 500), "{method} {path}: {status}");
        }
    }
    operators_only.sort_unstable();
    let mut listed = OPERATORS_ONLY;
    listed.sort_unstable();
    assert_eq!(operators_only, listed, "each is an operation of the document");
    assert!(guarded > 20, "only {guarded} routes are guarded");
}

#[tokio::test]
async fn every_path_of_the_router_is_in_the_document() {
    let front = Front::new().await;
    // The router's debug form lists its paths, which nothing else gives away.
    let listed = format!("{:?}", switchyard_api::router(front.api.clone()));
    let listed: Vec<&str> = listed.split('"').filter(|p| p.starts_with('/')).collect();
    let document = document();
    let documented = document["paths"].as_object().unwrap();
    let ours: Vec<_> = listed
        .iter()
        // axum keeps the answer to unknown addresses at `/`.
        .filter(|p| **p != "/" && !p.contains("__private__"))
        .filter(|p| !p.starts_with("/ops") && !p.starts_with("/api/docs"))
        .filter(|p| **p != "/api/openapi.json")
        .collect();
    assert!(ours.len() > 20, "{listed:?}");
    for path in ours {
        // The same address with a slash at its end.
        let path = &path.strip_suffix('/').unwrap_or(path);
        assert!(documented.contains_key(*path), "{path} is not documented");
    }
    let served = front.get("/api/openapi.json").send().await.unwrap();
    assert_eq!(served.json::<Value>().await.unwrap(), document);
    let page = front.get("/api/docs/").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("swagger-ui"), "{page}");
}

#[test]
fn every_operation_says_what_it_does_takes_and_answers() {
    let document = document();
    let mut ids = Vec::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{at}");
        assert!(operation["tags"].as_array().is_some_and(|t| t.len() == 1), "{at}");
        ids.push(operation["operationId"].as_str().unwrap().to_owned());
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|s| s.starts_with('2')), "{at}");
        for status in ["500", "503"] {
            assert!(responses.contains_key(status), "{at} has no {status}");
        }
        for (status, response) in responses {
            assert!(!response["description"].as_str().unwrap().is_empty(), "{at} {status}");
            for content in response["content"].as_object().into_iter().flat_map(Map::values) {
                assert!(content["schema"].is_object(), "{at} {status} has no schema");
                let refused = status.starts_with(['4', '5']);
                assert!(
                    !refused || content["example"]["error"]["code"].is_string(),
                    "{at} {status}"
                );
            }
        }
        if let Some(body) = operation.get("requestBody") {
            let content = body["content"]["application/json"].clone();
            assert!(content["schema"].is_object(), "{at} takes a body without a schema");
            for status in ["400", "413", "415", "422"] {
                assert!(responses.contains_key(status), "{at} has no {status}");
            }
        }
        let parameters = operation.get("parameters").and_then(Value::as_array);
        for parameter in parameters.into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{at}: {parameter}");
        }
    }
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    found.push(target.clone());
                }
                map.values().for_each(|v| walk(v, found));
            }
            Value::Array(all) => all.iter().for_each(|v| walk(v, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    walk(&document, &mut found);
    assert!(!found.is_empty());
    for target in found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}

#[test]
fn the_manual_of_commissions_names_every_call_and_none_that_is_not_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manual = std::fs::read_to_string(root.join("docs/commissions.md")).unwrap();
    let document = document();
    let there: Vec<String> = operations(&document)
        .iter()
        .map(|(path, method, _)| format!("`{method} {path}`"))
        .filter(|call| call.contains("/api/v1/commissions/") || call.contains("/api/v1/leads/"))
        .collect();
    for call in &there {
        assert!(manual.contains(call.as_str()), "the manual lacks {call}");
    }
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    for call in rows.filter(|row| row.contains(" /api/")) {
        assert!(there.contains(&format!("`{call}`")), "there is no {call}");
    }
    assert!(there.len() >= 25, "{there:?}");
}
