//! The way out: e-mail by SMTP, WhatsApp by Twilio or by Meta's Cloud API, and the capture box that
//! stands in for both until an account is configured; the archives of backups; webhooks to addresses that agencies and
//! partners chose, and the guard in front of such addresses. One file a provider; every one says of a
//! failure whether to try again, to stop, or that nobody knows whether the message went out.

pub mod archive;
mod capture;
mod config;
mod error;
mod fetch;
mod guard;
mod http;
mod message;
mod meta;
mod meta_codes;
pub mod payments;
mod smtp;
mod smtp_session;
mod twilio;
mod twilio_codes;
mod webhooks;

pub use capture::Capture;
pub use config::{
    ConfigFault, EmailKind, MetaConfig, MetaTemplate, ProvidersConfig, SmtpConfig, TlsMode,
    TwilioConfig, WhatsAppKind,
};
pub use error::{SendError, SendFault};
pub use fetch::{FetchClass, FetchConfig, FetchFault, FetchToken, Fetcher};
pub use guard::{Fetched, GuardFault, GuardPolicy, GuardedClient, UrlRefused, is_public};
pub use message::{Attachment, Email, EmailSender, Receipt, WhatsApp, WhatsAppSender};
pub use meta::Meta;
pub use smtp::Smtp;
pub use twilio::Twilio;
pub use webhooks::{SealFault, Webhook, WebhookFault, Webhooks};

use std::sync::Arc;

/// The senders that the platform uses. Cheap to clone.
#[derive(Clone)]
pub struct Providers {
    /// For `notify.email`.
    pub email: Arc<dyn EmailSender>,
    /// For `notify.whatsapp`.
    pub whatsapp: Arc<dyn WhatsAppSender>,
    /// For `webhook.send`. Without a key it sends nothing, see [`Providers::sending_webhooks`].
    pub webhooks: Webhooks,
    /// For `webhook.enrich`.
    pub fetch: Fetcher,
    /// For `commission.payout`.
    pub payouts: Arc<dyn payments::Payouts>,
}

impl Providers {
    /// Both capture boxes: every message is accepted and goes nowhere.
    #[must_use]
    pub fn capture() -> Self {
        Self {
            email: Arc::new(Capture),
            whatsapp: Arc::new(Capture),
            webhooks: Webhooks::without_key(),
            fetch: Fetcher::new(&FetchConfig::default()),
            payouts: Arc::new(payments::NoPayouts),
        }
    }

    /// The senders that the configuration names. Opens no connection, so it succeeds while a
    /// provider is away.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, at once.
    pub fn from_config(config: &ProvidersConfig) -> Result<Self, Vec<ConfigFault>> {
        let faults = config.validate();
        if !faults.is_empty() {
            return Err(faults);
        }
        let email: Arc<dyn EmailSender> = match config.email {
            EmailKind::Capture => Arc::new(Capture),
            EmailKind::Smtp => Arc::new(Smtp::new(&config.smtp).map_err(|f| vec![f])?),
        };
        let whatsapp: Arc<dyn WhatsAppSender> = match config.whatsapp {
            WhatsAppKind::Capture => Arc::new(Capture),
            WhatsAppKind::Twilio => Arc::new(Twilio::new(&config.twilio).map_err(|f| vec![f])?),
            WhatsAppKind::Meta => Arc::new(Meta::new(&config.meta).map_err(|f| vec![f])?),
        };
        let payouts: Arc<dyn payments::Payouts> = match config.stripe.secret_key {
            None => Arc::new(payments::NoPayouts),
            Some(_) => Arc::new(payments::Stripe::new(&config.stripe).map_err(|f| vec![f])?),
        };
        let fetch = Fetcher::new(&config.fetch);
        Ok(Self { email, whatsapp, webhooks: Webhooks::without_key(), fetch, payouts })
    }

    /// The same with these outbound webhooks.
    #[must_use]
    pub fn sending_webhooks(self, webhooks: Webhooks) -> Self {
        Self { webhooks, ..self }
    }
}
