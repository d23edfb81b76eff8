//! Effects outside the database (an e-mail, a message, a payment): intent before the call, result
//! after it.
//!
//! A job writes its intent with [`begin`] and commits, makes the call with no transaction open,
//! and writes the result with [`finish`] in the transaction that also settles the job. If it dies
//! in between, nobody knows whether the call arrived: the next attempt is told
//! [`EffectState::InDoubt`] and must ask the provider, never simply call again.
//!
//! [`once`] does all of this for a call that gives a result, [`once_in`] for an effect inside the
//! job's transaction. Where the end of the job belongs into the result's transaction too, use
//! [`begin`] and [`finish`].

mod once;

use crate::{JobTx, JobsTx, Result, StoreFault};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use std::time::Duration;
use switchyard_queue::Held;

pub use once::{CallFault, InDoubt, OnceFault, once, once_in};

/// How long to wait before each further try to write a result down. The call was made; giving up
/// here is what puts its effect in doubt, so a database that restarts is waited for.
pub const PATIENCE: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Where an effect stands when a job wants to begin it.
#[derive(Clone, Debug, PartialEq)]
pub enum EffectState {
    /// The intent is written: commit, then make the call.
    New,
    /// An earlier attempt may have made the call. Ask the provider, then [`finish`].
    InDoubt,
    /// It was done; this is its result.
    AlreadyDone(Value),
}

/// What became of the call.
#[derive(Clone, Debug, PartialEq)]
pub enum EffectOutcome {
    /// It was done, with this result (the provider's id, say).
    Done(Value),
    /// It certainly was not done, for this reason: it may be begun again.
    Failed(String),
    /// It may have been done (a timeout after the request was written).
    Unknown(String),
}

/// Writes the intent down, or says why there is nothing to begin. The key names the effect for
/// good: `email <message id>`, say.
///
/// An intent that is found belongs to an attempt that ended without a result (whoever holds this
/// transaction holds the job's fence): it is marked unknown. An effect that failed may be tried
/// again. Two jobs that begin the same key wait for each other's transaction here.
///
/// # Errors
/// If the database is not available.
pub async fn begin(tx: &mut JobTx, key: &str) -> Result<EffectState> {
    begin_as(tx, key, false).await
}

/// The same for a job that has surely not made the call in this attempt: an intent of this very attempt was
/// written for it by a transaction whose end it did not hear of, and is as good as new.
///
/// # Errors
/// If the database is not available.
pub async fn begin_uncalled(tx: &mut JobTx, key: &str) -> Result<EffectState> {
    begin_as(tx, key, true).await
}

async fn begin_as(tx: &mut JobTx, key: &str, uncalled: bool) -> Result<EffectState> {
    let held = tx.held();
    if intend(tx.conn(), &[(held, key.to_owned())], uncalled).await? == 1 {
        return Ok(EffectState::New);
    }
    let (state, result): (String, Option<Json<Value>>) = sqlx::query_as(
        "update engine.effects
         set state = case state when 'intent' then 'unknown' else state end, updated_at = now()
         where key = $1
         returning state, result",
    )
    .bind(key)
    .fetch_one(tx.conn())
    .await?;
    Ok(match state.as_str() {
        "done" => EffectState::AlreadyDone(result.map_or(Value::Null, |Json(v)| v)),
        _ => EffectState::InDoubt,
    })
}

/// Writes down the intents of several jobs; `false` if not every one of these effects is new, and then the
/// transaction is to be undone: [`begin`] says of each how it stands.
///
/// # Errors
/// If the database is not available, or a key is named twice.
pub async fn begin_all(tx: &mut JobsTx, of: &[(Held, String)]) -> Result<bool> {
    Ok(intend(tx.conn(), of, false).await? == of.len() as u64)
}

/// Writes the intents of those that are new or have failed; `uncalled` says that one of the same attempt is
/// new too. Gives how many.
async fn intend(
    connection: &mut PgConnection,
    of: &[(Held, String)],
    uncalled: bool,
) -> Result<u64> {
    let done = sqlx::query(
        "insert into engine.effects as e (key, job_id, fence, state)
         select key, job, fence, 'intent' from unnest($1::text[], $2::uuid[], $3::int8[]) i(key, job, fence)
         order by key
         on conflict (key) do update
           set job_id = excluded.job_id, fence = excluded.fence, state = 'intent', result = null,
               updated_at = now()
           where e.state = 'failed'
              or $4 and e.state = 'intent' and e.job_id = excluded.job_id and e.fence = excluded.fence",
    )
    .bind(of.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>())
    .bind(of.iter().map(|(held, _)| held.id.0).collect::<Vec<_>>())
    .bind(of.iter().map(|(held, _)| held.fence.0).collect::<Vec<_>>())
    .bind(uncalled)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Writes down what became of an effect, by a call or by asking the provider afterwards. What was
/// done stays done.
///
/// # Errors
/// [`StoreFault::NotFound`] if the effect was never begun, or is known to be done and the outcome
/// says otherwise.
pub async fn finish(tx: &mut JobTx, key: &str, outcome: EffectOutcome) -> Result<()> {
    let held = tx.held();
    match conclude(tx.conn(), vec![(held, key.to_owned(), outcome)]).await? {
        1 => Ok(()),
        _ => Err(StoreFault::NotFound),
    }
}

/// The same for the effects of several jobs; `false` if that cannot be written of every one, and then the
/// transaction is to be undone.
///
/// # Errors
/// If the database is not available.
pub async fn finish_all(tx: &mut JobsTx, of: Vec<(Held, String, EffectOutcome)>) -> Result<bool> {
    let asked = of.len() as u64;
    Ok(conclude(tx.conn(), of).await? == asked)
}

/// Writes down what became of effects; gives of how many.
async fn conclude(
    connection: &mut PgConnection,
    of: Vec<(Held, String, EffectOutcome)>,
) -> Result<u64> {
    let (mut keys, mut held, mut states, mut results) = (vec![], vec![], vec![], vec![]);
    for (by, key, outcome) in of {
        let (state, result) = match outcome {
            EffectOutcome::Done(result) => ("done", result),
            EffectOutcome::Failed(why) => ("failed", Value::String(why)),
            EffectOutcome::Unknown(why) => ("unknown", Value::String(why)),
        };
        keys.push(key);
        held.push(by);
        states.push(state);
        results.push(Json(result));
    }
    let done = sqlx::query(
        "with standing as materialized (
           select i.*, s.place
           from unnest($1::text[], $2::text[], $3::jsonb[], $4::uuid[], $5::int8[])
             i(key, state, result, job, fence)
           cross join lateral (select ctid as place from engine.effects e
             where e.key = i.key and (e.state <> 'done' or i.state = 'done') offset 0) s
         )
         update engine.effects e
         set state = i.state, result = i.result, job_id = i.job, fence = i.fence, updated_at = now()
         from standing i where e.ctid = i.place",
    )
    .bind(keys)
    .bind(states)
    .bind(results)
    .bind(held.iter().map(|h| h.id.0).collect::<Vec<_>>())
    .bind(held.iter().map(|h| h.fence.0).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
