//! WhatsApp by Twilio's Messages API:
//! <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>.

use crate::config::{is_e164, secs};
use crate::message::fit;
use crate::{
    ConfigFault, Receipt, SendError, TwilioConfig, WhatsApp, WhatsAppSender, http, twilio_codes,
};
use async_trait::async_trait;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// Longest `Body`, in characters (error 21617).
const TEXT_LIMIT: usize = 1600;

/// Sends by a Twilio account.
#[derive(Debug)]
pub struct Twilio {
    client: Client,
    url: String,
    user: String,
    token: SecretString,
    from: String,
    content_sid: Option<String>,
}

/// Both the resource that was made and an error have this form; each field may be missing.
#[derive(Default, Deserialize)]
struct Body {
    sid: Option<String>,
    code: Option<i64>,
    message: Option<String>,
}

impl Twilio {
    /// A sender for an account. Opens no connection.
    ///
    /// # Errors
    /// If no TLS can be had on this machine.
    pub fn new(config: &TwilioConfig) -> Result<Self, ConfigFault> {
        let base = config.base_url.trim_end_matches('/');
        Ok(Self {
            client: http::client(secs(config.timeout_secs))?,
            url: format!("{base}/2010-04-01/Accounts/{}/Messages.json", config.account_sid),
            user: config.api_key.clone().unwrap_or_else(|| config.account_sid.clone()),
            token: config.auth_token.clone().unwrap_or_default(),
            from: config.from.clone(),
            content_sid: config.content_sid.clone(),
        })
    }

    fn form(&self, message: &WhatsApp) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("To", format!("whatsapp:{}", message.to)),
            ("From", format!("whatsapp:{}", self.from)),
        ];
        let text = fit(&message.body, TEXT_LIMIT);
        match &self.content_sid {
            Some(sid) => {
                let variables = serde_json::json!({ "1": one_line(&text) });
                form.push(("ContentSid", sid.clone()));
                form.push(("ContentVariables", variables.to_string()));
            }
            None => form.push(("Body", text)),
        }
        form
    }
}

#[async_trait]
impl WhatsAppSender for Twilio {
    fn provider(&self) -> &'static str {
        "twilio"
    }

    async fn send(&self, message: &WhatsApp) -> Result<Receipt, SendError> {
        if !is_e164(&message.to) {
            return Err(SendError::permanent("recipient", "the recipient's number is not E.164"));
        }
        let request = self
            .client
            .post(&self.url)
            .basic_auth(&self.user, Some(self.token.expose_secret()))
            // Twilio has no key against duplicates; this one is for tracing at a proxy.
            .header("idempotency-key", message.id.to_string())
            .form(&self.form(message));
        let answer = http::call(request).await?;
        let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status.is_success() {
            return Ok(Receipt { provider: self.provider(), provider_id: body.sid });
        }
        Err(refusal(&answer, body))
    }
}

/// The code decides; without a known one, the status.
fn refusal(answer: &http::Answer, body: Body) -> SendError {
    let code =
        body.code.map_or_else(|| format!("http_{}", answer.status.as_u16()), |c| c.to_string());
    let said = body.message.unwrap_or_else(|| format!("Twilio answered {}", answer.status));
    match body.code.and_then(twilio_codes::find) {
        Some((class, about)) => SendError::new(
            http::with_wait(class, answer),
            code,
            format!("{about}; Twilio said: {said}"),
        ),
        None => SendError::new(http::class_of(answer), code, said),
    }
}

/// Variables of a WhatsApp template may hold no line feed, no tab and no more than four blanks in
/// a row (error 132007 of the Cloud API).
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" · ")
}
