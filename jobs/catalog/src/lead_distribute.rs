//! `lead.distribute`: gives one lead to the agency whose turn it is, and writes the messages.

use crate::fault::OrFail;
use crate::line::notify;
use crate::outbound::facts;
use crate::together::{AnswerAll, Part};
use crate::{Platform, outbound, queues};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use switchyard_domain::distribution::next;
use switchyard_domain::message::{LeadNotice, lead_email, lead_whatsapp};
use switchyard_domain::outbound::{AssignmentFacts, Event};
use switchyard_domain::{AgentId, AssignmentId, LeadId, LeadState, MessageId};
use switchyard_queue::{
    ClaimedJob, Context, Job, JobError, JobResult, Options, Outcome, QueueName,
};
use switchyard_store::distribution::{
    self, AssignmentReason, Audience, Candidates, NewAssignment, Turns,
};
use switchyard_store::leads::{self, Lead};
use switchyard_store::messages::{self, Channel, NewMessage};
use switchyard_store::{StoreFault, Tx};

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
        cx.state().line.giving.run(Giving { lead: self.lead, cx: cx.clone() }).await
    }
}

/// A lead that a job gives out.
#[derive(Clone)]
pub(crate) struct Giving {
    lead: LeadId,
    cx: Context<Platform>,
}

impl Part for Giving {
    type Answer = Outcome;

    async fn run(all: &[Self]) -> AnswerAll<Self> {
        let Some(first) = all.first() else { return Ok(Vec::new()) };
        let jobs: Vec<&ClaimedJob> = all.iter().map(|g| g.cx.job()).collect();
        let mut tx = first.cx.state().db.begin_jobs(&jobs).await.or_fail()?;
        let ids: Vec<LeadId> =
            all.iter().filter(|g| tx.stands(g.cx.job())).map(|g| g.lead).collect();
        let leads: HashMap<LeadId, Lead> = leads::lock_many(&mut tx, &ids)
            .await
            .or_fail()?
            .into_iter()
            .map(|l| (l.id, l))
            .collect();
        let mut out = GivingOut::default();
        let mut answers = Vec::with_capacity(all.len());
        for giving in all {
            answers.push(match leads.get(&giving.lead) {
                _ if !tx.stands(giving.cx.job()) => Err(StoreFault::LeaseLost.into_job_error()),
                None => Err(StoreFault::NotFound.into_job_error()),
                Some(lead) => {
                    // A pending lead is given out once the rest of it was fetched.
                    if matches!(lead.state, LeadState::New | LeadState::Unassigned) {
                        out.add(giving, lead);
                    }
                    Ok(Outcome::Done)
                }
            });
        }
        out.give(&mut tx).await?;
        tx.done(&jobs, answers).await.or_fail()
    }
}

/// The leads that one transaction gives out, each with the job that does it; each lead once.
#[derive(Default)]
struct GivingOut<'a>(Vec<(&'a Giving, &'a Lead)>);

impl<'a> GivingOut<'a> {
    fn add(&mut self, giving: &'a Giving, lead: &'a Lead) {
        if self.0.iter().all(|(_, known)| known.id != lead.id) {
            self.0.push((giving, lead));
        }
    }

    /// Gives each to the agency whose turn it is, and writes what follows.
    async fn give(self, tx: &mut Tx) -> Result<(), JobError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let leads: Vec<&Lead> = self.0.iter().map(|(_, lead)| *lead).collect();
        let candidates = distribution::candidates(tx, &leads).await.or_fail()?;
        let mut taken: BTreeMap<&str, i64> = BTreeMap::new();
        for found in candidates.iter().flatten() {
            *taken.entry(&found.key).or_default() += 1;
        }
        let mut turns = HashMap::new();
        if !taken.is_empty() {
            turns = distribution::take_turns(tx, &taken).await.or_fail()?;
        }
        let (mut events, mut of) = (Vec::new(), Vec::new());
        let (mut given, mut new) = (Vec::new(), Vec::new());
        for ((giving, lead), found) in self.0.into_iter().zip(&candidates) {
            match found {
                Some(found) => {
                    new.push(turn(giving, found, &mut turns)?);
                    given.push((giving, lead));
                }
                None if distribution::leave_unassigned(tx, lead.id).await.or_fail()? => {
                    events.push(Event::LeadUnassigned(facts(lead, LeadState::Unassigned)));
                    of.push(giving);
                }
                None => {}
            }
        }
        if !new.is_empty() {
            offer(tx, &given, &new).await?;
        }
        for ((giving, lead), new) in given.into_iter().zip(&new) {
            let offer = AssignmentFacts { id: new.id, agency_id: new.agency };
            events.push(Event::LeadAssigned(facts(lead, LeadState::Assigned), offer));
            of.push(giving);
        }
        outbound::tell_each(tx, &events, |n, job| of[n].cx.follow_up(job)).await.or_fail()
    }
}

/// The next turn under the key of these candidates.
fn turn(
    giving: &Giving,
    found: &Candidates,
    turns: &mut HashMap<String, Turns>,
) -> Result<NewAssignment, JobError> {
    let nobody = || JobError::permanent("a turn was taken among nobody");
    let stand = turns.get_mut(&found.key).ok_or_else(nobody)?;
    let agency = next(&found.agencies, stand.last).ok_or_else(nobody)?;
    stand.last = Some(agency);
    stand.position += 1;
    Ok(NewAssignment {
        id: AssignmentId::new(),
        lead: giving.lead,
        agency,
        reason: found.reason,
        explanation: explain(found, stand.position),
        sequence_key: found.key.clone(),
        position: stand.position,
        job: giving.cx.job().id,
    })
}

/// Offers leads to their agencies, with the messages for their agents and the jobs that send them.
async fn offer(
    tx: &mut Tx,
    given: &[(&Giving, &Lead)],
    new: &[NewAssignment],
) -> Result<(), JobError> {
    let audiences = distribution::assign(tx, new).await.or_fail()?;
    let (mut all, mut jobs) = (Vec::new(), Vec::new());
    for ((giving, lead), new) in given.iter().zip(new) {
        let audience = audiences.get(&new.agency);
        let audience = audience.ok_or(StoreFault::NotFound).or_fail()?;
        let notices = notices(lead, new, audience, &giving.cx.state().lead_link(lead.id));
        for notice in &notices {
            let job = notify(notice.id, notice.agency, notice.channel).or_fail()?;
            jobs.push(giving.cx.follow_up(job));
        }
        all.extend(notices);
    }
    messages::insert_all(tx, &all).await.or_fail()?;
    tx.enqueue_all(jobs).await.or_fail()?;
    Ok(())
}

/// Why this agency, in one sentence.
fn explain(found: &Candidates, position: i64) -> String {
    let among = match found.agencies.len() {
        1 => "the only agency that may get it".to_owned(),
        n => format!("next in turn among {n} agencies"),
    };
    match found.reason {
        AssignmentReason::CatchAll => {
            format!("Nobody covers the lead's place; {among} as catch-all (turn {position}).")
        }
        AssignmentReason::RoundRobin | AssignmentReason::Manual => {
            let place = found.key.replace(':', " ");
            format!("Covers {place}; {among} (turn {position}).")
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
