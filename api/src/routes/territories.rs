//! An agency's own territories.

use crate::auth::{Caller, TerritoriesManage, TerritoriesRead};
use crate::envelope::Envelope;
use crate::extract::{ApiJson, ApiPath, ApiQuery};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use switchyard_catalog::line;
use switchyard_domain::normalise;
use switchyard_store::leads::Place;
use switchyard_store::territories::{self, Territory};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Postal codes in one request.
const MOST: usize = 1_000;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove))
}

/// A postal code that you cover.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TerritoryView {
    /// ISO 3166-1 alpha-2.
    #[schema(example = "PL")]
    country: String,
    #[schema(example = "00-950")]
    postal_code: String,
    created_at: DateTime<Utc>,
}

impl From<Territory> for TerritoryView {
    fn from(t: Territory) -> Self {
        let Place { country, postal_code } = t.place;
        Self { country, postal_code, created_at: t.created_at }
    }
}

/// List your territories
#[utoipa::path(get, path = "/api/mobile/territories", tag = "agency",
    operation_id = "territories",
    responses((status = 200, description = "All of them, by place.",
        body = Envelope<Vec<TerritoryView>>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller<TerritoriesRead>,
) -> Answer<Vec<TerritoryView>> {
    let agency = caller.agency()?;
    let mut tx = api.db.begin(caller.scope()).await?;
    let all = territories::list(&mut tx, agency).await?;
    Ok(Reply::ok("territories", all.into_iter().map(TerritoryView::from).collect()))
}

/// Postal codes to be covered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTerritories {
    /// A country, by code or name.
    #[schema(example = "PL")]
    country: String,
    /// One postal code.
    #[schema(example = "00-950")]
    postal_code: Option<String>,
    /// Or many, up to 1,000.
    #[schema(example = json!(["00-950", "00-951"]))]
    #[serde(default)]
    postal_codes: Vec<String>,
}

impl NewTerritories {
    fn places(self) -> Result<Vec<Place>, ApiError> {
        let country = known_country(&self.country)?;
        let codes: Vec<String> = self.postal_code.into_iter().chain(self.postal_codes).collect();
        if codes.is_empty() || codes.len() > MOST {
            let message = "give `postal_code`, or `postal_codes` with 1 to 1,000 of them";
            return Err(ApiError::unprocessable("invalid_postal_codes", message));
        }
        let place = |code: &String| {
            let postal_code = known_code(code, Some(country))?;
            Ok(Place { country: country.to_owned(), postal_code })
        };
        codes.iter().map(place).collect()
    }
}

fn known_country(text: &str) -> Result<&'static str, ApiError> {
    let message = "`country` is a country, such as PL";
    normalise::country(text).ok_or_else(|| ApiError::unprocessable("invalid_country", message))
}

fn known_code(text: &str, country: Option<&str>) -> Result<String, ApiError> {
    normalise::postal_code(text, country).map_err(|e| {
        let given: String = text.chars().take(40).collect();
        ApiError::unprocessable(e.code, e.message)
            .details(serde_json::json!({ "postal_code": given }))
    })
}

/// How many territories are new.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Added {
    /// Those that you covered already are not counted.
    #[schema(example = 2)]
    added: u64,
}

/// Add territories
///
/// Leads that wait there are given out.
#[utoipa::path(post, path = "/api/mobile/territories", tag = "agency",
    operation_id = "territories_add", request_body = NewTerritories,
    responses(
        (status = 201, description = "They are yours.", body = Envelope<Added>),
        (status = 422, description = "Not a country or a postal code.", body = ErrorEnvelope)))]
async fn add(
    State(api): State<Api>,
    caller: Caller<TerritoriesManage>,
    context: RequestContext,
    ApiJson(new): ApiJson<NewTerritories>,
) -> Answer<Added> {
    let (agency, places) = (caller.agency()?, new.places()?);
    let mut tx = api.db.begin(caller.scope()).await?;
    let added = line::add_territories(&mut tx, agency, &places, &context.as_cause()).await?;
    tx.commit().await?;
    Ok(Reply::created("added", Added { added }))
}

/// In which country.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Where {
    /// Only in this country; without it, in all.
    #[param(example = "PL")]
    country: Option<String>,
}

/// How many territories went.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Removed {
    #[schema(example = 1)]
    removed: u64,
}

/// Remove a territory
///
/// Leads that you hold stay yours.
#[utoipa::path(delete, path = "/api/mobile/territories/{zipcode}", tag = "agency",
    operation_id = "territories_remove",
    params(("zipcode" = String, Path, description = "The postal code", example = "00-950"), Where),
    responses(
        (status = 200, description = "Removed.", body = Envelope<Removed>),
        (status = 404, description = "You do not cover it.", body = ErrorEnvelope)))]
async fn remove(
    State(api): State<Api>,
    caller: Caller<TerritoriesManage>,
    ApiPath(zipcode): ApiPath<String>,
    ApiQuery(place): ApiQuery<Where>,
) -> Answer<Removed> {
    let agency = caller.agency()?;
    let country = place.country.as_deref().map(known_country).transpose()?;
    let code = known_code(&zipcode, country)?;
    let mut tx = api.db.begin(caller.scope()).await?;
    let removed = territories::remove(&mut tx, agency, country, &code).await?;
    tx.commit().await?;
    if removed == 0 {
        return Err(ApiError::not_found("you do not cover this postal code"));
    }
    Ok(Reply::ok("removed", Removed { removed }))
}
