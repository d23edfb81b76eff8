//! The permission table: which role may do what. What is not in it is not allowed.

use serde::{Deserialize, Serialize};
use std::fmt;

/// As what somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An operator of the platform.
    Admin,
    /// An agency: one tenant.
    Agency,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Agency => "agency",
        })
    }
}

/// One line of the table. A handler names the type in [`super::Caller`].
pub trait Permission: Send + Sync + 'static {
    /// Its name, for logs and documentation.
    const NAME: &'static str;
    /// Who has it.
    const ROLES: &'static [Role];
}

/// Whether a role has a permission. An unknown permission is nobody's.
#[must_use]
pub fn may(role: Role, permission: &str) -> bool {
    TABLE.iter().any(|(name, roles)| *name == permission && roles.contains(&role))
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal for [$($role:ident),+];)+) => {
        /// Every permission with the roles that have it.
        pub const TABLE: &[(&str, &[Role])] = &[$(($text, &[$(Role::$role),+])),+];
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $name;
            impl Permission for $name {
                const NAME: &'static str = $text;
                const ROLES: &'static [Role] = &[$(Role::$role),+];
            }
        )+
    };
}

permissions! {
    /// See queues, their counts and the limits.
    QueuesRead = "queues.read" for [Admin];
    /// Pause and resume queues and kinds, weigh queues, set limits.
    QueuesManage = "queues.manage" for [Admin];
    /// See jobs, their arguments and attempts.
    JobsRead = "jobs.read" for [Admin];
    /// Retry, cancel and discard jobs.
    JobsManage = "jobs.manage" for [Admin];
    /// Enqueue a job by hand.
    JobsEnqueue = "jobs.enqueue" for [Admin];
    /// See worker processes.
    WorkersRead = "workers.read" for [Admin];
    /// Quiet a worker process.
    WorkersManage = "workers.manage" for [Admin];
    /// See webhook events.
    EventsRead = "events.read" for [Admin];
    /// Run a rejected event again.
    EventsRerun = "events.rerun" for [Admin];
    /// See everybody's leads.
    LeadsRead = "leads.read" for [Admin];
    /// See messages.
    MessagesRead = "messages.read" for [Admin];
    /// See portals and their settings.
    PortalsRead = "portals.read" for [Admin];
    /// Change portals and their settings.
    PortalsManage = "portals.manage" for [Admin];
    /// See how backups stand.
    BackupsRead = "backups.read" for [Admin];
    /// Take and check backups, ask for restores and confirm them, release a restored system.
    BackupsManage = "backups.manage" for [Admin];
    /// See and change agencies.
    AgenciesManage = "agencies.manage" for [Admin];
    /// See and change webhook endpoints, and send again what they were told.
    EndpointsManage = "endpoints.manage" for [Admin];
    /// See one's own leads.
    OwnLeadsRead = "own_leads.read" for [Agency];
    /// Accept and reject leads that were offered.
    LeadsRespond = "own_leads.respond" for [Agency];
    /// See one's own territories.
    TerritoriesRead = "territories.read" for [Agency];
    /// Add and remove one's own territories.
    TerritoriesManage = "territories.manage" for [Agency];
    /// See and change one's own webhook endpoints, and send again what they were told.
    OwnEndpointsManage = "own_endpoints.manage" for [Agency];
    /// See leads with what was done about them: an agency its own, an operator all.
    LeadWorkRead = "lead_work.read" for [Admin, Agency];
    /// Enter leads by hand, mend them, write notes, plan reminders.
    LeadWorkManage = "lead_work.manage" for [Admin, Agency];
    /// Record that a lead was sold.
    LeadsConvert = "leads.convert" for [Admin, Agency];
    /// See commissions: an agency its own, an operator all.
    CommissionsRead = "commissions.read" for [Admin, Agency];
    /// Record what becomes of deals after the sale, and decisions about agents.
    CommissionsManage = "commissions.manage" for [Admin];
    /// Say where money goes, and ask for it to be paid.
    PayoutsRequest = "payouts.request" for [Admin, Agency];
    /// Approve and decline payouts, export them, say what became of them.
    PayoutsManage = "payouts.manage" for [Admin];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_nobodys() {
        assert!(!may(Role::Admin, "money.print"));
        assert!(may(Role::Admin, QueuesRead::NAME));
        assert!(!may(Role::Agency, QueuesRead::NAME));
        assert!(!may(Role::Admin, OwnLeadsRead::NAME), "an operator has no tenant");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = TABLE.iter().map(|(n, _)| n).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }
}
