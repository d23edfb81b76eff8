//! `notify.whatsapp`: sends one WhatsApp message.

use crate::deliver::deliver;
use crate::{Platform, queues};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_domain::MessageId;
use switchyard_providers::WhatsApp;
use switchyard_queue::{Context, Job, JobResult, Options, QueueName};

/// Sends one WhatsApp message.
#[derive(Debug, Serialize, Deserialize)]
pub struct NotifyWhatsApp {
    /// The message.
    pub message: MessageId,
}

impl Job for NotifyWhatsApp {
    type State = Platform;

    const KIND: &'static str = "notify.whatsapp";
    const ABOUT: &'static str = "Sends one WhatsApp message to an agent about a lead.";
    const QUEUE: QueueName = queues::NOTIFICATIONS;
    /// More than a provider may take: an attempt that is cut off leaves the message in doubt.
    const TIMEOUT: Duration = Duration::from_secs(120);
    const MAX_ATTEMPTS: u16 = 15;

    fn options(&self) -> Options {
        Options::new().unique_by(self.message)
    }

    async fn run(self, cx: &Context<Platform>) -> JobResult {
        let sender = &cx.state().providers.whatsapp;
        deliver(cx, self.message, |message| async move {
            let whatsapp =
                WhatsApp { id: message.id, to: message.recipient, body: message.body_text };
            sender.send(&whatsapp).await
        })
        .await
    }
}
