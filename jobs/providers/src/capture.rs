//! The capture box: accepts every message and sends none. The rendered message is already in the
//! messages table, where operators read it.

use crate::{Email, EmailSender, Receipt, SendError, WhatsApp, WhatsAppSender};
use async_trait::async_trait;
use switchyard_domain::MessageId;

/// Stands in for a provider when none is configured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capture;

impl Capture {
    const NAME: &'static str = "capture";

    fn receipt(id: MessageId) -> Receipt {
        Receipt { provider: Self::NAME, provider_id: Some(format!("captured-{id}")) }
    }
}

#[async_trait]
impl EmailSender for Capture {
    fn provider(&self) -> &'static str {
        Self::NAME
    }

    async fn send(&self, email: &Email) -> Result<Receipt, SendError> {
        Ok(Self::receipt(email.id))
    }
}

#[async_trait]
impl WhatsAppSender for Capture {
    fn provider(&self) -> &'static str {
        Self::NAME
    }

    async fn send(&self, message: &WhatsApp) -> Result<Receipt, SendError> {
        Ok(Self::receipt(message.id))
    }
}
