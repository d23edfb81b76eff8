//! Commissions: what was earned and why, who stands where, and how money is paid out. An agency sees its
//! own, an operator all.

mod payout_steps;
mod payouts;
mod proof;
mod read;
mod record;
mod statements;
mod views;

pub(crate) use read::month;

use crate::auth::{Claims, Role};
use crate::{Api, ApiError};
use switchyard_catalog::lead_work::Actor;
use switchyard_domain::AgencyId;
use switchyard_domain::money::Currency;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    read::routes()
        .merge(proof::routes())
        .merge(record::routes())
        .merge(statements::routes())
        .merge(payouts::routes())
        .merge(payout_steps::routes())
}

/// Who does it, for the record.
pub(crate) fn actor(claims: &Claims) -> Actor {
    let role = match claims.role {
        Role::Admin => "admin",
        Role::Agency => "agency",
    };
    Actor { agency: claims.agency, name: format!("{role}:{}", claims.sub) }
}

/// In whose books: an agency's own, whatever it says; an operator has to say.
fn books_of(claims: &Claims, said: Option<Uuid>) -> Result<AgencyId, ApiError> {
    claims.agency.or(said.map(AgencyId)).ok_or_else(|| {
        ApiError::unprocessable("agency_missing", "`agency_id` is missing: say in whose books")
    })
}

/// The currency of a code; EUR if none is said.
pub(crate) fn currency(code: Option<&str>) -> Result<Currency, ApiError> {
    code.unwrap_or("EUR")
        .parse()
        .map_err(|why: String| ApiError::unprocessable("unknown_currency", why))
}
