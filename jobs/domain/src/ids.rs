//! Typed identifiers, so that a lead's id is never taken for an agency's.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new, time-ordered id (UUIDv7, RFC 9562).
            #[must_use]
            #[allow(clippy::new_without_default)] // a default id would be a random one: a trap
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Uuid {
                id.0
            }
        }
    )*};
}

ids! {
    /// An operator who may see and steer everything.
    AdministratorId;
    /// An agency: the tenant.
    AgencyId;
    /// A person of an agency who is told about leads.
    AgentId;
    /// One lead offered to one agency.
    AssignmentId;
    /// Something that happened to a deal, or a decision about an agent's commissions.
    CommissionEventId;
    /// A receiver of our webhooks.
    EndpointId;
    /// One webhook delivery that was accepted.
    EventId;
    /// A reminder about a lead.
    FollowUpId;
    /// A lead.
    LeadId;
    /// One message to one recipient over one channel.
    MessageId;
    /// A note about a lead.
    NoteId;
    /// One thing that the platform tells its webhook endpoints.
    OutboundMessageId;
    /// Commission on its way to somebody.
    PayoutId;
    /// A sender of webhooks.
    PortalId;
}
