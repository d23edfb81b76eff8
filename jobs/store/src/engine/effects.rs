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

use crate::{JobTx, Result, StoreFault};
use serde_json::Value;
use sqlx::types::Json;
use std::time::Duration;

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
    let held = tx.held();
    let begun: Option<i32> = sqlx::query_scalar(
        "insert into engine.effects as e (key, job_id, fence, state) values ($1, $2, $3, 'intent')
         on conflict (key) do update
           set job_id = excluded.job_id, fence = excluded.fence, state = 'intent', result = null,
               updated_at = now()
           where e.state = 'failed'
         returning 1",
    )
    .bind(key)
    .bind(held.id.0)
    .bind(held.fence.0)
    .fetch_optional(tx.conn())
    .await?;
    if begun.is_some() {
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

/// Writes down what became of an effect, by a call or by asking the provider afterwards. What was
/// done stays done.
///
/// # Errors
/// [`StoreFault::NotFound`] if the effect was never begun, or is known to be done and the outcome
/// says otherwise.
pub async fn finish(tx: &mut JobTx, key: &str, outcome: EffectOutcome) -> Result<()> {
    let held = tx.held();
    let (state, result) = match outcome {
        EffectOutcome::Done(result) => ("done", result),
        EffectOutcome::Failed(why) => ("failed", Value::String(why)),
        EffectOutcome::Unknown(why) => ("unknown", Value::String(why)),
    };
    let done = sqlx::query(
        "update engine.effects
         set state = $2, result = $3, job_id = $4, fence = $5, updated_at = now()
         where key = $1 and (state <> 'done' or $2 = 'done')",
    )
    .bind(key)
    .bind(state)
    .bind(Json(result))
    .bind(held.id.0)
    .bind(held.fence.0)
    .execute(tx.conn())
    .await?;
    if done.rows_affected() == 0 { Err(StoreFault::NotFound) } else { Ok(()) }
}
