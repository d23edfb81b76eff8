//! What a portal's settings make of an event.

use crate::{FieldFault, StandardLead};

/// What an event stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Nothing that anybody waits for; the sender is answered 2xx all the same.
    Ignored {
        /// Stable word for programs: `event_ignored`, `honeypot`, ...
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// Leads, in the order in which they stand in the event. Never empty.
    Leads(Vec<Judged>),
}

/// One lead of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The lead, or everything that keeps it from being one.
    pub lead: Result<StandardLead, Vec<FieldFault>>,
    /// The sender sent an id only: where the rest is to be fetched. The lead needs no contact then.
    pub fetch: Option<Fetch>,
}

/// Where the rest of a lead is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Absolute URL, without the portal's token.
    pub url: String,
}
