//! What the platform hands to every job.

use crate::alarms::Alarms;
use crate::backup::Backups;
use crate::deliver::{Beginning, Recording};
use crate::lead_distribute::Giving;
use crate::together::Together;
use crate::webhook_process::Judging;
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
    /// Backups, if an archive is configured.
    pub backups: Option<Arc<Backups>>,
    /// Who hears of alarms.
    pub alarms: Alarms,
    /// Statements are mailed when a month is closed.
    pub mail_statements: bool,
    /// Where jobs of the line meet that run at the same moment.
    pub line: LineTogether,
}

/// Jobs of the line that run at the same moment in this process are done in one transaction.
#[derive(Clone, Default)]
pub struct LineTogether {
    pub(crate) judging: Together<Judging>,
    pub(crate) giving: Together<Giving>,
    pub(crate) beginning: Together<Beginning>,
    pub(crate) recording: Together<Recording>,
}

impl Platform {
    /// A platform without an archive, whose alarms go to nobody.
    #[must_use]
    pub fn new(db: Db, providers: Providers, lead_url: impl Into<Arc<str>>) -> Self {
        let lead_url = lead_url.into();
        Self {
            db,
            providers,
            lead_url,
            backups: None,
            alarms: Alarms::default(),
            mail_statements: false,
            line: LineTogether::default(),
        }
    }

    /// The link that goes into a message.
    #[must_use]
    pub fn lead_link(&self, lead: LeadId) -> String {
        self.lead_url.replace("{id}", &lead.to_string())
    }
}
