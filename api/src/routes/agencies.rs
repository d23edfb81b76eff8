//! Agencies register and sign in; administrators see them and set their subscriptions.

use super::admin_auth::{Credentials, SignedIn};
use crate::auth::{AgenciesManage, Caller};
use crate::envelope::{Envelope, Page};
use crate::extract::{ApiJson, ApiPath, ApiQuery, Paging, paged};
use crate::{Answer, Api, ApiError, ErrorEnvelope, Reply, RequestContext};
use axum::extract::State;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use switchyard_domain::AgencyId;
use switchyard_domain::normalise::{self, Unreadable};
use switchyard_store::Scope;
use switchyard_store::agencies::{self, Agency, NewAgency, Standing};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(list))
        .routes(routes!(set_standing))
}

/// A new agency.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    /// The agency's name.
    #[schema(example = "Nowak Nieruchomości")]
    name: String,
    /// For signing in and for lead e-mails.
    #[schema(example = "biuro@nowak.example")]
    email: String,
    /// E.164.
    #[schema(example = "+48221234567")]
    phone: Option<String>,
    /// At least 8 characters.
    #[schema(value_type = String, format = Password, example = "correct horse battery staple")]
    password: SecretString,
}

impl Registration {
    /// The agency, its password still missing.
    fn checked(self) -> Result<NewAgency, ApiError> {
        let Some(name) = normalise::line(&self.name).filter(|n| n.chars().count() <= 200) else {
            return Err(ApiError::unprocessable("invalid_name", "`name` has 1 to 200 characters"));
        };
        let refuse = |e: Unreadable| ApiError::unprocessable(e.code, e.message);
        let email = normalise::email(&self.email).map_err(refuse)?;
        let phone = self.phone.map(|p| normalise::phone(&p, &[])).transpose().map_err(refuse)?;
        let phone = phone.map(|p| p.e164);
        let password_hash = String::new();
        Ok(NewAgency {
            name,
            email,
            phone,
            password_hash,
            subscribed_until: None,
            catch_all: false,
        })
    }
}

/// Register an agency
///
/// Answers with a token. The agency gets leads once it has a subscription and territories.
#[utoipa::path(post, path = "/api/v1/agencies/register", tag = "sign-in",
    operation_id = "agency_register", request_body = Registration,
    responses(
        (status = 201, description = "Registered and signed in.", body = Envelope<SignedIn>),
        (status = 409, description = "The address is registered.", body = ErrorEnvelope),
        (status = 422, description = "A field does not make sense.", body = ErrorEnvelope),
        (status = 429, description = "Too many attempts.", body = ErrorEnvelope)))]
async fn register(
    State(api): State<Api>,
    context: RequestContext,
    ApiJson(new): ApiJson<Registration>,
) -> Answer<SignedIn> {
    let account = format!("register {}", new.email.trim().to_lowercase());
    api.throttle.begin(&account, context.client, api.clock.now())?;
    let password = new.password.clone();
    let mut new = new.checked()?;
    new.password_hash = api.passwords.hash(&password).await?;
    let mut tx = api.db.begin(Scope::Platform).await?;
    let id = agencies::create(&mut tx, &new).await?;
    tx.commit().await?;
    Ok(Reply::created("registered", api.agency_session(id, new.name)?.into()))
}

/// Sign in as an agency
///
/// The token lasts 24 hours. After 5 failed attempts on one account from one address the answer is
/// 429 for up to 15 minutes.
#[utoipa::path(post, path = "/api/v1/agencies/login", tag = "sign-in",
    operation_id = "agency_login", request_body = Credentials,
    responses(
        (status = 200, description = "Signed in.", body = Envelope<SignedIn>),
        (status = 401, description = "The pair is wrong.", body = ErrorEnvelope),
        (status = 403, description = "The account is disabled.", body = ErrorEnvelope),
        (status = 429, description = "Too many attempts.", body = ErrorEnvelope)))]
async fn login(
    State(api): State<Api>,
    context: RequestContext,
    ApiJson(who): ApiJson<Credentials>,
) -> Answer<SignedIn> {
    let session = api.sign_in_agency(&who.email, &who.password, context.client).await?;
    Ok(Reply::ok("signed in", session.into()))
}

/// An agency as operators see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AgencyView {
    id: Uuid,
    #[schema(example = "Nowak Nieruchomości")]
    name: String,
    #[schema(example = "biuro@nowak.example")]
    email: String,
    phone: Option<String>,
    /// An inactive agency gets no leads and cannot sign in.
    active: bool,
    /// It gets leads until then.
    subscribed_until: Option<DateTime<Utc>>,
    /// It takes leads that nobody else covers.
    catch_all: bool,
    created_at: DateTime<Utc>,
}

impl From<Agency> for AgencyView {
    fn from(a: Agency) -> Self {
        Self {
            id: a.id.0,
            name: a.name,
            email: a.email,
            phone: a.phone,
            active: a.active,
            subscribed_until: a.subscribed_until,
            catch_all: a.catch_all,
            created_at: a.created_at,
        }
    }
}

/// List agencies
#[utoipa::path(get, path = "/api/admin/agencies", tag = "agencies",
    operation_id = "admin_agencies", params(Paging),
    responses((status = 200, description = "A page, newest first.",
        body = Envelope<Page<AgencyView>>)))]
async fn list(
    State(api): State<Api>,
    _: Caller<AgenciesManage>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> Answer<Page<AgencyView>> {
    let mut tx = api.db.begin(Scope::Platform).await?;
    let rows = agencies::list(&mut tx, paging.cursor.map(AgencyId), paging.rows()?).await?;
    paged("agencies", paging, rows, |a| a.id.0, AgencyView::from)
}

/// How an agency takes part. Everything is set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StandingChange {
    /// An inactive agency gets no leads and cannot sign in.
    #[schema(example = true)]
    active: bool,
    /// It gets leads until then; `null` ends the subscription.
    #[schema(example = "2027-01-01T00:00:00Z")]
    subscribed_until: Option<DateTime<Utc>>,
    /// It takes leads that nobody else covers.
    #[serde(default)]
    #[schema(example = false)]
    catch_all: bool,
}

/// Set an agency's subscription and standing
#[utoipa::path(put, path = "/api/admin/agencies/{id}", tag = "agencies",
    operation_id = "admin_agency_standing", params(("id" = Uuid, Path, description = "The agency")),
    request_body = StandingChange,
    responses(
        (status = 200, description = "Set.", body = Envelope<AgencyView>),
        (status = 404, description = "There is no such agency.", body = ErrorEnvelope)))]
async fn set_standing(
    State(api): State<Api>,
    _: Caller<AgenciesManage>,
    ApiPath(id): ApiPath<Uuid>,
    ApiJson(change): ApiJson<StandingChange>,
) -> Answer<AgencyView> {
    let StandingChange { active, subscribed_until, catch_all } = change;
    let standing = Standing { active, subscribed_until, catch_all };
    let mut tx = api.db.begin(Scope::Platform).await?;
    agencies::set_standing(&mut tx, AgencyId(id), standing).await?;
    let agency = agencies::get(&mut tx, AgencyId(id)).await?;
    tx.commit().await?;
    Ok(Reply::ok("set", agency.into()))
}
