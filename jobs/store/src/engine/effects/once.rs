//! `once`: an effect that is done one time, and whose result every retry gets back.
//!
//! [`once_in`] is for an effect inside the database: it stands or falls with the transaction.
//! [`once`] is for one outside: intent, call, result. An attempt that was interrupted in between
//! leaves the effect in doubt, and then the call is made again only if the caller says that this
//! does no harm.

use super::{EffectOutcome, EffectState, PATIENCE, begin, finish};
use crate::{Db, JobTx, Result, StoreFault};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::error::Error;
use std::future::Future;
use switchyard_queue::{ClaimedJob, JobError};

/// What to do about an effect that an interrupted attempt may have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InDoubt {
    /// Leave it: the answer is [`OnceFault::InDoubt`], and somebody has to ask the other side.
    Refuse,
    /// Make the call again: the other side knows it by the key and does it once.
    Repeat,
}

/// How a call failed.
#[derive(Debug)]
pub enum CallFault<E> {
    /// It certainly had no effect.
    Failed(E),
    /// It may have had its effect (a timeout after the request was written).
    Unknown(E),
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum OnceFault<E: Error + 'static> {
    /// An earlier attempt may have had the effect. Nothing was called.
    #[error("`{0}` is in doubt: an earlier attempt may have done it, so it is not done again")]
    InDoubt(String),
    /// The call failed, and may be made again.
    #[error("the call failed")]
    Failed(#[source] E),
    /// The call failed, and may have had its effect all the same: from now on it is in doubt.
    #[error("the call failed, and nobody knows whether it had its effect")]
    Unknown(#[source] E),
    /// The store did not answer, or the job is no longer held under this fence.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl<E: Error + Send + Sync + 'static> OnceFault<E> {
    /// What a job does about it: what is in doubt is a dead letter, for somebody to look at.
    #[must_use]
    pub fn into_job_error(self) -> JobError {
        match self {
            Self::Store(fault) => fault.into_job_error(),
            Self::Failed(_) => JobError::retry(self),
            Self::InDoubt(_) | Self::Unknown(_) => JobError::permanent(self),
        }
    }
}

/// Has an effect outside the database one time. The key names it for good, and the call should
/// pass it on where the other side takes one.
///
/// The intent is committed, then the call is made with no transaction open, then its result is
/// committed; a database that is away meanwhile is waited for. A later attempt gets the stored
/// result and calls nobody. Results are kept in plain sight of operators: ids, not people.
///
/// # Errors
/// See [`OnceFault`]. A stored result that does not fit `T` is [`StoreFault::Json`].
pub async fn once<T, E, F, Fut>(
    db: &Db,
    job: &ClaimedJob,
    key: &str,
    in_doubt: InDoubt,
    call: F,
) -> Result<T, OnceFault<E>>
where
    T: Serialize + DeserializeOwned,
    E: Error + 'static,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, CallFault<E>>>,
{
    let mut tx = db.begin_job(job).await?;
    let state = begin(&mut tx, key).await?;
    tx.commit().await?;
    let doubted = state == EffectState::InDoubt;
    match state {
        EffectState::AlreadyDone(result) => return Ok(stored(result)?),
        EffectState::InDoubt if in_doubt == InDoubt::Refuse => {
            return Err(OnceFault::InDoubt(key.to_owned()));
        }
        EffectState::InDoubt | EffectState::New => {}
    }
    let (outcome, answer) = match call().await {
        Ok(value) => (EffectOutcome::Done(kept(&value)?), Ok(value)),
        // That this call had no effect says nothing about the one before it.
        Err(CallFault::Failed(e)) if doubted => {
            (EffectOutcome::Unknown(words(&e)), Err(OnceFault::Failed(e)))
        }
        Err(CallFault::Failed(e)) => (EffectOutcome::Failed(words(&e)), Err(OnceFault::Failed(e))),
        Err(CallFault::Unknown(e)) => {
            let outcome = EffectOutcome::Unknown(words(&e));
            let again = in_doubt == InDoubt::Repeat;
            (outcome, Err(if again { OnceFault::Failed(e) } else { OnceFault::Unknown(e) }))
        }
    };
    record(db, job, key, &outcome).await?;
    answer
}

/// Writes down what became of the call, waiting for the database if it is away.
async fn record(db: &Db, job: &ClaimedJob, key: &str, outcome: &EffectOutcome) -> Result<()> {
    let mut waits = PATIENCE.iter();
    loop {
        let fault = match record_once(db, job, key, outcome.clone()).await {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        match waits.next() {
            Some(wait) if fault.is_transient() => {
                tracing::warn!(effect = key, "an effect's result is not written yet: {fault}");
                tokio::time::sleep(*wait).await;
            }
            _ => return Err(fault),
        }
    }
}

async fn record_once(db: &Db, job: &ClaimedJob, key: &str, outcome: EffectOutcome) -> Result<()> {
    let mut tx = db.begin_job(job).await?;
    finish(&mut tx, key, outcome).await?;
    tx.commit().await
}

/// Has an effect inside the job's transaction one time: what `effect` writes, the record of it and
/// its result are one commit. A later attempt gets the stored result and writes nothing.
///
/// If `effect` fails, all that it wrote is undone, and the transaction can go on without it.
///
/// # Errors
/// What `effect` gives; [`OnceFault::InDoubt`] if [`once`] left the key in doubt; the store's.
pub async fn once_in<T, E, F>(tx: &mut JobTx, key: &str, effect: F) -> Result<T, OnceFault<E>>
where
    T: Serialize + DeserializeOwned,
    E: Error + 'static,
    F: AsyncFnOnce(&mut JobTx) -> Result<T, E>,
{
    savepoint(tx, "savepoint effect").await?;
    let answer = try_in(tx, key, effect).await;
    let end =
        if answer.is_ok() { "release savepoint effect" } else { "rollback to savepoint effect" };
    savepoint(tx, end).await?;
    answer
}

async fn try_in<T, E, F>(tx: &mut JobTx, key: &str, effect: F) -> Result<T, OnceFault<E>>
where
    T: Serialize + DeserializeOwned,
    E: Error + 'static,
    F: AsyncFnOnce(&mut JobTx) -> Result<T, E>,
{
    match begin(tx, key).await? {
        EffectState::New => {}
        EffectState::AlreadyDone(result) => return Ok(stored(result)?),
        EffectState::InDoubt => return Err(OnceFault::InDoubt(key.to_owned())),
    }
    let value = effect(&mut *tx).await.map_err(OnceFault::Failed)?;
    finish(tx, key, EffectOutcome::Done(kept(&value)?)).await?;
    Ok(value)
}

async fn savepoint(tx: &mut JobTx, statement: &'static str) -> Result<()> {
    sqlx::raw_sql(statement).execute(tx.conn()).await?;
    Ok(())
}

/// What an error says, as jsonb can hold it.
fn words(error: &impl Error) -> String {
    error.to_string().replace('\0', "\u{fffd}")
}

fn kept<T: Serialize>(value: &T) -> Result<Value> {
    Ok(serde_json::to_value(value)?)
}

fn stored<T: DeserializeOwned>(result: Value) -> Result<T> {
    Ok(serde_json::from_value(result)?)
}
