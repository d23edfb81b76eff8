//! E-mail by SMTP (RFC 5321): how a message is written, and what a server's answers mean.

use crate::config::secs;
use crate::smtp_session::{Failure, Session, Sessions, Stage};
use crate::{ConfigFault, Email, EmailSender, Receipt, SendError, SmtpConfig};
use async_trait::async_trait;
use lettre::Address;
use lettre::address::{AddressError, Envelope};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use std::time::Duration;
use tokio::time::Instant;

/// Sends by a mail server, over a few connections that are kept open.
#[derive(Debug)]
pub struct Smtp {
    sessions: Sessions,
    timeout: Duration,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    list_unsubscribe: Option<String>,
}

impl Smtp {
    /// A sender for a mail server. Opens no connection.
    ///
    /// # Errors
    /// If an address or the file with certificates cannot be used.
    pub fn new(config: &SmtpConfig) -> Result<Self, ConfigFault> {
        let mailbox = |key: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|e| ConfigFault {
                key: key.to_owned(),
                message: format!("is no address: {e}"),
            })
        };
        let reply_to = config.reply_to.as_deref().map(|a| mailbox("smtp.reply_to", a));
        Ok(Self {
            sessions: Sessions::new(config)?,
            timeout: secs(config.timeout_secs),
            from: mailbox("smtp.from", &config.from)?,
            reply_to: reply_to.transpose()?,
            list_unsubscribe: config.list_unsubscribe.clone(),
        })
    }

    fn write(&self, email: &Email, to: Address) -> Result<Message, SendError> {
        let domain = self.from.email.domain();
        let mut builder = Message::builder()
            .message_id(Some(format!("<{}@{domain}>", email.id)))
            .date_now()
            .from(self.from.clone())
            .to(Mailbox::new(email.to_name.as_deref().map(printable), to))
            .subject(printable(&email.subject))
            // Nobody wrote this, so no holiday notice shall answer it (RFC 3834, 5).
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Auto-Response-Suppress", "All"))
            .raw_header(header("List-Id", &format!("<leads.{domain}>")));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        if let Some(url) = &self.list_unsubscribe {
            builder = builder.raw_header(header("List-Unsubscribe", &format!("<{url}>")));
        }
        let plain = || SinglePart::plain(email.text.clone());
        let both =
            |html: &String| MultiPart::alternative_plain_html(email.text.clone(), html.clone());
        let written = match (&email.html, email.attachments.is_empty()) {
            (Some(html), true) => builder.multipart(both(html)),
            (None, true) => builder.singlepart(plain()),
            (html, false) => {
                let mixed = MultiPart::mixed();
                let mixed = match html {
                    Some(html) => mixed.multipart(both(html)),
                    None => mixed.singlepart(plain()),
                };
                builder.multipart(attach(mixed, email)?)
            }
        };
        written.map_err(|e: lettre::error::Error| {
            SendError::permanent("message", "the message cannot be written").because(e)
        })
    }
}

fn attach(mixed: MultiPart, email: &Email) -> Result<MultiPart, SendError> {
    email.attachments.iter().try_fold(mixed, |mixed, file| {
        let kind = ContentType::parse(file.content_type).map_err(|e| {
            SendError::permanent("attachment", "an attachment's type cannot be read").because(e)
        })?;
        let name = printable(&file.name);
        Ok(mixed.singlepart(Attachment::new(name).body(file.content.clone(), kind)))
    })
}

/// Names and subjects come from outside. A line feed in them must make no header, and lettre panics
/// over control characters in a name.
fn printable(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

#[async_trait]
impl EmailSender for Smtp {
    fn provider(&self) -> &'static str {
        "smtp"
    }

    async fn send(&self, email: &Email) -> Result<Receipt, SendError> {
        let to: Address = email.to.parse().map_err(|e: AddressError| {
            SendError::permanent("recipient", "the recipient's address is not valid").because(e)
        })?;
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![to.clone()])
            .map_err(|e| SendError::permanent("recipient", "no recipient").because(e))?;
        let content = self.write(email, to)?.formatted();
        let deadline = Instant::now() + self.timeout;
        let mut session = self.sessions.take(deadline).await.map_err(judge)?;
        match deliver(&mut session, &envelope, &content, deadline).await {
            Ok(reply) => {
                session.keep();
                Ok(Receipt { provider: self.provider(), provider_id: Some(reply) })
            }
            Err(failure) => {
                // After a plain refusal the connection is good for the next message.
                if failure.code().is_some_and(|code| code != 421) {
                    session.keep();
                }
                Err(judge(failure))
            }
        }
    }
}

/// One mail transaction (RFC 5321, 3.3). Gives the server's last words, which often hold its
/// queue id.
async fn deliver(
    session: &mut Session,
    envelope: &Envelope,
    content: &[u8],
    deadline: Instant,
) -> Result<String, Failure> {
    session.mail_from(envelope, content, deadline).await?;
    session.rcpt_to(envelope, deadline).await?;
    session.data(deadline).await?;
    session.content(content, deadline).await
}

/// What a failure means.
///
/// Replies are judged by RFC 5321, 4.2.1 (4yz: may pass; 5yz: will not) and by where they came:
/// before the recipient was named it is about us, not about the message, and an operator has to
/// mend it. Without a reply the message was certainly not sent, unless its content was on the way:
/// from then on the server may have taken it over (RFC 5321, 4.2.5).
fn judge(failure: Failure) -> SendError {
    let about = failure.stage.about();
    let Some(code) = failure.code() else {
        let word = if failure.is_timeout() { "timeout" } else { failure.stage.word() };
        return match failure.stage {
            Stage::Content => SendError::unknown(word, format!("no answer {about}")),
            Stage::Tls => SendError::wait(
                word,
                format!(
                    "the connection failed {about}: check smtp.tls, smtp.host and smtp.ca_file"
                ),
            ),
            Stage::Login if failure.is_ours() => SendError::wait(
                word,
                format!("no way to sign in was found {about}: check smtp.username and smtp.tls"),
            ),
            Stage::Sender if failure.is_ours() => {
                SendError::permanent(word, "the server does not take this message's characters")
            }
            _ => SendError::retry(word, format!("the connection failed {about}")),
        }
        .because(failure);
    };
    let said = failure.reply();
    let word = code.to_string();
    let message = format!("the mail server answered {code} {about}: {said}");
    match (code, failure.stage) {
        (400..=499, _) => SendError::retry(word, message),
        // Too big for this server, wherever it says so.
        (552, _) => SendError::permanent(word, message),
        // 530, 538: sign in first, or encrypt first (RFC 4954, 6).
        (530 | 538, _) | (_, Stage::Connect | Stage::Tls | Stage::Login | Stage::Sender) => {
            SendError::wait(word, format!("{message}; check the smtp section"))
        }
        _ => SendError::permanent(word, message),
    }
    .because(failure)
}
