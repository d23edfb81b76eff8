//! Proofs that entries stand in the ledger's log.

use crate::auth::{Caller, CommissionsRead};
use crate::envelope::Envelope;
use crate::extract::ApiPath;
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply};
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use switchyard_store::Scope;
use switchyard_store::ledger::{self, EntryId};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(prove))
}

/// A proof that whoever has it checks without the platform.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ProofView {
    /// The document, for `switchyard commission verify-proof`: the entry, its leaf, the path from it to
    /// the root (RFC 9162), and the signed head.
    #[schema(value_type = Object)]
    proof: Value,
}

/// Prove that an entry stands in the ledger's log
///
/// Save `data.proof` as it is: `switchyard commission verify-proof` checks it without a database, also
/// against a root that a backup's manifest keeps.
#[utoipa::path(get, path = "/api/v1/commissions/{id}/proof", tag = "commissions",
    operation_id = "commission_proof",
    params(("id" = Uuid, Path, description = "An entry, as `explain` names it")),
    responses(
        (status = 200, description = "The proof.", body = Envelope<ProofView>),
        (status = 404, description = "There is no such entry, or it is not yours.",
            body = ErrorEnvelope),
        (status = 409, description = "No signed head covers it yet; one does within a minute.",
            body = ErrorEnvelope)))]
async fn prove(
    State(api): State<Api>,
    caller: Caller<CommissionsRead>,
    ApiPath(id): ApiPath<Uuid>,
) -> Answer<ProofView> {
    let mut own = api.db.begin(caller.scope()).await?;
    ledger::entry(&mut own, EntryId(id)).await?;
    own.rollback().await?;
    // The log is the platform's: what an agency gets of others' entries is hashes.
    let mut tx = api.db.begin(Scope::Platform).await?;
    let proof = ledger::prove(&mut tx, EntryId(id), None).await?;
    tx.rollback().await?;
    let proof = proof.ok_or_else(|| {
        ApiError::conflict("not_signed_yet", "no signed head covers it yet; ask again in a minute")
    })?;
    Ok(Reply::ok("proven", ProofView { proof: json!(proof) }))
}
