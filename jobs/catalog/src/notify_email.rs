//! `notify.email`: sends one e-mail.

use crate::deliver::deliver;
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::MessageId;
use switchyard_providers::Email;
use switchyard_queue::{Context, Job, JobResult, Options, QueueName};

/// Sends one e-mail.
#[derive(Debug, Serialize, Deserialize)]
pub struct NotifyEmail {
    /// The message.
    pub message: MessageId,
}

impl Job for NotifyEmail {
    type State = Platform;

    const KIND: &'static str = "notify.email";
    const ABOUT: &'static str = "Sends one e-mail to an agent about a lead.";
    const QUEUE: QueueName = queues::NOTIFICATIONS;
    /// More than a provider may take: an attempt that is cut off leaves the message in doubt.
    const TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_ATTEMPTS: u16 = 15;

    fn options(&self) -> Options {
        Options::new().unique_by(self.message)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let sender = &cx.state().providers.email;
        deliver(cx, self.message, |message| async move {
            let email = Email {
                id: message.id,
                to: message.recipient,
                to_name: None,
                subject: message.subject.unwrap_or_default(),
                text: message.body_text,
                html: message.body_html,
                attachments: Vec::new(),
            };
            sender.send(&email).await
        })
        .await
    }
}
