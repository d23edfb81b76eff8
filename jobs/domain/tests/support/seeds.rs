//! The portals that ship, as their files in `ops/seed/portals` say.

use serde_json::Value;
use std::fs;
use switchyard_domain::portal::PortalSettings;

/// What stands in a portal's file and is none of its settings.
const OF_THE_FILE: [&str; 3] = ["code", "name", "secrets"];

pub fn settings(code: &str) -> PortalSettings {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ops/seed/portals");
    let file = fs::read(format!("{root}/{code}.json")).unwrap();
    let mut settings: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(settings["code"], code);
    settings.as_object_mut().unwrap().retain(|name, _| !OF_THE_FILE.contains(&name.as_str()));
    PortalSettings::parse(&settings).unwrap_or_else(|faults| panic!("{code}: {faults:#?}"))
}
