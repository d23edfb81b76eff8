//! What the events tell. Receivers rely on these shapes: fields are added, never renamed or removed.

use super::EventType;
use crate::{
    AgencyId, AgentId, AssignmentId, EndpointId, LeadId, LeadState, MessageId, PortalId,
    StandardLead,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// A lead: the standard lead with what the platform knows of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LeadFacts<'a> {
    /// Its id.
    pub id: LeadId,
    /// Where it stands after the event.
    pub state: LeadState,
    /// Which portal it came from.
    pub portal_id: PortalId,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// What the person sent.
    #[serde(flatten)]
    pub data: &'a StandardLead,
}

/// An offer to an agency.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AssignmentFacts {
    /// Its id.
    pub id: AssignmentId,
    /// To whom.
    pub agency_id: AgencyId,
}

/// A message to an agency that was not sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MessageFacts<'a> {
    /// Its id.
    pub id: MessageId,
    /// Whose agents should have been told.
    pub agency_id: AgencyId,
    /// About what.
    pub lead_id: LeadId,
    /// Who should have been told; `None`: the agency itself.
    pub agent_id: Option<AgentId>,
    /// `email` or `whatsapp`.
    pub channel: &'a str,
    /// E-mail address, or phone number in E.164.
    pub recipient: &'a str,
    /// What went wrong last.
    pub error: Option<&'a str>,
    /// How often sending was begun.
    pub attempts: i32,
}

/// A commission.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CommissionFacts<'a> {
    /// Its id.
    pub id: Uuid,
    /// Of which lead.
    pub lead_id: LeadId,
    /// Of which agency.
    pub agency_id: AgencyId,
    /// In minor units of the currency: cents, grosze.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: &'a str,
    /// When.
    pub booked_at: DateTime<Utc>,
}

/// Something that happened, on its way to the endpoints.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// See [`EventType::LeadCreated`].
    LeadCreated(LeadFacts<'a>),
    /// See [`EventType::LeadAssigned`].
    LeadAssigned(LeadFacts<'a>, AssignmentFacts),
    /// See [`EventType::LeadAccepted`].
    LeadAccepted(LeadFacts<'a>, AssignmentFacts),
    /// See [`EventType::LeadRejected`].
    LeadRejected {
        /// The lead; nothing else is told of it.
        lead: LeadId,
        /// The offer.
        assignment: AssignmentFacts,
        /// The agency's reason.
        note: Option<&'a str>,
    },
    /// See [`EventType::LeadUnassigned`].
    LeadUnassigned(LeadFacts<'a>),
    /// See [`EventType::MessageFailed`].
    MessageFailed(MessageFacts<'a>),
    /// See [`EventType::CommissionBooked`].
    CommissionBooked(CommissionFacts<'a>),
    /// See [`EventType::Test`].
    Test {
        /// Which endpoint is tried.
        endpoint: EndpointId,
        /// Whose it is.
        agency: Option<AgencyId>,
    },
}

impl Event<'_> {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> EventType {
        match self {
            Self::LeadCreated(_) => EventType::LeadCreated,
            Self::LeadAssigned(..) => EventType::LeadAssigned,
            Self::LeadAccepted(..) => EventType::LeadAccepted,
            Self::LeadRejected { .. } => EventType::LeadRejected,
            Self::LeadUnassigned(_) => EventType::LeadUnassigned,
            Self::MessageFailed(_) => EventType::MessageFailed,
            Self::CommissionBooked(_) => EventType::CommissionBooked,
            Self::Test { .. } => EventType::Test,
        }
    }

    /// Whose event it is: besides partners, only this agency's endpoints get it.
    #[must_use]
    pub fn agency(&self) -> Option<AgencyId> {
        match self {
            Self::LeadCreated(_) | Self::LeadUnassigned(_) => None,
            Self::LeadAssigned(_, a)
            | Self::LeadAccepted(_, a)
            | Self::LeadRejected { assignment: a, .. } => Some(a.agency_id),
            Self::MessageFailed(m) => Some(m.agency_id),
            Self::CommissionBooked(c) => Some(c.agency_id),
            Self::Test { agency, .. } => *agency,
        }
    }

    /// Which lead it is about.
    #[must_use]
    pub fn lead(&self) -> Option<LeadId> {
        match self {
            Self::LeadCreated(l)
            | Self::LeadAssigned(l, _)
            | Self::LeadAccepted(l, _)
            | Self::LeadUnassigned(l) => Some(l.id),
            Self::LeadRejected { lead, .. } => Some(*lead),
            Self::MessageFailed(m) => Some(m.lead_id),
            Self::CommissionBooked(c) => Some(c.lead_id),
            Self::Test { .. } => None,
        }
    }

    /// The payload's `data`.
    #[must_use]
    pub fn data(&self) -> Value {
        match self {
            Self::LeadCreated(lead) | Self::LeadUnassigned(lead) => json!({ "lead": lead }),
            Self::LeadAssigned(lead, assignment) | Self::LeadAccepted(lead, assignment) => {
                json!({ "lead": lead, "assignment": assignment })
            }
            Self::LeadRejected { lead, assignment, note } => {
                json!({ "lead_id": lead, "assignment": assignment, "note": note })
            }
            Self::MessageFailed(message) => json!({ "message": message }),
            Self::CommissionBooked(commission) => json!({ "commission": commission }),
            Self::Test { endpoint, .. } => json!({ "endpoint_id": endpoint }),
        }
    }
}

impl EventType {
    /// A whole payload as a receiver gets it, for documentation and trials.
    #[must_use]
    pub fn example(self) -> Value {
        let id = |n: u128| Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0000 | n);
        let at = DateTime::from_timestamp(1_767_261_600, 0).unwrap_or_default();
        let data = example_lead(at);
        let facts = |state| LeadFacts {
            id: LeadId(id(1)),
            state,
            portal_id: PortalId(id(2)),
            created_at: at,
            data: &data,
        };
        let agency_id = AgencyId(id(3));
        let assignment = AssignmentFacts { id: AssignmentId(id(4)), agency_id };
        let event = match self {
            Self::LeadCreated => Event::LeadCreated(facts(LeadState::New)),
            Self::LeadAssigned => Event::LeadAssigned(facts(LeadState::Assigned), assignment),
            Self::LeadAccepted => Event::LeadAccepted(facts(LeadState::Accepted), assignment),
            Self::LeadRejected => Event::LeadRejected {
                lead: LeadId(id(1)),
                assignment,
                note: Some("outside our area"),
            },
            Self::LeadUnassigned => Event::LeadUnassigned(facts(LeadState::Unassigned)),
            Self::MessageFailed => Event::MessageFailed(MessageFacts {
                id: MessageId(id(5)),
                agency_id,
                lead_id: LeadId(id(1)),
                agent_id: Some(AgentId(id(6))),
                channel: "email",
                recipient: "anna@nowak.example",
                error: Some("the mailbox does not exist (550)"),
                attempts: 1,
            }),
            Self::CommissionBooked => Event::CommissionBooked(CommissionFacts {
                id: id(7),
                lead_id: LeadId(id(1)),
                agency_id,
                amount_minor: 125_000,
                currency: "PLN",
                booked_at: at,
            }),
            Self::Test => Event::Test { endpoint: EndpointId(id(8)), agency: Some(agency_id) },
        };
        json!({ "type": self, "timestamp": "2026-01-01T10:00:00.000Z", "data": event.data() })
    }
}

fn example_lead(at: DateTime<Utc>) -> StandardLead {
    let text = |t: &str| Some(t.to_owned());
    StandardLead {
        external_id: text("a-1"),
        first_name: text("Jan"),
        last_name: text("Kowalski"),
        email: text("jan.kowalski@example.com"),
        phone: text("+48501234567"),
        country: text("PL"),
        postal_code: text("00-950"),
        city: text("Warszawa"),
        interest: text("2-room flat"),
        message: text("When can I see it?"),
        submitted_at: Some(at),
        ..StandardLead::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_an_example_of_itself() {
        for event in EventType::ALL {
            let example = event.example();
            assert_eq!(example["type"], event.as_str());
            assert!(example["data"].is_object() && example["timestamp"].is_string(), "{example}");
        }
    }

    #[test]
    fn a_rejected_lead_is_told_by_its_id_alone() {
        let told = EventType::LeadRejected.example().to_string();
        assert!(!told.contains("Kowalski") && !told.contains("501234567"), "{told}");
        assert!(EventType::LeadAssigned.example().to_string().contains("Kowalski"));
    }
}
