//! `lead.follow_up`: reminds an agency's agent of a lead, when somebody wanted it.

use crate::fault::OrFail;
use crate::line::notify;
use crate::{Platform, queues};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::message::{FollowUpNotice, LeadNotice, follow_up_email};
use switchyard_domain::{AgencyId, FollowUpId, MessageId};
use switchyard_queue::{Context, Job, JobResult, NewJob, Options, QueueName};
use switchyard_store::leads::{self, FollowUp, FollowUpState, Sale};
use switchyard_store::messages::{Channel, NewMessage};

/// Tells of one reminder.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeadFollowUp {
    /// The reminder.
    pub follow_up: FollowUpId,
}

impl LeadFollowUp {
    /// In the agency's scope and partition, when it is due.
    pub(crate) fn due(
        &self,
        agency: AgencyId,
        at: DateTime<Utc>,
    ) -> Result<NewJob, serde_json::Error> {
        let options = self.options().tenant(agency.0).partition(agency).run_at(at);
        NewJob::with_options(self, options)
    }
}

impl Job for LeadFollowUp {
    type State = Platform;

    const KIND: &'static str = "lead.follow_up";
    const ABOUT: &'static str = "Reminds an agent of a lead by e-mail, if the agency still has it.";
    const QUEUE: QueueName = queues::NOTIFICATIONS;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const MAX_ATTEMPTS: u16 = 15;

    fn options(&self) -> Options {
        Options::new().unique_by(self.follow_up)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
        let planned = FollowUp::lock(&mut tx, self.follow_up).await.or_fail()?;
        if planned.state != FollowUpState::Planned {
            return tx.done().await;
        }
        let sold = Sale::of_lead(&mut tx, planned.lead).await.or_fail()?.is_some();
        let told = leads::remind(&mut tx, &planned).await.or_fail()?;
        let Some(told) = told.filter(|_| !sold) else {
            let why = if sold { "the lead was sold" } else { "the agency does not hold the lead" };
            let dropped = FollowUpState::Dropped;
            FollowUp::settle(&mut tx, planned.id, dropped, Some(why)).await.or_fail()?;
            return tx.done().await;
        };
        let lead = leads::get(&mut tx, planned.lead).await.or_fail()?;
        let link = cx.state().lead_link(lead.id);
        let text = follow_up_email(&FollowUpNotice {
            about: LeadNotice {
                lead: &lead.data,
                agent: &told.name,
                agency: &told.agency_name,
                link: &link,
            },
            note: planned.note.as_deref(),
        });
        let message = NewMessage {
            id: MessageId::new(),
            agency: planned.agency,
            lead: lead.id,
            agent: told.agent,
            assignment: told.assignment,
            channel: Channel::Email,
            recipient: told.email,
            subject: Some(text.subject),
            body_text: text.text,
            body_html: Some(text.html),
        };
        FollowUp::tell(&mut tx, planned.id, &message).await.or_fail()?;
        let job = notify(message.id, message.agency, message.channel).or_fail()?;
        tx.enqueue(cx.follow_up(job)).await.or_fail()?;
        tx.done().await
    }
}
