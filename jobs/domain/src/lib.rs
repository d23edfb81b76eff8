//! Types and rules of the lead marketplace: no I/O, no clock, no randomness.

mod ids;
mod lead;

pub use ids::{
    AdministratorId, AgencyId, AgentId, AssignmentId, EventId, LeadId, MessageId, PortalId,
};
pub use lead::{Consent, FieldFault, LeadState, StandardLead};
