//! WhatsApp by Meta's Cloud API:
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages>.

use crate::config::{is_e164, secs};
use crate::message::fit;
use crate::twilio::one_line;
use crate::{
    ConfigFault, MetaConfig, MetaTemplate, Receipt, SendError, WhatsApp, WhatsAppSender, http,
    meta_codes,
};
use async_trait::async_trait;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest text of a free message, in characters.
const TEXT_LIMIT: usize = 4096;
/// Longest body of a template with its variables filled in; some is left for the template's words.
const TEMPLATE_LIMIT: usize = 900;

/// Sends from a phone number of a WhatsApp Business account.
#[derive(Debug)]
pub struct Meta {
    client: Client,
    url: String,
    token: SecretString,
    template: Option<MetaTemplate>,
}

#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    messages: Vec<Sent>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Sent {
    id: String,
}

#[derive(Deserialize)]
struct Fault {
    code: i64,
    message: Option<String>,
    error_data: Option<FaultData>,
    fbtrace_id: Option<String>,
}

#[derive(Deserialize)]
struct FaultData {
    details: Option<String>,
}

impl Meta {
    /// A sender for a phone number. Opens no connection.
    ///
    /// # Errors
    /// If no TLS can be had on this machine.
    pub fn new(config: &MetaConfig) -> Result<Self, ConfigFault> {
        let base = config.base_url.trim_end_matches('/');
        Ok(Self {
            client: http::client(secs(config.timeout_secs))?,
            url: format!("{base}/{}/{}/messages", config.version, config.phone_number_id),
            token: config.access_token.clone().unwrap_or_default(),
            template: config.template.clone(),
        })
    }

    fn payload(&self, message: &WhatsApp) -> Value {
        let mut payload = json!({
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": message.to,
            // Comes back in the status webhooks.
            "biz_opaque_callback_data": message.id.to_string(),
        });
        match &self.template {
            Some(MetaTemplate { name, language }) => {
                let text = fit(&one_line(&message.body), TEMPLATE_LIMIT);
                payload["type"] = json!("template");
                payload["template"] = json!({
                    "name": name,
                    "language": { "code": language },
                    "components": [
                        { "type": "body", "parameters": [{ "type": "text", "text": text }] }
                    ],
                });
            }
            None => {
                payload["type"] = json!("text");
                payload["text"] =
                    json!({ "preview_url": false, "body": fit(&message.body, TEXT_LIMIT) });
            }
        }
        payload
    }
}

#[async_trait]
impl WhatsAppSender for Meta {
    fn provider(&self) -> &'static str {
        "meta"
    }

    async fn send(&self, message: &WhatsApp) -> Result<Receipt, SendError> {
        if !is_e164(&message.to) {
            return Err(SendError::permanent("recipient", "the recipient's number is not E.164"));
        }
        let request = self
            .client
            .post(&self.url)
            .bearer_auth(self.token.expose_secret())
            .json(&self.payload(message));
        let answer = http::call(request).await?;
        let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
        match body.error {
            Some(fault) => Err(refusal(&answer, fault)),
            None if answer.status.is_success() => {
                let provider_id = body.messages.into_iter().next().map(|m| m.id);
                Ok(Receipt { provider: self.provider(), provider_id })
            }
            None => {
                let code = format!("http_{}", answer.status.as_u16());
                let said = format!("Meta answered {}", answer.status);
                Err(SendError::new(http::class_of(&answer), code, said))
            }
        }
    }
}

/// The code decides; without a known one, the status.
fn refusal(answer: &http::Answer, fault: Fault) -> SendError {
    let mut said = fault.message.unwrap_or_else(|| format!("Meta answered {}", answer.status));
    if let Some(details) = fault.error_data.and_then(|d| d.details) {
        said = format!("{said}: {details}");
    }
    if let Some(trace) = fault.fbtrace_id {
        said = format!("{said} [fbtrace_id {trace}]");
    }
    let code = fault.code.to_string();
    match meta_codes::find(fault.code) {
        Some((class, about)) => {
            let class = http::with_wait(class, answer);
            SendError::new(class, code, format!("{about}; Meta said: {said}"))
        }
        None => SendError::new(http::class_of(answer), code, said),
    }
}
