//! Bodies of the corpus as they come, and what those that are not JSON stand for.

use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use switchyard_domain::portal::PortalSettings;

pub fn body(delivery: &Value) -> Vec<u8> {
    let bytes = match &delivery["body"] {
        Value::String(text) => text.as_bytes().to_vec(),
        _ => base64::prelude::BASE64_STANDARD
            .decode(delivery["body_base64"].as_str().unwrap())
            .unwrap(),
    };
    assert_eq!(hex::encode(Sha256::digest(&bytes)), delivery["body_sha256"].as_str().unwrap());
    bytes
}

/// A form's fields as an object; `name[]` is a list.
pub fn form_body(_: &PortalSettings, delivery: &Value) -> Option<Value> {
    let mut members = serde_json::Map::new();
    for (key, value) in url::form_urlencoded::parse(&body(delivery)) {
        match key.strip_suffix("[]") {
            Some(list) => {
                let list = members.entry(list).or_insert_with(|| json!([]));
                list.as_array_mut().unwrap().push(json!(value));
            }
            None => {
                members.insert(key.into_owned(), json!(value));
            }
        }
    }
    Some(Value::Object(members))
}

/// The two sound bodies of the corpus as the decoder of XML gives them.
pub fn adf_body(_: &PortalSettings, delivery: &Value) -> Option<Value> {
    let xml = String::from_utf8(body(delivery)).unwrap();
    let between = |start: &str, end: &str| {
        let (_, rest) = xml.split_once(start).unwrap();
        rest.split_once(end).unwrap().0.to_owned()
    };
    if xml.contains("<!DOCTYPE") {
        return None;
    }
    Some(json!({"adf": {"prospect": {
        "@status": "new",
        "id": {"@sequence": "1", "@source": "AutoPortal", "#text": between("AutoPortal\">", "</id>")},
        "requestdate": between("<requestdate>", "</requestdate>"),
        "vehicle": [
            {"@interest": "buy", "@status": "used", "year": "2021", "make": "FIAT",
             "model": "Panda & Co", "stock": "P-771",
             "price": {"@type": "asking", "@currency": "EUR", "#text": "11900"}},
            {"@interest": "trade-in", "@status": "used", "year": "2012", "make": "Opel",
             "model": "Corsa"},
        ],
        "customer": {
            "contact": {
                "name": [{"@part": "first", "#text": "Seán"}, {"@part": "last", "#text": "Ó Briain"}],
                "email": {"@preferredcontact": "1", "#text": "sean@example.ie"},
                "phone": [{"@type": "fax", "#text": "(01) 679 0009"},
                          {"@type": "voice", "@time": "evening", "#text": "(01) 679 0001"}],
                "address": {"city": "Dublin", "postalcode": "D02 X285", "country": "IE"},
            },
            "comments": "Is it <still> available? 5 > 3 & ok",
        },
        "vendor": {"contact": {"name": {"@part": "full", "#text": "Demo Motors"},
                               "email": "vendor@example.ie"}},
        "provider": {"name": {"@part": "full", "#text": "AutoPortal"}, "service": "Classifieds"},
    }}}))
}
