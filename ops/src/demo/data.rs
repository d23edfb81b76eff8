//! What is in the demo. People, addresses and numbers are invented.

use crate::portal_file::PortalFile;
use serde_json::Value;
use std::path::Path;

/// The portal that takes the standard lead.
pub(super) const PORTAL: &str = "demo";
/// Where the demo's postal codes are taken to lie; the first is the demo portal's own country. A
/// postal code means nothing without a country, and a script that plays with the demo may name any
/// of these.
pub(super) const COUNTRIES: [&str; 6] = ["PL", "DE", "IT", "ES", "FR", "US"];
/// The administrator's address.
pub(super) const ADMIN: &str = "admin@demo.switchyard.example";

/// An agency of the demo.
pub(super) struct AgencySeed {
    pub(super) name: &'static str,
    pub(super) email: &'static str,
    pub(super) phone: &'static str,
    pub(super) catch_all: bool,
    pub(super) postal_codes: &'static [&'static str],
    pub(super) agents: &'static [AgentSeed],
}

/// A person of an agency.
pub(super) struct AgentSeed {
    pub(super) name: &'static str,
    pub(super) email: &'static str,
    pub(super) phone: &'static str,
}

/// The first two share places, so that the round robin shows.
pub(super) const AGENCIES: [AgencySeed; 3] = [
    AgencySeed {
        name: "Vistula Homes",
        email: "office@vistula.demo.switchyard.example",
        phone: "+48221000101",
        catch_all: false,
        postal_codes: &["00-950", "00-001", "02-001"],
        agents: &[
            AgentSeed {
                name: "Zofia Nowak",
                email: "zofia@vistula.demo.switchyard.example",
                phone: "+48512000101",
            },
            AgentSeed {
                name: "Jan Kowalski",
                email: "jan@vistula.demo.switchyard.example",
                phone: "+48512000102",
            },
        ],
    },
    AgencySeed {
        name: "Mazovia Property",
        email: "office@mazovia.demo.switchyard.example",
        phone: "+48221000201",
        catch_all: false,
        postal_codes: &["00-950", "00-001", "05-077"],
        agents: &[AgentSeed {
            name: "Maria Wiśniewska",
            email: "maria@mazovia.demo.switchyard.example",
            phone: "+48512000201",
        }],
    },
    AgencySeed {
        name: "Wawel Keys",
        email: "office@wawel.demo.switchyard.example",
        phone: "+48121000301",
        catch_all: true,
        postal_codes: &["30-001", "31-001"],
        agents: &[AgentSeed {
            name: "Piotr Lewandowski",
            email: "piotr@wawel.demo.switchyard.example",
            phone: "+48512000301",
        }],
    },
];

/// A portal that comes with the program.
#[derive(Clone, Debug)]
pub struct PortalSeed {
    /// The word in its webhook URL.
    pub code: String,
    /// For people.
    pub name: String,
    /// `PortalSettings`, as they stand in `ops/seed/portals`; the demo has secrets of its own.
    pub settings: Value,
}

/// The portals that come with the program.
///
/// # Panics
/// If a file is broken: a mistake in the program, which a test finds.
#[must_use]
pub fn portal_seeds() -> Vec<PortalSeed> {
    let files = [
        include_str!("../../seed/portals/demo.json"),
        include_str!("../../seed/portals/zapier_flat.json"),
        include_str!("../../seed/portals/indomio_immobiliare.json"),
        include_str!("../../seed/portals/standard_webhooks.json"),
    ];
    let read = |text| {
        let file = PortalFile::parse(text, true, Path::new(""), false)
            .expect("a portal file of the program is sound");
        PortalSeed { code: file.code, name: file.name, settings: file.raw }
    };
    files.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_domain::portal::PortalSettings;

    #[test]
    fn every_portal_file_is_sound() {
        for seed in portal_seeds() {
            let settings = PortalSettings::parse(&seed.settings);
            assert!(settings.is_ok(), "{}: {settings:?}", seed.code);
        }
    }

    #[test]
    fn the_demo_portal_takes_a_key_in_the_header_of_the_contract() {
        let seeds = portal_seeds();
        let demo = seeds.iter().find(|s| s.code == PORTAL).expect("a demo portal");
        let key = &demo.settings["api_key"];
        assert_eq!((key["in"].as_str(), key["name"].as_str()), (Some("header"), Some("X-API-Key")));
    }
}
