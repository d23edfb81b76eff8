//! The examples of `docs/portals.md` are settings that work.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::{Value, json};
use switchyard_domain::portal::PortalSettings;

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/portals.md");
    std::fs::read_to_string(path).unwrap()
}

fn works(settings: &Value) {
    let mut whole = json!({"mapping": {"fields": {"email": "email"}}});
    whole.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    if let Err(faults) = PortalSettings::parse(&whole) {
        panic!("{settings}: {faults:?}");
    }
}

#[test]
fn blocks_of_settings_are_accepted() {
    let page = page();
    let mut blocks = 0;
    for block in page.split("```json\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        match value.get("scheme") {
            Some(_) => works(&json!({"api_key": {"in": "none"}, "signature": value})),
            None => works(&value),
        }
        blocks += 1;
    }
    assert!(blocks >= 6, "{blocks}");
}

#[test]
fn settings_in_the_text_are_accepted() {
    let page = page();
    let mut found = 0;
    for line in page.lines() {
        for code in line.split('`').skip(1).step_by(2).filter(|c| c.starts_with('{')) {
            let Ok(value) = serde_json::from_str::<Value>(code) else { continue };
            let signed = json!({"scheme": "github"});
            let settings = match value.as_object().unwrap().keys().next().unwrap().as_str() {
                "in" if value["in"] == "signature"
                    || value["name"] == "X-Time"
                    || value["path"].is_string() =>
                {
                    json!({
                        "signature": {"scheme": "hmac", "header": "X", "timestamp": value,
                            "string_to_sign": "{ts}.{body}"}})
                }
                "in" => json!({"api_key": value, "signature": signed}),
                "scheme" => json!({ "signature": value }),
                "header" if value["reply_header"].is_string() => {
                    json!({"handshake": value, "signature": signed})
                }
                "header" | "path" => json!({ "delivery_id": value }),
                "ping" => json!({"handshake": value}),
                "query" if value["query"] == "delivery" => json!({ "delivery_id": value }),
                "query" => json!({"handshake": value, "signature": signed}),
                "body" if value["body"].is_string() => {
                    json!({"handshake": value, "signature": signed})
                }
                "csv" | "xml" | "charset" => json!({ "body": value }),
                "new_api_key" | "keep_former_api_key" | "lead" => continue,
                other => panic!("{other}: what is {code}?"),
            };
            works(&settings);
            found += 1;
        }
    }
    assert!(found >= 18, "{found}");
}

#[test]
fn the_schema_names_every_setting_of_the_door() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/portal.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let unknown = PortalSettings::parse(&json!({"nothing": 1})).unwrap_err();
    let sentence = &unknown.iter().find(|f| f.code == "unknown_setting").unwrap().message;
    for name in [
        "api_key",
        "signature",
        "delivery_id",
        "public_base_url",
        "ip_allow",
        "handshake",
        "limits",
        "body",
        "reply",
    ] {
        assert!(sentence.contains(name), "{name}: {sentence}");
        assert!(schema["properties"][name].is_object(), "{name}");
        assert!(schema["$defs"][name].is_object(), "{name}");
    }
}
