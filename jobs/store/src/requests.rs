//! Requests that carried an idempotency key, and their answers, kept for a day.

use crate::{Result, StoreFault, Tx};
use serde_json::Value;

/// What is known of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// It is the first with this key; [`answered`] must follow in the same transaction.
    New,
    /// The same was asked before and got this answer.
    Repeated(Value),
    /// The key was used for something else.
    Other,
}

/// How often a row may be forgotten between "it is there" and "what is in it?".
const ROUNDS: usize = 5;

/// Looks a request up, or enters it. Waits for the end of a transaction that is just entering the
/// same key. `digest` stands for what is asked.
///
/// # Errors
/// If the database is not available.
pub async fn enter(tx: &mut Tx, key: &str, digest: &str) -> Result<Request> {
    for _ in 0..ROUNDS {
        let new = sqlx::query(
            "insert into engine.requests (key, digest) values ($1, $2) on conflict do nothing",
        )
        .bind(key)
        .bind(digest)
        .execute(tx.conn())
        .await?;
        if new.rows_affected() == 1 {
            return Ok(Request::New);
        }
        let earlier: Option<(String, Option<Value>)> =
            sqlx::query_as("select digest, answer from engine.requests where key = $1")
                .bind(key)
                .fetch_optional(tx.conn())
                .await?;
        match earlier {
            Some((same, Some(answer))) if same == digest => return Ok(Request::Repeated(answer)),
            Some(_) => return Ok(Request::Other),
            None => {}
        }
    }
    let busy = "a request kept being entered and forgotten".to_owned();
    Err(StoreFault::Unavailable(sqlx::Error::Protocol(busy)))
}

/// Keeps the answer; it commits together with what was done.
///
/// # Errors
/// If the database is not available.
pub async fn answered(tx: &mut Tx, key: &str, answer: &Value) -> Result<()> {
    sqlx::query("update engine.requests set answer = $2 where key = $1")
        .bind(key)
        .bind(answer)
        .execute(tx.conn())
        .await?;
    Ok(())
}
