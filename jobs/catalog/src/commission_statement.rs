//! `commission.statement`: e-mails one statement, as PDF and CSV.

use crate::fault::OrFail;
use crate::statements::{self, Of};
use crate::{Platform, queues};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::money::Currency;
use switchyard_domain::{AgencyId, AgentId, MessageId};
use switchyard_providers::{Attachment, Email, SendError, SendFault};
use switchyard_queue::{Context, Job, JobError, JobResult, NewJob, Options, Outcome, QueueName};
use switchyard_store::effects::{self, CallFault, InDoubt, OnceFault};

/// E-mails one statement.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommissionStatement {
    /// In whose books.
    pub agency: AgencyId,
    /// Whose; `None`: the agency's own.
    pub agent: Option<AgentId>,
    /// The month, by its first day.
    pub month: NaiveDate,
    /// In which currency.
    pub currency: Currency,
}

/// The provider's words may name the recipient; they are not kept with the job.
#[derive(Debug, thiserror::Error)]
#[error("the statement was not sent")]
struct NotSent;

impl CommissionStatement {
    /// The job in the agency's scope and partition.
    ///
    /// # Errors
    /// If the arguments cannot be written as JSON.
    pub fn job(&self) -> Result<NewJob, serde_json::Error> {
        let options = self.options().tenant(self.agency.0).partition(self.agency);
        NewJob::with_options(self, options)
    }
}

impl Job for CommissionStatement {
    type State = Platform;

    const KIND: &'static str = "commission.statement";
    const ABOUT: &'static str = "E-mails one month's statement of commissions as PDF and CSV.";
    const QUEUE: QueueName = queues::COMMISSIONS;
    const TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_ATTEMPTS: u16 = 12;

    fn options(&self) -> Options {
        Options::new().unique_by_args()
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let Self { agency, agent, month, currency } = self;
        let of = Of { agency, agent, month, currency };
        let mut tx = cx.state().db.begin_job(cx.job()).await.or_fail()?;
        let drawn = statements::draw(&mut tx, &of, cx.clock().now()).await;
        let (statement, reader) = drawn.or_fail()?;
        let Some(to) = reader.email else {
            return tx.cancelled("the agent has no e-mail address").await;
        };
        tx.commit().await.or_fail()?;
        let (pdf, csv) = statements::documents(&statement).map_err(JobError::permanent)?;
        let name = format!("commissions-{}-{}", statement.period, currency.code());
        let cut = statement.part.map_or_else(String::new, |part| {
            format!(
                "\nThe month has {} lines, and the files have the first of {} parts. The dashboard and \
                 GET /api/v1/commissions/statements/{} have all of them.\n",
                part.lines, part.of, statement.period
            )
        });
        let file = |end: &str, content_type, content| Attachment {
            name: format!("{name}.{end}"),
            content_type,
            content,
        };
        let email = Email {
            id: MessageId(cx.job().id.0),
            to,
            to_name: Some(reader.name.clone()),
            subject: format!("Statement of commissions {}", statement.period),
            text: format!(
                "Hello {},\n\nyour statement of commissions for {} is attached, as PDF and as CSV.\n\n\
                 Owed at the beginning: {}\nOwed at the end: {}\n{cut}",
                reader.name, statement.period, statement.opening, statement.closing
            ),
            html: None,
            attachments: vec![
                file("pdf", "application/pdf", pdf),
                file("csv", "text/csv; charset=utf-8", csv),
            ],
        };
        send(cx, &email).await
    }
}

/// Sends it, never twice.
async fn send(cx: &Context<Platform>, email: &Email) -> JobResult {
    let key = format!("commission.statement {}", cx.job().id);
    let sender = &cx.state().providers.email;
    let call = || async {
        match sender.send(email).await {
            Ok(receipt) => Ok(receipt.provider.to_owned()),
            Err(e) if e.class == SendFault::Unknown => Err(CallFault::Unknown(e)),
            Err(e) => Err(CallFault::Failed(e)),
        }
    };
    let db = &cx.state().db;
    let sent = effects::once::<String, SendError, _, _>(db, cx.job(), &key, InDoubt::Refuse, call);
    match sent.await {
        Ok(_) => Ok(Outcome::Done),
        Err(OnceFault::Failed(e)) => Err(match e.class {
            SendFault::Retry { after: Some(wait) } => JobError::retry_after(wait, NotSent),
            SendFault::Retry { after: None } => JobError::retry(NotSent),
            SendFault::Permanent | SendFault::Unknown => JobError::permanent(NotSent),
        }),
        Err(OnceFault::InDoubt(_) | OnceFault::Unknown(_)) => {
            let why =
                "in doubt: the statement may have been sent, so it is not sent again by itself";
            Ok(Outcome::Cancel(why.to_owned()))
        }
        Err(OnceFault::Store(fault)) => Err(fault.into_job_error()),
    }
}
