//! The demo: portals, agencies with territories, agents and sales, and an administrator, all with
//! credentials of their own that stay the same from start to start.

mod data;
mod plan;
mod sales;
mod seed;

pub use data::{PortalSeed, portal_seeds};
pub use plan::{AccountPlan, DemoPlan, PortalPlan};
pub use sales::sell;
pub use seed::apply;

use serde::Serialize;
use switchyard_domain::AgencyId;

/// The file that scripts wait for.
pub const FILE: &str = "demo.json";

/// What `demo.json` says: the contract for scripts.
#[derive(Clone, Debug, Serialize)]
pub struct Demo {
    /// Where the API is.
    pub api: String,
    /// Where the dashboard is.
    pub dashboard: String,
    /// Who may sign in to it.
    pub admin: AccountPlan,
    /// Who may send leads.
    pub portals: Vec<PortalPlan>,
    /// Who gets them.
    pub agencies: Vec<DemoAgency>,
}

/// One agency of the demo.
#[derive(Clone, Debug, Serialize)]
pub struct DemoAgency {
    /// The agency.
    pub id: AgencyId,
    /// Its name.
    pub name: String,
    /// Its sign-in.
    pub email: String,
    /// Its sign-in.
    pub password: String,
    /// What it covers.
    pub postal_codes: Vec<String>,
}

impl Demo {
    /// One line for a shell: sends a lead through the demo portal, in the place of the first agency.
    #[must_use]
    pub fn curl(&self) -> String {
        let portal = self.portals.iter().find(|p| p.code == data::PORTAL);
        let key = portal.and_then(|p| p.api_key.as_deref()).unwrap_or_default();
        // The id carries the time, so that the same line pasted again is another lead.
        format!(
            "curl -i {}/api/webhooks/{} -H 'Content-Type: application/json' -H 'X-API-Key: {key}' \
             -d '{{\"id\":\"demo-'$(date +%s%N)'\",\"first_name\":\"Ada\",\"last_name\":\"Lovelace\",\
             \"email\":\"ada@example.com\",\"phone\":\"+48512345678\",\"postal_code\":\"{}\",\
             \"country\":\"{}\",\"product\":\"Two-room flat\",\"message\":\"When can I see it?\"}}'",
            self.api,
            data::PORTAL,
            data::AGENCIES[0].postal_codes[0],
            data::COUNTRIES[0],
        )
    }
}
