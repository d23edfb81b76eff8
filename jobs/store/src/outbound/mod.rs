//! Outbound webhooks: endpoints, what they are told, and the log of telling them. An agency sees
//! its own; endpoints without an agency are the platform's partners.

mod deliveries;
mod emit;
mod endpoints;
mod line;
mod log;
mod upkeep;

pub use deliveries::{Begun, Ended, Outgoing, Verdict, begin, end, hold};
pub(crate) use emit::Subscriptions;
pub use emit::{DueDelivery, NewOutbound, emit, is_wanted};
pub use endpoints::{
    Endpoint, EndpointChange, EndpointFilter, EndpointState, NewEndpoint, Owner, change, create,
    forget_old_secrets, get, list, lock, owner, remove, rotate, set_state,
};
pub use line::{Flushed, ResendFault, emit_to, flush, release, requeue};
pub use log::{
    Attempt, Delivery, DeliveryFilter, DeliveryState, Health, attempts, deliveries, delivery,
    health,
};
pub use upkeep::{
    Mismatch, expire, limits_that_differ, limits_without_endpoint, settle_stranded, unattended,
};
