//! Types and rules of the lead marketplace: no I/O and no clock. Randomness only for ids, keys and
//! nonces.

pub mod body;
pub mod changes;
pub mod commission;
pub mod delivery;
pub mod distribution;
pub mod duplicates;
mod headers;
mod ids;
mod lead;
pub mod ledger;
pub mod mapping;
pub mod message;
pub mod money;
pub mod normalise;
pub mod outbound;
pub mod payment;
pub mod portal;
pub mod secrets;
pub mod signature;
pub mod statement;

pub use headers::Headers;
pub use ids::{
    AdministratorId, AgencyId, AgentId, AssignmentId, CommissionEventId, EndpointId, EventId,
    FollowUpId, LeadId, MessageId, NoteId, OutboundMessageId, PayoutId, PortalId,
};
pub use lead::{Consent, ConsentProof, FieldFault, LeadState, StandardLead};
