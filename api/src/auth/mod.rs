//! Who calls, and what they may do: tokens, the permission table, sign-in, and the throttle on
//! failed sign-ins. The dashboard's cookie holds the same tokens.

mod accounts;
mod caller;
mod guard;
mod permission;
mod sign_in;
mod throttle;
mod token;

pub(crate) use accounts::Accounts;
pub use caller::{Caller, bearer};
pub use guard::{is_public, require_token};
pub use permission::{
    AgenciesManage, BackupsManage, BackupsRead, CommissionsManage, CommissionsRead,
    EndpointsManage, EventsRead, EventsRerun, JobsEnqueue, JobsManage, JobsRead, LeadWorkManage,
    LeadWorkRead, LeadsConvert, LeadsRead, LeadsRespond, MessagesRead, OwnEndpointsManage,
    OwnLeadsRead, PayoutsManage, PayoutsRequest, PortalsManage, PortalsRead, QueuesManage,
    QueuesRead, TerritoriesManage, TerritoriesRead, WorkersManage, WorkersRead,
};
pub use permission::{Permission, Role, TABLE, may};
pub use sign_in::Session;
pub(crate) use throttle::Throttle;
pub use token::{Claims, TokenFault, TokenKeys};
