//! The samples of a file, which may name other files that hold a body or a recorded request.

use super::FileFault;
use super::request::deliveries;
use serde_json::{Map, Value};
use std::path::Path;
use switchyard_catalog::samples::{self, Delivery, Sample};
use switchyard_domain::FieldFault;

pub(super) fn read(
    value: Option<&Value>,
    folder: &Path,
    faults: &mut Vec<FileFault>,
) -> Vec<Sample> {
    let mut found = Vec::new();
    let read = |members: &Map<String, Value>, at: &str, raw: &Delivery| {
        from_file(members, at, raw, folder)
    };
    let samples = samples::read(value, Some(&read), &mut found);
    faults.extend(found.into_iter().map(FileFault::from));
    samples
}

fn from_file(
    members: &Map<String, Value>,
    at: &str,
    raw: &Delivery,
    folder: &Path,
) -> Option<Result<Delivery, FieldFault>> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    match (text("request_file"), text("body_file"), members.get("body")) {
        (Some(file), ..) => {
            let all = deliveries(&folder.join(file), raw).map(|mut all| all.swap_remove(0));
            let at = format!("{at}/request_file");
            Some(all.map_err(|f| FieldFault::new(at, f.code, f.message)))
        }
        (None, Some(file), None) => {
            let read = std::fs::read(folder.join(file)).map_err(|e| {
                let message = format!("The file {file} cannot be read: {e}.");
                FieldFault::new(format!("{at}/body_file"), "unreadable", message)
            });
            Some(read.map(|body| Delivery { body, ..raw.clone() }))
        }
        (None, Some(_), Some(_)) => {
            let message = "A sample has one of `body`, `body_file` and `request_file`.";
            Some(Err(FieldFault::new(at, "required", message)))
        }
        (None, None, _) => None,
    }
}
