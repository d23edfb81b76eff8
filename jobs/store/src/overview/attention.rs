//! What waits for a person, counted up to a bound so that looking stays cheap.

use crate::{Result, Tx};
use sqlx::Row;

/// Numbers that should be zero. Each is counted up to 1,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attention {
    /// Leads that nobody covers.
    pub unassigned: i64,
    /// Deliveries that were rejected in the last seven days.
    pub rejected: i64,
    /// Messages of the last seven days that failed or are in doubt.
    pub messages: i64,
    /// Leads whose rest could not be fetched so far.
    pub not_fetched: i64,
    /// Portals that are silent for longer than is usual.
    pub silent: i64,
}

/// Counts them.
///
/// # Errors
/// If the database is not available.
pub async fn attention(tx: &mut Tx) -> Result<Attention> {
    const SQL: &str = "select
        (select count(*) from (select from switchyard.leads
           where state = 'unassigned' limit 1000) x) as unassigned,
        (select count(*) from (select from switchyard.webhook_events
           where state = 'rejected' and received_at > now() - interval '7 days' limit 1000) x) as rejected,
        (select count(*) from (select from switchyard.messages
           where state in ('failed', 'unknown') and created_at > now() - interval '7 days' limit 1000) x) as messages,
        (select count(*) from (select from switchyard.leads
           where state = 'pending' and fetch_error is not null and duplicate_of is null limit 1000) x) as not_fetched,
        (select count(*) from switchyard.portal_pulse where silent_since is not null) as silent";
    let row = sqlx::query(SQL).fetch_one(tx.conn()).await?;
    Ok(Attention {
        unassigned: row.try_get("unassigned")?,
        rejected: row.try_get("rejected")?,
        messages: row.try_get("messages")?,
        not_fetched: row.try_get("not_fetched")?,
        silent: row.try_get("silent")?,
    })
}
