//! `lead.distribute`: gives one lead to the agency whose turn it is, and writes the messages.

use crate::fault::OrFail;
use crate::line::notify;
use crate::outbound::facts;
use crate::{Platform, outbound, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::distribution::next;
use switchyard_domain::message::{LeadNotice, lead_email, lead_whatsapp};
use switchyard_domain::outbound::{AssignmentFacts, Event};
use switchyard_domain::{AgentId, AssignmentId, LeadId, LeadState, MessageId};
use switchyard_queue::{Context, Job, JobError, JobResult, NewJob, Options, QueueName};
use switchyard_store::distribution::{self, AssignmentReason, Audience, NewAssignment, Turn};
use switchyard_store::leads::{self, Lead};
use switchyard_store::messages::{self, Channel, NewMessage};

/// Gives one lead out.
#[derive(Debug, Serialize, Deserialize)]
pub struct DistributeLead {
    /// The lead.
    pub lead: LeadId,
}

impl DistributeLead {
    /// For a lead that waited long already: before the others.
    #[must_use]
    pub fn urgent(&self) -> Options {
        self.options().priority(-10)
    }

    /// For a search through what was left: after the others.
    #[must_use]
    pub fn unhurried(&self) -> Options {
        self.options().priority(10)
    }
}

impl Job for DistributeLead {
    type State = Platform;

    const KIND: &'static str = "lead.distribute";
    const ABOUT: &'static str =
        "Gives one lead to the agency whose turn it is and tells its agents.";
    const QUEUE: QueueName = queues::LEADS;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const MAX_ATTEMPTS: u16 = 15;

    fn options(&self) -> Options {
        Options::new().unique_by(self.lead)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
        let lead = leads::lock(&mut tx, self.lead).await.or_fail()?;
        // A pending lead is given out once the rest of it was fetched.
        if !matches!(lead.state, LeadState::New | LeadState::Unassigned) {
            return tx.done().await;
        }
        let (country, code) = (lead.data.country.as_deref(), lead.data.postal_code.as_deref());
        let turn = distribution::take_turn(&mut tx, lead.id, country, code).await.or_fail()?;
        let Some(turn) = turn else {
            if distribution::leave_unassigned(&mut tx, lead.id).await.or_fail()? {
                let event = Event::LeadUnassigned(facts(&lead, LeadState::Unassigned));
                outbound::tell(&mut tx, &[event], |job| cx.follow_up(job)).await.or_fail()?;
            }
            return tx.done().await;
        };
        let agency = next(&turn.eligible, turn.last)
            .ok_or_else(|| JobError::permanent("a turn was taken among nobody"))?;
        let assignment = NewAssignment {
            id: AssignmentId::new(),
            lead: lead.id,
            agency,
            reason: turn.reason,
            explanation: explain(&turn),
            sequence_key: turn.key,
            position: turn.position,
            job: cx.job().id,
        };
        let audience = distribution::assign(&mut tx, &assignment).await.or_fail()?;
        let notices = notices(&lead, &assignment, &audience, &cx.state().lead_link(lead.id));
        messages::insert_all(&mut tx, &notices).await.or_fail()?;
        let jobs = notices.iter().map(|m| notify(m.id, m.agency, m.channel));
        let jobs: Vec<NewJob> = jobs.collect::<Result<_, _>>().or_fail()?;
        tx.enqueue_all(jobs.into_iter().map(|job| cx.follow_up(job)).collect()).await.or_fail()?;
        let offer = AssignmentFacts { id: assignment.id, agency_id: agency };
        let event = Event::LeadAssigned(facts(&lead, LeadState::Assigned), offer);
        outbound::tell(&mut tx, &[event], |job| cx.follow_up(job)).await.or_fail()?;
        tx.done().await
    }
}

/// Why this agency, in one sentence.
fn explain(turn: &Turn) -> String {
    let among = match turn.eligible.len() {
        1 => "the only agency that may get it".to_owned(),
        n => format!("next in turn among {n} agencies"),
    };
    match turn.reason {
        AssignmentReason::CatchAll => {
            format!(
                "Nobody covers the lead's place; {among} as catch-all (turn {}).",
                turn.position
            )
        }
        AssignmentReason::RoundRobin | AssignmentReason::Manual => {
            let place = turn.key.replace(':', " ");
            format!("Covers {place}; {among} (turn {}).", turn.position)
        }
    }
}

/// One message an agent and channel. An agency with nobody to tell is told itself.
fn notices(lead: &Lead, assignment: &NewAssignment, to: &Audience, link: &str) -> Vec<NewMessage> {
    let writer = Writer { lead, assignment, agency: &to.agency_name, link };
    let agents = to
        .agents
        .iter()
        .flat_map(|a| writer.write(Some(a.id), &a.name, a.email.as_deref(), a.phone.as_deref()));
    let mut all: Vec<NewMessage> = agents.collect();
    if all.is_empty() {
        all = writer.write(None, &to.agency_name, Some(&to.email), to.phone.as_deref());
    }
    all
}

/// What all messages of one assignment share.
struct Writer<'a> {
    lead: &'a Lead,
    assignment: &'a NewAssignment,
    agency: &'a str,
    link: &'a str,
}

impl Writer<'_> {
    fn write(
        &self,
        agent: Option<AgentId>,
        name: &str,
        email: Option<&str>,
        phone: Option<&str>,
    ) -> Vec<NewMessage> {
        let notice =
            LeadNotice { lead: &self.lead.data, agent: name, agency: self.agency, link: self.link };
        let email = email.map(|to| {
            let text = lead_email(&notice);
            NewMessage {
                subject: Some(text.subject),
                body_html: Some(text.html),
                ..self.blank(agent, Channel::Email, to, text.text)
            }
        });
        let whatsapp =
            phone.map(|to| self.blank(agent, Channel::WhatsApp, to, lead_whatsapp(&notice)));
        email.into_iter().chain(whatsapp).collect()
    }

    fn blank(&self, agent: Option<AgentId>, via: Channel, to: &str, text: String) -> NewMessage {
        NewMessage {
            id: MessageId::new(),
            agency: self.assignment.agency,
            lead: self.lead.id,
            agent,
            assignment: self.assignment.id,
            channel: via,
            recipient: to.to_owned(),
            subject: None,
            body_text: text,
            body_html: None,
        }
    }
}
