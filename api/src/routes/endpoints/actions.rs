//! What the routes of both kinds of caller do. The scope says whose endpoints there are.

use super::views::*;
use crate::envelope::Page;
use crate::extract::{Paging, paged};
use crate::{Answer, Api, ApiError, Reply};
use axum::http::StatusCode;
use switchyard_catalog::line::Cause;
use switchyard_catalog::outbound::{self as manage, EndpointFault};
use switchyard_domain::outbound::webhook_id;
use switchyard_domain::{AgencyId, EndpointId, OutboundMessageId};
use switchyard_store::outbound::{self, DeliveryFilter, Endpoint, EndpointFilter, ResendFault};
use switchyard_store::{Scope, Tx};
use uuid::Uuid;

async fn viewed(tx: &mut Tx, endpoint: Endpoint) -> Result<EndpointView, ApiError> {
    let health = outbound::health(tx, &[endpoint.id]).await?;
    let health = health.get(&endpoint.id).copied().unwrap_or_default();
    Ok(EndpointView::new(endpoint, health))
}

pub(super) async fn list(
    api: &Api,
    scope: Scope,
    query: EndpointQuery,
    paging: Paging,
) -> Answer<Page<EndpointView>> {
    let mut tx = api.db.begin(scope).await?;
    let filter = EndpointFilter {
        agency: query.agency.map(AgencyId),
        partners: query.partners,
        before: paging.cursor.map(EndpointId),
        limit: paging.rows()?,
    };
    let rows = outbound::list(&mut tx, &filter).await?;
    let ids: Vec<_> = rows.iter().map(|e| e.id).collect();
    let health = outbound::health(&mut tx, &ids).await?;
    paged(
        "endpoints",
        paging,
        rows,
        |e| e.id.0,
        |e| {
            let health = health.get(&e.id).copied().unwrap_or_default();
            EndpointView::new(e, health)
        },
    )
}

pub(super) async fn create(
    api: &Api,
    caller: Option<AgencyId>,
    new: NewEndpointBody,
) -> Answer<MadeView> {
    let wanted = new.agency_id.map(AgencyId);
    if caller.is_some() && wanted.is_some_and(|a| Some(a) != caller) {
        return Err(ApiError::forbidden(
            "an agency adds endpoints of its own; leave out `agency_id`",
        ));
    }
    let agency = caller.or(wanted);
    let scope = caller.map_or(Scope::Platform, Scope::Tenant);
    let mut tx = api.db.begin(scope).await?;
    let (policy, ordered) = (&api.config.outbound, new.ordered);
    let made = manage::create(&mut tx, &api.keys, policy, agency, ordered, new.settings()).await?;
    let secret = made.secret;
    let endpoint = viewed(&mut tx, made.endpoint).await?;
    tx.commit().await?;
    manage::keep_limit(&api.db, EndpointId(endpoint.id), endpoint.ordered, endpoint.settings.rate)
        .await;
    Ok(Reply::created(
        "added; keep the secret, it is not shown again",
        MadeView::new(endpoint, &secret),
    ))
}

pub(super) async fn show(api: &Api, scope: Scope, id: Uuid) -> Answer<EndpointView> {
    let mut tx = api.db.begin(scope).await?;
    let endpoint = outbound::get(&mut tx, EndpointId(id)).await?;
    Ok(Reply::ok("endpoint", viewed(&mut tx, endpoint).await?))
}

pub(super) async fn change(
    api: &Api,
    scope: Scope,
    id: Uuid,
    body: EndpointBody,
) -> Answer<EndpointView> {
    let mut tx = api.db.begin(scope).await?;
    let policy = &api.config.outbound;
    let endpoint = manage::change(&mut tx, policy, EndpointId(id), body.into()).await?;
    let view = viewed(&mut tx, endpoint).await?;
    tx.commit().await?;
    manage::keep_limit(&api.db, EndpointId(id), view.ordered, view.settings.rate).await;
    Ok(Reply::ok("changed", view))
}

pub(super) async fn remove(api: &Api, scope: Scope, id: Uuid) -> Answer<RemovedView> {
    let mut tx = api.db.begin(scope).await?;
    manage::remove(&mut tx, EndpointId(id)).await?;
    tx.commit().await?;
    Ok(Reply::ok("removed", RemovedView { id }))
}

pub(super) async fn pause(api: &Api, scope: Scope, id: Uuid) -> Answer<EndpointView> {
    let mut tx = api.db.begin(scope).await?;
    let endpoint = manage::pause(&mut tx, EndpointId(id)).await?;
    let view = viewed(&mut tx, endpoint).await?;
    tx.commit().await?;
    Ok(Reply::ok("the endpoint is paused", view))
}

pub(super) async fn resume(
    api: &Api,
    scope: Scope,
    id: Uuid,
    cause: &Cause,
) -> Answer<EndpointView> {
    let mut tx = api.db.begin(scope).await?;
    let endpoint = manage::resume(&mut tx, EndpointId(id), cause).await?;
    let view = viewed(&mut tx, endpoint).await?;
    tx.commit().await?;
    Ok(Reply::ok("the endpoint goes on; what waited is sent now", view))
}

pub(super) async fn rotate(api: &Api, scope: Scope, id: Uuid) -> Answer<MadeView> {
    let mut tx = api.db.begin(scope).await?;
    let made = manage::rotate(&mut tx, &api.keys, EndpointId(id)).await?;
    let secret = made.secret;
    let view = viewed(&mut tx, made.endpoint).await?;
    tx.commit().await?;
    let message = "the endpoint has a new secret; the one before signs along for 24 hours";
    Ok(Reply::ok(message, MadeView::new(view, &secret)))
}

pub(super) async fn test(api: &Api, scope: Scope, id: Uuid, cause: &Cause) -> Answer<SentView> {
    let mut tx = api.db.begin(scope).await?;
    let message = manage::test(&mut tx, EndpointId(id), cause).await?;
    tx.commit().await?;
    let view = SentView { id: webhook_id(message) };
    Ok(Reply::ok("the test will be sent", view).status(StatusCode::ACCEPTED))
}

pub(super) async fn deliveries(
    api: &Api,
    scope: Scope,
    id: Uuid,
    query: DeliveryQuery,
    paging: Paging,
) -> Answer<Page<DeliveryView>> {
    let mut tx = api.db.begin(scope).await?;
    outbound::get(&mut tx, EndpointId(id)).await?;
    let filter = DeliveryFilter {
        endpoint: EndpointId(id),
        state: query.state,
        before: paging.cursor.map(OutboundMessageId),
        limit: paging.rows()?,
    };
    let rows = outbound::deliveries(&mut tx, &filter).await?;
    paged("deliveries", paging, rows, |d| d.message.0, DeliveryView::from)
}

pub(super) async fn delivery(
    api: &Api,
    scope: Scope,
    id: Uuid,
    message: MessageKey,
) -> Answer<DeliveryDetailView> {
    let mut tx = api.db.begin(scope).await?;
    let (delivery, payload) = outbound::delivery(&mut tx, EndpointId(id), message.0).await?;
    let attempts = outbound::attempts(&mut tx, EndpointId(id), message.0).await?;
    Ok(Reply::ok("delivery", DeliveryDetailView::new(delivery, payload, attempts)))
}

pub(super) async fn resend(
    api: &Api,
    scope: Scope,
    id: Uuid,
    message: MessageKey,
    cause: &Cause,
) -> Answer<SentView> {
    let mut tx = api.db.begin(scope).await?;
    manage::resend(&mut tx, EndpointId(id), message.0, cause).await?;
    tx.commit().await?;
    let view = SentView { id: webhook_id(message.0) };
    Ok(Reply::ok("it will be sent again, with the same id", view).status(StatusCode::ACCEPTED))
}

pub(super) async fn resend_all(
    api: &Api,
    scope: Scope,
    id: Uuid,
    body: SinceBody,
    cause: &Cause,
) -> Answer<SinceView> {
    let mut tx = api.db.begin(scope).await?;
    manage::resend_failed(&mut tx, EndpointId(id), body.since, cause).await?;
    tx.commit().await?;
    let view = SinceView { since: body.since };
    let message = "what was given up since then will be sent again";
    Ok(Reply::ok(message, view).status(StatusCode::ACCEPTED))
}

impl From<EndpointFault> for ApiError {
    fn from(fault: EndpointFault) -> Self {
        let said = fault.to_string();
        match fault {
            EndpointFault::Url(_) | EndpointFault::LongUrl => {
                Self::unprocessable("invalid_url", said)
            }
            EndpointFault::Events(_) => Self::unprocessable("invalid_events", said),
            EndpointFault::Description => Self::unprocessable("invalid_description", said),
            EndpointFault::Rate => Self::unprocessable("invalid_rate", said),
            EndpointFault::TooMany(_) => Self::conflict("too_many_endpoints", said),
            EndpointFault::NotActive(_) => Self::conflict("endpoint_not_active", said),
            EndpointFault::Store(fault) => fault.into(),
        }
    }
}

impl From<ResendFault> for ApiError {
    fn from(fault: ResendFault) -> Self {
        let said = fault.to_string();
        match fault {
            ResendFault::NotActive(_) => Self::conflict("endpoint_not_active", said),
            ResendFault::UnderWay => Self::conflict("under_way", said),
            ResendFault::Store(fault) => fault.into(),
        }
    }
}
