//! Messages to agencies, each with its status. Under a tenant's scope only its own.

mod sending;

pub use sending::{
    SentMessage, Stretch, begin_attempt, begin_attempts, mark, mark_all_sent, mark_sent,
    settle_stranded,
};

use crate::words::{stored_words, word};
use crate::{Result, StoreFault, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::{AgencyId, AgentId, AssignmentId, LeadId, MessageId};
use switchyard_queue::NewJob;

stored_words! {
    /// How a message travels.
    Channel {
        /// SMTP.
        Email = "email",
        /// WhatsApp.
        WhatsApp = "whatsapp",
    }
}

stored_words! {
    /// Where a message stands.
    MessageState {
        /// It is to be sent; an `error` says why the last attempt failed.
        Queued = "queued",
        /// The provider took it.
        Sent = "sent",
        /// It was certainly not sent, and will not be.
        Failed = "failed",
        /// It may have been sent: the answer was lost. Never sent again by itself.
        Unknown = "unknown",
    }
}

/// A message as it is stored.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Whose agents are told.
    pub agency: AgencyId,
    /// About what.
    pub lead: LeadId,
    /// Who is told; `None`: the agency itself.
    pub agent: Option<AgentId>,
    /// Because of what.
    pub assignment: AssignmentId,
    /// How.
    pub channel: Channel,
    /// E-mail address, or phone number in E.164.
    pub recipient: String,
    /// E-mail only.
    pub subject: Option<String>,
    /// The text as rendered.
    pub body_text: String,
    /// E-mail only.
    pub body_html: Option<String>,
    /// Where it stands.
    pub state: MessageState,
    /// Which provider took it.
    pub provider: Option<String>,
    /// The provider's own id of it.
    pub provider_id: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
    /// How often sending was begun.
    pub attempts: i32,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When the provider took it.
    pub sent_at: Option<DateTime<Utc>>,
    /// The message that this one repeats at an operator's wish.
    pub resend_of: Option<MessageId>,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its id.
    pub id: MessageId,
    /// Whose agents are told.
    pub agency: AgencyId,
    /// About what.
    pub lead: LeadId,
    /// Who is told; `None`: the agency itself.
    pub agent: Option<AgentId>,
    /// Because of what.
    pub assignment: AssignmentId,
    /// How.
    pub channel: Channel,
    /// E-mail address, or phone number in E.164.
    pub recipient: String,
    /// E-mail only.
    pub subject: Option<String>,
    /// The text as rendered.
    pub body_text: String,
    /// E-mail only.
    pub body_html: Option<String>,
}

macro_rules! columns {
    () => {
        "id, agency_id, lead_id, agent_id, assignment_id, channel, recipient, subject, body_text, \
         body_html, state, provider, provider_id, error, attempts, created_at, sent_at, resend_of"
    };
}
use columns;

fn message(row: &PgRow) -> sqlx::Result<Message> {
    Ok(Message {
        id: MessageId(row.try_get("id")?),
        agency: AgencyId(row.try_get("agency_id")?),
        lead: LeadId(row.try_get("lead_id")?),
        agent: row.try_get::<Option<_>, _>("agent_id")?.map(AgentId),
        assignment: AssignmentId(row.try_get("assignment_id")?),
        channel: word(row, "channel")?,
        recipient: row.try_get("recipient")?,
        subject: row.try_get("subject")?,
        body_text: row.try_get("body_text")?,
        body_html: row.try_get("body_html")?,
        state: word(row, "state")?,
        provider: row.try_get("provider")?,
        provider_id: row.try_get("provider_id")?,
        error: row.try_get("error")?,
        attempts: row.try_get("attempts")?,
        created_at: row.try_get("created_at")?,
        sent_at: row.try_get("sent_at")?,
        resend_of: row.try_get::<Option<_>, _>("resend_of")?.map(MessageId),
    })
}

/// Writes messages by one statement.
///
/// # Errors
/// Constraint `messages_once` if an assignment has such a message already.
pub async fn insert_all(tx: &mut Tx, new: &[NewMessage]) -> Result<()> {
    sqlx::query(
        "insert into switchyard.messages (id, agency_id, lead_id, agent_id, assignment_id, channel,
           recipient, subject, body_text, body_html)
         select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[],
           $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])",
    )
    .bind(new.iter().map(|m| m.id.0).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.agency.0).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.lead.0).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.agent.map(|a| a.0)).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.assignment.0).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.channel.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.recipient.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.subject.as_deref()).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.body_text.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|m| m.body_html.as_deref()).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// One message.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn get(tx: &mut Tx, id: MessageId) -> Result<Message> {
    let row =
        sqlx::query(concat!("select ", columns!(), " from switchyard.messages where id = $1"))
            .bind(id.0)
            .fetch_one(tx.conn())
            .await?;
    Ok(message(&row)?)
}

/// Which messages to list.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// About this lead.
    pub lead: Option<LeadId>,
    /// In this state.
    pub state: Option<MessageState>,
    /// Over this channel.
    pub channel: Option<Channel>,
    /// Older than this one (for the next page).
    pub before: Option<MessageId>,
    /// At most so many.
    pub limit: i64,
}

/// Messages, the newest first.
///
/// # Errors
/// If the database is not available.
pub async fn list(tx: &mut Tx, filter: &MessageFilter) -> Result<Vec<Message>> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.messages
          where ($1::uuid is null or lead_id = $1) and ($2::text is null or state = $2)
            and ($3::text is null or channel = $3) and ($4::uuid is null or id < $4)
          order by id desc limit $5"
    ))
    .bind(filter.lead.map(|l| l.0))
    .bind(filter.state.map(MessageState::as_str))
    .bind(filter.channel.map(Channel::as_str))
    .bind(filter.before.map(|m| m.0))
    .bind(filter.limit)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(message).collect::<sqlx::Result<_>>()?)
}

/// Why a message is not sent again.
#[derive(Debug, thiserror::Error)]
pub enum ResendFault {
    /// Only failed ones and those in doubt are.
    #[error("the message is `{0}`; only a failed or unknown one can be sent again")]
    WrongState(MessageState),
    /// The database's answer; `NotFound` if there is no such message.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Sends a failed message, or one in doubt, anew: as a new message, which `job` maps to the job
/// that sends it. Each message is repeated once; asked again, this answers with the repetition.
///
/// # Errors
/// [`ResendFault`].
pub async fn resend<F>(tx: &mut Tx, id: MessageId, job: F) -> Result<Message, ResendFault>
where
    F: FnOnce(&Message) -> Result<NewJob, serde_json::Error>,
{
    let old = get(tx, id).await?;
    if !matches!(old.state, MessageState::Failed | MessageState::Unknown) {
        return Err(ResendFault::WrongState(old.state));
    }
    let made = sqlx::query(concat!(
        "insert into switchyard.messages (id, agency_id, lead_id, agent_id, assignment_id, channel,
           recipient, subject, body_text, body_html, resend_of)
         select $2, agency_id, lead_id, agent_id, assignment_id, channel, recipient, subject,
           body_text, body_html, id from switchyard.messages where id = $1
         on conflict on constraint messages_once do nothing returning ",
        columns!()
    ))
    .bind(id.0)
    .bind(MessageId::new().0)
    .fetch_optional(tx.conn())
    .await
    .map_err(StoreFault::from)?;
    if let Some(row) = made {
        let new = message(&row).map_err(StoreFault::from)?;
        tx.enqueue(job(&new).map_err(StoreFault::from)?).await?;
        return Ok(new);
    }
    let row = sqlx::query(concat!(
        "select ",
        columns!(),
        " from switchyard.messages where resend_of = $1"
    ))
    .bind(id.0)
    .fetch_one(tx.conn())
    .await
    .map_err(StoreFault::from)?;
    Ok(message(&row).map_err(StoreFault::from)?)
}
