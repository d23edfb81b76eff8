//! Asking for a restore, and the second confirmation: by another administrator, or by the same one with
//! the token of the first answer and the phrase typed by hand.

use super::restore::{RestoreBackup, RestoreOrder};
use chrono::{DateTime, Utc};
use rand::Rng;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Duration;
use subtle::ConstantTimeEq;
use switchyard_queue::{JobId, NewJob};
use switchyard_store::backups::audit;
use switchyard_store::backups::requests::{self, Asked, NewRequest};
use switchyard_store::{StoreFault, Tx};
use uuid::Uuid;

/// A request is confirmed within this or not at all.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// What the first answer says.
#[derive(Clone, Debug, Serialize)]
pub struct Confirmation {
    /// The request; the confirmation names it.
    pub request: Uuid,
    /// For whoever asked; shown once.
    pub token: String,
    /// What has to be typed with it.
    pub phrase: String,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// Why a request is not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum AskFault {
    /// It is too late.
    #[error("the request has expired: ask for the restore again")]
    Expired,
    /// Somebody was quicker.
    #[error("the request was confirmed before")]
    Confirmed,
    /// The one who asked wants to confirm it, without the token or without the phrase.
    #[error(
        "whoever asked confirms with the token of the first answer and the phrase typed by hand; \
         another administrator needs neither"
    )]
    NotTwice,
    /// What is asked for makes no sense.
    #[error("{0}")]
    Order(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Who confirms, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// `admin:<id>`.
    pub who: &'a str,
    /// The token of the first answer.
    pub token: Option<&'a str>,
    /// What was typed.
    pub typed: Option<&'a str>,
}

/// Asks for a restore.
///
/// # Errors
/// [`AskFault::Order`] if it makes no sense, or if the database is not available.
pub async fn restore(
    tx: &mut Tx,
    who: &str,
    order: &RestoreOrder,
) -> Result<Confirmation, AskFault> {
    order.check().map_err(AskFault::Order)?;
    let phrase = order.backup.clone().unwrap_or_else(|| "restore".to_owned());
    ask(tx, who, Asked::Restore, order, phrase).await
}

/// Asks for the whole plan into the standby.
///
/// # Errors
/// If the database is not available.
pub async fn disaster_recovery(
    tx: &mut Tx,
    who: &str,
    order: &RestoreOrder,
) -> Result<Confirmation, AskFault> {
    order.check().map_err(AskFault::Order)?;
    ask(tx, who, Asked::DisasterRecovery, order, "disaster recovery".to_owned()).await
}

async fn ask(
    tx: &mut Tx,
    who: &str,
    what: Asked,
    order: &RestoreOrder,
    phrase: String,
) -> Result<Confirmation, AskFault> {
    let mut secret = [0u8; 16];
    rand::rng().fill_bytes(&mut secret);
    let token = hex::encode(secret);
    let plan = serde_json::to_value(order).map_err(StoreFault::from)?;
    let hash = Sha256::digest(token.as_bytes());
    let new = NewRequest {
        what,
        plan: &plan,
        phrase: &phrase,
        token_hash: &hash,
        asked_by: who,
        life: LIFE,
    };
    let request = requests::create(tx, &new).await?;
    let target = request.id.to_string();
    audit(tx, who, "backup.restore.asked", Some(&target), &json!({ "what": what, "plan": plan }))
        .await?;
    Ok(Confirmation { request: request.id, token, phrase, expires_at: request.expires_at })
}

/// Confirms a request; gives the job that does it.
///
/// # Errors
/// [`AskFault`].
pub async fn confirm(tx: &mut Tx, id: Uuid, asking: Asking<'_>) -> Result<JobId, AskFault> {
    let request = requests::lock(tx, id).await?;
    if request.confirmed_at.is_some() {
        return Err(AskFault::Confirmed);
    }
    if request.expired {
        return Err(AskFault::Expired);
    }
    if asking.who == request.asked_by {
        let hash = Sha256::digest(asking.token.unwrap_or_default().as_bytes());
        let token: bool = hash.ct_eq(&request.token_hash[..]).into();
        let typed = asking.typed.is_some_and(|t| t.trim() == request.phrase);
        if !token || !typed {
            return Err(AskFault::NotTwice);
        }
    }
    let job = NewJob::of(&RestoreBackup { request: id }).map_err(StoreFault::from)?;
    let job = tx.enqueue(job).await?.id;
    requests::confirm(tx, id, asking.who, job.0).await?;
    let details = json!({ "asked_by": request.asked_by, "job": job.0 });
    let target = id.to_string();
    audit(tx, asking.who, "backup.restore.confirmed", Some(&target), &details).await?;
    Ok(job)
}
