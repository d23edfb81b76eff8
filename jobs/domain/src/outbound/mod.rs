//! Webhooks that the platform sends: what they tell, how they are signed, when they are tried again.

mod event;
mod payload;
mod schedule;
mod sign;

pub use event::{BadSubscription, EventType, MOST_SUBSCRIPTIONS, check_subscriptions, subscribed};
pub use payload::{AssignmentFacts, CommissionFacts, Event, LeadFacts, MessageFacts};
pub use schedule::{ATTEMPTS, DISABLE_AFTER, LONGEST_RETRY_AFTER, SAME_STRETCH, WAITS, wait_after};
pub use sign::{BadSecret, ENDPOINT_SIGNING, EndpointSecret, signatures, webhook_id};
