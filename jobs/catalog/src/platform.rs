//! What the platform hands to every job.

use std::sync::Arc;
use switchyard_domain::LeadId;
use switchyard_providers::Providers;
use switchyard_store::Db;

/// The database and the way out. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    /// The database.
    pub db: Db,
    /// The senders of messages.
    pub providers: Providers,
    /// Where an agent looks at a lead and answers; `{id}` stands for the lead.
    pub lead_url: Arc<str>,
}

impl Platform {
    /// The link that goes into a message.
    #[must_use]
    pub fn lead_link(&self, lead: LeadId) -> String {
        self.lead_url.replace("{id}", &lead.to_string())
    }
}
