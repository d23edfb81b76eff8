//! What is sent, and the two traits by which it is sent.

use crate::SendError;
use async_trait::async_trait;
use std::fmt;
use switchyard_domain::MessageId;

/// An e-mail to one person. It does not print its content: that is personal data.
#[derive(Clone)]
pub struct Email {
    /// Our id; the `Message-ID` is made of it, so that the same message sent twice is seen to be
    /// the same.
    pub id: MessageId,
    /// Address, `user@host`.
    pub to: String,
    /// The person's name.
    pub to_name: Option<String>,
    /// Subject, plain text.
    pub subject: String,
    /// The text part.
    pub text: String,
    /// The HTML part, if there is one.
    pub html: Option<String>,
    /// Files that go with it.
    pub attachments: Vec<Attachment>,
}

/// A file that goes with an e-mail.
#[derive(Clone)]
pub struct Attachment {
    /// Its name, in plain ASCII.
    pub name: String,
    /// `application/pdf`, `text/csv`.
    pub content_type: &'static str,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A WhatsApp message to one person. It does not print its content: that is personal data.
#[derive(Clone)]
pub struct WhatsApp {
    /// Our id; sent along as a marker where the provider takes one.
    pub id: MessageId,
    /// E.164, with the plus.
    pub to: String,
    /// The text. What exceeds the provider's limit is cut off with an ellipsis.
    pub body: String,
}

impl fmt::Debug for WhatsApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhatsApp").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The provider took the message over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// `capture`, `smtp`, `twilio` or `meta`.
    pub provider: &'static str,
    /// The provider's id of the message, for asking it later.
    pub provider_id: Option<String>,
}

/// Sends e-mail.
#[async_trait]
pub trait EmailSender: Send + Sync + 'static {
    /// The provider's name, as in [`Receipt::provider`].
    fn provider(&self) -> &'static str;

    /// Sends one message and waits until the provider took it over. Ends within the configured
    /// timeout. Dropping the future in the middle leaves the outcome unknown.
    ///
    /// # Errors
    /// [`SendError`] says what to do.
    async fn send(&self, email: &Email) -> Result<Receipt, SendError>;
}

/// Sends WhatsApp messages.
#[async_trait]
pub trait WhatsAppSender: Send + Sync + 'static {
    /// The provider's name, as in [`Receipt::provider`].
    fn provider(&self) -> &'static str;

    /// Sends one message and waits until the provider took it over. Ends within the configured
    /// timeout. Dropping the future in the middle leaves the outcome unknown.
    ///
    /// # Errors
    /// [`SendError`] says what to do.
    async fn send(&self, message: &WhatsApp) -> Result<Receipt, SendError>;
}

/// Cuts a text to at most `limit` characters; the last one is then an ellipsis.
pub(crate) fn fit(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}
