//! Sending messages: attempts, what the provider answered, and what nobody will send any more.

use super::{Message, MessageState, columns, message};
use crate::{Result, Tx};
use switchyard_domain::{AgencyId, MessageId};
use switchyard_queue::JobId;
use uuid::Uuid;

/// What the beginning of an attempt changes.
macro_rules! begun {
    () => {
        "attempts = attempts + (state in ('queued', 'failed'))::int, \
         state = case state when 'failed' then 'queued' else state end"
    };
}

/// The places of the messages `$1::uuid[]` of the agencies `$2::uuid[]`.
macro_rules! theirs {
    () => {
        "select m.ctid from unnest($1::uuid[], $2::uuid[]) i(id, agency)
         cross join lateral (select ctid from switchyard.messages
           where id = i.id and agency_id = i.agency offset 0) m"
    };
}

/// Counts an attempt and gives the message, unless it is settled for good (`sent`, `unknown`):
/// then nothing is counted. A failed one that is tried again is `queued` again.
///
/// # Errors
/// [`StoreFault::NotFound`] if there is none, or the scope hides it.
pub async fn begin_attempt(tx: &mut Tx, id: MessageId) -> Result<Message> {
    let row = sqlx::query(concat!(
        "update switchyard.messages set ",
        begun!(),
        " where id = $1 returning ",
        columns!()
    ))
    .bind(id.0)
    .fetch_one(tx.conn())
    .await?;
    Ok(message(&row)?)
}

/// The same for several, each of the agency that is named with it. What is not there is left out.
///
/// # Errors
/// If the database is not available.
pub async fn begin_attempts(tx: &mut Tx, of: &[(MessageId, AgencyId)]) -> Result<Vec<Message>> {
    let rows = sqlx::query(concat!(
        "update switchyard.messages set ",
        begun!(),
        " where ctid = any (array(",
        theirs!(),
        ")) returning ",
        columns!()
    ))
    .bind(of.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
    .bind(of.iter().map(|(_, agency)| agency.0).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.iter().map(message).collect::<sqlx::Result<_>>()?)
}

/// Writes down that the provider took it.
///
/// # Errors
/// If the database is not available.
pub async fn mark_sent(
    tx: &mut Tx,
    id: MessageId,
    provider: &str,
    provider_id: Option<&str>,
) -> Result<()> {
    sqlx::query(
        "update switchyard.messages set state = 'sent', provider = $2, provider_id = $3,
           error = null, sent_at = now() where id = $1",
    )
    .bind(id.0)
    .bind(provider)
    .bind(provider_id)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The same for several, each with its agency and what the provider calls it; gives how many there are.
///
/// # Errors
/// If the database is not available.
pub async fn mark_all_sent(tx: &mut Tx, sent: &[SentMessage]) -> Result<u64> {
    let done = sqlx::query(
        "with standing as materialized (
           select i.provider, i.called, s.place
           from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) i(id, agency, provider, called)
           cross join lateral (select ctid as place from switchyard.messages
             where id = i.id and agency_id = i.agency offset 0) s
         )
         update switchyard.messages m set state = 'sent', provider = i.provider, provider_id = i.called,
           error = null, sent_at = now()
         from standing i where m.ctid = i.place",
    )
    .bind(sent.iter().map(|s| s.id.0).collect::<Vec<_>>())
    .bind(sent.iter().map(|s| s.agency.0).collect::<Vec<_>>())
    .bind(sent.iter().map(|s| s.provider).collect::<Vec<_>>())
    .bind(sent.iter().map(|s| s.provider_id.as_deref()).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// A message that a provider took.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// The message.
    pub id: MessageId,
    /// Whose it is.
    pub agency: AgencyId,
    /// The provider's name.
    pub provider: &'static str,
    /// The provider's own id of it.
    pub provider_id: Option<String>,
}

/// Writes down what went wrong, and where the message stands now.
///
/// # Errors
/// If the database is not available.
pub async fn mark(tx: &mut Tx, id: MessageId, state: MessageState, error: &str) -> Result<()> {
    sqlx::query("update switchyard.messages set state = $2, error = $3 where id = $1")
        .bind(id.0)
        .bind(state.as_str())
        .bind(error)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// What one look at dead letters came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Messages that are settled now.
    pub settled: i64,
    /// Those of them that certainly were not sent.
    pub failed: Vec<MessageId>,
    /// Where to go on; `None`: that was all.
    pub next: Option<JobId>,
}

/// Settles queued messages whose jobs (of these kinds, with the message in their arguments) are
/// dead letters: nobody will send them. One whose sending was begun and has no result may have gone
/// out and becomes `unknown`, the others `failed`. `effect` is what the key of a sending begins with.
///
/// A dead letter that somebody is reviving at this moment is left to them.
///
/// # Errors
/// If the database is not available.
pub async fn settle_stranded(
    tx: &mut Tx,
    kinds: &[&str],
    effect: &str,
    after: Option<JobId>,
    limit: u32,
) -> Result<Stretch> {
    let (settled, failed, seen, last): (i64, Vec<Uuid>, i64, Option<Uuid>) = sqlx::query_as(
        "with dead as materialized (
           select id, last_error, case when args->>'message' ~ '^[0-9a-f-]{36}$'
               then (args->>'message')::uuid end as message
           from engine.jobs
           where stage = 5 and kind = any($1::text[]) and ($2::uuid is null or id > $2)
           order by id limit $3 for update skip locked),
         settled as (
           update switchyard.messages m set
             state = case when e.state in ('intent', 'unknown') then 'unknown' else 'failed' end,
             error = case when e.state in ('intent', 'unknown')
               then 'The last attempt was cut off while the message was being sent; it may have gone out.'
               else coalesce(m.error, 'Its job ended before it was sent: ' || d.last_error,
                             'Its job ended before it was sent.') end
           from dead d left join engine.effects e on e.key = $4::text || d.message
           where m.id = d.message and m.state = 'queued' and e.state is distinct from 'done'
           returning m.id, m.state)
         select (select count(*) from settled),
                array(select id from settled where state = 'failed' order by id), count(*),
                (select id from dead order by id desc limit 1)
         from dead",
    )
    .bind(kinds)
    .bind(after.map(|id| id.0))
    .bind(i64::from(limit))
    .bind(effect)
    .fetch_one(tx.conn())
    .await?;
    let next = last.filter(|_| seen >= i64::from(limit)).map(JobId);
    Ok(Stretch { settled, failed: failed.into_iter().map(MessageId).collect(), next })
}
