//! `alarms.tell`: tells one alarm to one address or to the webhook.

use crate::fault::OrFail;
use crate::{Platform, queues};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use switchyard_domain::MessageId;
use switchyard_providers::{Email, SendFault};
use switchyard_queue::{Context, Job, JobError, JobResult, Options, Outcome, QueueName};
use switchyard_store::Scope;
use switchyard_store::backups::alarms::{self, Alarm};
use uuid::Uuid;

/// Tells one alarm. Told twice is better than not at all: what is in doubt is sent again.
#[derive(Debug, Serialize, Deserialize)]
pub struct TellAlarm {
    /// The alarm.
    pub alarm: Uuid,
    /// To this address; none: to the webhook.
    pub email: Option<String>,
    /// It is over.
    pub over: bool,
    /// Which of its tellings.
    pub at: DateTime<Utc>,
}

impl Job for TellAlarm {
    type State = Platform;

    const KIND: &'static str = "alarms.tell";
    const ABOUT: &'static str = "Tells one alarm by e-mail or webhook.";
    const QUEUE: QueueName = queues::NOTIFICATIONS;
    const TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_ATTEMPTS: u16 = 12;

    fn options(&self) -> Options {
        Options::new().unique_by_args().priority(-10)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let mut tx = cx.state().db.begin(Scope::Platform).await.or_fail()?;
        let alarm = alarms::get(&mut tx, self.alarm).await.or_fail()?;
        tx.rollback().await.or_fail()?;
        match &self.email {
            Some(to) => mail(cx, &alarm, to, self.over).await,
            None => post(cx, &alarm, self.over).await,
        }
    }
}

async fn mail(cx: &Context<Platform>, alarm: &Alarm, to: &str, over: bool) -> JobResult {
    let mark = if over { "over" } else { alarm.severity.as_str() };
    let text = match over {
        false => format!("{}\n\nSince {} UTC.\n", alarm.text, alarm.since.format("%F %T")),
        true => format!(
            "This is over since {} UTC:\n\n{}\n",
            alarm.resolved_at.unwrap_or(alarm.since).format("%F %T"),
            alarm.text
        ),
    };
    let email = Email {
        id: MessageId(cx.job().id.0),
        to: to.to_owned(),
        to_name: None,
        subject: format!("[Switchyard {mark}] {}", alarm.key),
        text,
        html: None,
        attachments: Vec::new(),
    };
    match cx.state().providers.email.send(&email).await {
        Ok(_) => Ok(Outcome::Done),
        Err(e) => match e.class {
            SendFault::Retry { after: Some(wait) } => Err(JobError::retry_after(wait, e)),
            SendFault::Permanent => Err(JobError::permanent(e)),
            SendFault::Retry { after: None } | SendFault::Unknown => Err(JobError::retry(e)),
        },
    }
}

async fn post(cx: &Context<Platform>, alarm: &Alarm, over: bool) -> JobResult {
    let channels = &cx.state().alarms;
    let (Some(url), Some(client)) = (&channels.webhook, &channels.client) else {
        return Ok(Outcome::Cancel("alarms.webhook is not set here".to_owned()));
    };
    let body = json!({
        "id": alarm.id,
        "alarm": alarm.key,
        "severity": alarm.severity,
        "state": if over { "over" } else { "open" },
        "text": alarm.text,
        "since": alarm.since,
        "over_at": alarm.resolved_at,
    });
    let headers = [("content-type", "application/json".to_owned())];
    let answer = client.post(url, &headers, body.to_string().into_bytes()).await?;
    if (200..300).contains(&answer.status) {
        return Ok(Outcome::Done);
    }
    let refusal = std::io::Error::other(format!("alarms.webhook answered {}", answer.status));
    Err(JobError::retry(refusal))
}
