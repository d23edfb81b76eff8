//! `webhook.tell_owner`: tells the owner of an endpoint by e-mail that it was disabled.

use crate::fault::OrFail;
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::{EndpointId, MessageId};
use switchyard_providers::{Email, SendError, SendFault};
use switchyard_queue::{Context, Job, JobError, JobResult, Outcome, QueueName};
use switchyard_store::effects::{self, CallFault, InDoubt, OnceFault};
use switchyard_store::outbound::{self, Endpoint, EndpointState, Owner};
use switchyard_store::{Scope, StoreFault};

/// Tells the agency, or the administrators if the endpoint is a partner's.
#[derive(Debug, Serialize, Deserialize)]
pub struct TellOwner {
    /// The endpoint.
    pub endpoint: EndpointId,
}

impl Job for TellOwner {
    type State = Platform;

    const KIND: &'static str = "webhook.tell_owner";
    const ABOUT: &'static str = "Tells the owner of a webhook endpoint that it was disabled.";
    const QUEUE: QueueName = queues::NOTIFICATIONS;
    const TIMEOUT: Duration = Duration::from_secs(300);
    const MAX_ATTEMPTS: u16 = 15;

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut tx = cx.state().db.begin_job_as(cx.job(), Scope::Platform).await.or_fail()?;
        let endpoint = match outbound::get(&mut tx, self.endpoint).await {
            Err(StoreFault::NotFound) => return tx.cancelled("the endpoint was removed").await,
            endpoint => endpoint.or_fail()?,
        };
        if endpoint.state != EndpointState::Disabled {
            return tx.cancelled("the endpoint goes on already").await;
        }
        let owners = outbound::owner(&mut tx, self.endpoint).await.or_fail()?;
        tx.commit().await.or_fail()?;
        for (n, owner) in owners.iter().enumerate() {
            tell(cx, &endpoint, owner, n).await?;
        }
        Ok(Outcome::Done)
    }
}

/// One e-mail, never twice: the place in the list names it.
async fn tell(
    cx: &Context<Platform>,
    endpoint: &Endpoint,
    owner: &Owner,
    n: usize,
) -> Result<(), JobError> {
    let email = written(MessageId(cx.job().id.0), endpoint, owner);
    let key = format!("webhook.tell_owner {} {n}", cx.job().id);
    let sender = &cx.state().providers.email;
    let send = || async {
        match sender.send(&email).await {
            Ok(receipt) => Ok(receipt.provider.to_owned()),
            Err(e) if e.class == SendFault::Unknown => Err(CallFault::Unknown(e)),
            Err(e) => Err(CallFault::Failed(e)),
        }
    };
    let db = &cx.state().db;
    match effects::once::<String, SendError, _, _>(db, cx.job(), &key, InDoubt::Refuse, send).await
    {
        Ok(_) => Ok(()),
        Err(OnceFault::Failed(e)) => match e.class {
            SendFault::Retry { after: Some(wait) } => Err(JobError::retry_after(wait, NotTold)),
            SendFault::Retry { after: None } => Err(JobError::retry(NotTold)),
            SendFault::Permanent | SendFault::Unknown => {
                tracing::warn!(endpoint = %endpoint.id, code = e.code, "an owner was not told");
                Ok(())
            }
        },
        // It may have gone out; another owner is still to be told.
        Err(OnceFault::InDoubt(_) | OnceFault::Unknown(_)) => Ok(()),
        Err(OnceFault::Store(fault)) => Err(fault.into_job_error()),
    }
}

/// The provider's words may name the recipient; they are not kept with the job.
#[derive(Debug, thiserror::Error)]
#[error("the e-mail to the endpoint's owner was not sent")]
struct NotTold;

fn written(id: MessageId, endpoint: &Endpoint, owner: &Owner) -> Email {
    let reason = endpoint.reason.as_deref().unwrap_or("it took nothing");
    let which = if endpoint.description.is_empty() {
        endpoint.url.clone()
    } else {
        format!("{} ({})", endpoint.description, endpoint.url)
    };
    let text = format!(
        "Hello {},\n\nwe have stopped sending webhooks to {which}, because {reason}.\n\n\
         What happens from now on is kept for it for 30 days. When it works again, let it go on: then\n\
         everything that waits is sent, with the same ids.\n\n  \
         POST /api/webhook-endpoints/{id}/resume\n\n\
         What was given up before can be sent again too:\n\n  \
         POST /api/webhook-endpoints/{id}/resend\n",
        owner.name,
        id = endpoint.id,
    );
    Email {
        id,
        to: owner.email.clone(),
        to_name: None,
        subject: "Your webhook endpoint was disabled".to_owned(),
        text,
        html: None,
        attachments: Vec::new(),
    }
}
