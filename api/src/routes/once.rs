//! Requests that have their effect once. What is kept of them is a keyed hash and the id of what was
//! made: nothing personal.

use crate::auth::Claims;
use crate::extract::IdempotencyKey;
use crate::{Api, ApiError};
use serde_json::{Value, json};
use switchyard_queue::digest;
use switchyard_store::Tx;
use switchyard_store::requests::{self, Request};
use uuid::Uuid;

/// A request with an idempotency key, or one without: that one is always new.
pub(crate) struct Once(Option<Keyed>);

struct Keyed {
    key: String,
    digest: String,
}

impl Once {
    /// Keys of different callers have nothing to do with each other.
    pub(crate) fn of(
        api: &Api,
        claims: &Claims,
        key: IdempotencyKey,
        what: &str,
        asked: &Value,
    ) -> Self {
        Self(key.idempotency_key.map(|key| {
            let asked = digest(&json!({ "what": what, "asked": asked }));
            let hash = api.keys.keyed_hash("request", asked.as_bytes());
            Keyed { key: format!("{} {key}", claims.sub), digest: digest(&json!(hash)) }
        }))
    }

    /// What the same request made, if it was made before; otherwise it is entered, and
    /// [`Self::answered`] has to follow in this transaction.
    pub(crate) async fn earlier(&self, tx: &mut Tx) -> Result<Option<Uuid>, ApiError> {
        let Some(keyed) = &self.0 else { return Ok(None) };
        match requests::enter(tx, &keyed.key, &keyed.digest).await? {
            Request::New => Ok(None),
            Request::Repeated(answer) => {
                serde_json::from_value(answer).map(Some).map_err(ApiError::internal)
            }
            Request::Other => Err(ApiError::unprocessable(
                "idempotency_key_reused",
                "this idempotency key was used for another request; take a new one",
            )),
        }
    }

    /// Keeps what was made; it commits together with that.
    pub(crate) async fn answered(&self, tx: &mut Tx, made: Uuid) -> Result<(), ApiError> {
        let Some(keyed) = &self.0 else { return Ok(()) };
        Ok(requests::answered(tx, &keyed.key, &json!(made)).await?)
    }
}
