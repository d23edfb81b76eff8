//! Messages as they were rendered: the capture box reads them here.

use super::{Cursor, Page};
use crate::{Result, Tx};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use switchyard_domain::{AgencyId, LeadId, MessageId};
use uuid::Uuid;

/// One message in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageRow {
    /// The message.
    pub id: MessageId,
    /// `email` or `whatsapp`.
    pub channel: String,
    /// Address or number.
    pub recipient: String,
    /// The agent's name, if it goes to a person.
    pub agent: Option<String>,
    /// The agency.
    pub agency_id: AgencyId,
    /// Its name.
    pub agency: String,
    /// The lead it is about.
    pub lead: LeadId,
    /// E-mail only.
    pub subject: Option<String>,
    /// The beginning of the text, at most 160 characters.
    pub preview: String,
    /// `queued`, `sent`, `failed` or `unknown`.
    pub state: String,
    /// The provider that took it; `capture` for the box.
    pub provider: Option<String>,
    /// What the provider said last.
    pub error: Option<String>,
    /// How often it was tried.
    pub attempts: i32,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When the provider took it.
    pub sent_at: Option<DateTime<Utc>>,
}

/// A message with its bodies.
#[derive(Clone, Debug)]
pub struct MessageDetail {
    /// The row of the list.
    pub row: MessageRow,
    /// The whole text.
    pub text: String,
    /// The HTML part, e-mail only.
    pub html: Option<String>,
    /// The provider's own id.
    pub provider_id: Option<String>,
    /// The request that began it all.
    pub request_id: Option<String>,
}

/// Which messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageFilter {
    /// All of them.
    #[default]
    All,
    /// E-mails.
    Email,
    /// WhatsApp messages.
    WhatsApp,
    /// Failed, or in doubt.
    Trouble,
}

macro_rules! message_sql {
    ($rest:literal) => {
        concat!(
            "select m.id, m.channel, m.recipient, t.name as agent, m.agency_id, g.name as agency,
                    m.lead_id, m.subject, left(m.body_text, 160) as preview, m.state, m.provider,
                    m.error, m.attempts, m.created_at, m.sent_at
             from switchyard.messages m
             join switchyard.agencies g on g.id = m.agency_id
             left join switchyard.agents t on t.id = m.agent_id ",
            $rest
        )
    };
}

/// Messages, newest first.
///
/// # Errors
/// If the database is not available.
pub async fn messages(
    tx: &mut Tx,
    filter: MessageFilter,
    after: Option<Cursor>,
    limit: u32,
) -> Result<Page<MessageRow>> {
    const ALL: &str = message_sql!(
        "where (m.created_at, m.id) < (coalesce($1, 'infinity'), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
         order by m.created_at desc, m.id desc limit $3"
    );
    const CHANNEL: &str = message_sql!(
        "where (m.created_at, m.id) < (coalesce($1, 'infinity'), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
           and m.channel = $4
         order by m.created_at desc, m.id desc limit $3"
    );
    // The literals let the planner see that the partial index covers it.
    const TROUBLE: &str = message_sql!(
        "where (m.created_at, m.id) < (coalesce($1, 'infinity'), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
           and m.state in ('failed', 'unknown')
         order by m.created_at desc, m.id desc limit $3"
    );
    let (sql, channel) = match filter {
        MessageFilter::All => (ALL, None),
        MessageFilter::Email => (CHANNEL, Some("email")),
        MessageFilter::WhatsApp => (CHANNEL, Some("whatsapp")),
        MessageFilter::Trouble => (TROUBLE, None),
    };
    let query = sqlx::query(sql)
        .bind(after.map(|c| c.at))
        .bind(after.map(|c| c.id))
        .bind(i64::from(limit) + 1);
    let query = match channel {
        Some(channel) => query.bind(channel),
        None => query,
    };
    let rows = query.fetch_all(tx.conn()).await?;
    let rows = rows.iter().map(row).collect::<Result<Vec<_>>>()?;
    Ok(Page::cut(rows, limit, |m| Cursor { at: m.created_at, id: m.id.0 }))
}

/// One message with its bodies.
///
/// # Errors
/// [`crate::StoreFault::NotFound`] if there is none.
pub async fn message(tx: &mut Tx, id: MessageId) -> Result<MessageDetail> {
    const SQL: &str = message_sql!("where m.id = $1");
    const REST: &str = "select m.body_text, m.body_html, m.provider_id, e.request_id
        from switchyard.messages m
        join switchyard.leads l on l.id = m.lead_id
        join switchyard.webhook_events e on e.id = l.event_id
        where m.id = $1";
    let found = sqlx::query(SQL).bind(id.0).fetch_one(tx.conn()).await?;
    let rest = sqlx::query(REST).bind(id.0).fetch_one(tx.conn()).await?;
    Ok(MessageDetail {
        row: row(&found)?,
        text: rest.try_get("body_text")?,
        html: rest.try_get("body_html")?,
        provider_id: rest.try_get("provider_id")?,
        request_id: rest.try_get("request_id")?,
    })
}

fn row(row: &PgRow) -> Result<MessageRow> {
    Ok(MessageRow {
        id: MessageId(row.try_get("id")?),
        channel: row.try_get("channel")?,
        recipient: row.try_get("recipient")?,
        agent: row.try_get("agent")?,
        agency_id: AgencyId(row.try_get::<Uuid, _>("agency_id")?),
        agency: row.try_get("agency")?,
        lead: LeadId(row.try_get("lead_id")?),
        subject: row.try_get("subject")?,
        preview: row.try_get("preview")?,
        state: row.try_get("state")?,
        provider: row.try_get("provider")?,
        error: row.try_get("error")?,
        attempts: row.try_get("attempts")?,
        created_at: row.try_get("created_at")?,
        sent_at: row.try_get("sent_at")?,
    })
}
