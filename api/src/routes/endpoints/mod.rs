//! Outbound webhooks: the same routes for agencies (their own endpoints) and for operators (all, and
//! the platform's partners).

mod actions;
mod views;

use crate::Api;
use utoipa_axum::router::OpenApiRouter;

/// The routes of one kind of caller. What differs is who may call and the addresses.
macro_rules! endpoint_routes {
    ($module:ident, $permission:ident,
     $all:tt as ($list_id:tt, $create_id:tt),
     $one:tt as ($show_id:tt, $change_id:tt, $remove_id:tt),
     $pause:tt as $pause_id:tt, $resume:tt as $resume_id:tt, $rotate:tt as $rotate_id:tt,
     $test:tt as $test_id:tt, $deliveries:tt as $deliveries_id:tt,
     $delivery:tt as $delivery_id:tt, $resend:tt as $resend_id:tt,
     $resend_all:tt as $resend_all_id:tt) => {
        pub(crate) mod $module {
            use super::actions;
            use super::views::*;
            use crate::auth::{$permission, Caller};
            use crate::envelope::{Envelope, Page};
            use crate::extract::{ApiJson, ApiPath, ApiQuery, Paging};
            use crate::{Answer, Api, ErrorEnvelope, RequestContext};
            use axum::extract::State;
            use utoipa_axum::router::OpenApiRouter;
            use utoipa_axum::routes;
            use uuid::Uuid;

            pub(crate) fn routes() -> OpenApiRouter<Api> {
                OpenApiRouter::new()
                    .routes(routes!(list, create))
                    .routes(routes!(show, change, remove))
                    .routes(routes!(pause))
                    .routes(routes!(resume))
                    .routes(routes!(rotate))
                    .routes(routes!(test))
                    .routes(routes!(deliveries))
                    .routes(routes!(delivery))
                    .routes(routes!(resend))
                    .routes(routes!(resend_all))
            }

            /// List webhook endpoints
            #[utoipa::path(get, path = $all, tag = "endpoints", operation_id = $list_id,
                params(EndpointQuery, Paging),
                responses((status = 200, description = "A page, newest first.",
                    body = Envelope<Page<EndpointView>>)))]
            async fn list(
                State(api): State<Api>,
                caller: Caller<$permission>,
                ApiQuery(query): ApiQuery<EndpointQuery>,
                ApiQuery(paging): ApiQuery<Paging>,
            ) -> Answer<Page<EndpointView>> {
                actions::list(&api, caller.scope(), query, paging).await
            }

            /// Add a webhook endpoint
            ///
            /// Answers with the signing secret, which is shown this once.
            #[utoipa::path(post, path = $all, tag = "endpoints", operation_id = $create_id,
                request_body = NewEndpointBody,
                responses(
                    (status = 201, description = "Added.", body = Envelope<MadeView>),
                    (status = 409, description = "There are too many.", body = ErrorEnvelope),
                    (status = 422, description = "The address would not be called, or an event is \
                        unknown.", body = ErrorEnvelope)))]
            async fn create(
                State(api): State<Api>,
                caller: Caller<$permission>,
                ApiJson(new): ApiJson<NewEndpointBody>,
            ) -> Answer<MadeView> {
                actions::create(&api, caller.claims.agency, new).await
            }

            /// See a webhook endpoint
            #[utoipa::path(get, path = $one, tag = "endpoints", operation_id = $show_id,
                params(("id" = Uuid, Path, description = "The endpoint")),
                responses(
                    (status = 200, description = "The endpoint.", body = Envelope<EndpointView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope)))]
            async fn show(
                State(api): State<Api>,
                caller: Caller<$permission>,
                ApiPath(id): ApiPath<Uuid>,
            ) -> Answer<EndpointView> {
                actions::show(&api, caller.scope(), id).await
            }

            /// Change a webhook endpoint
            ///
            /// Everything is set. What waits is sent to the new address. Whether it is ordered stands
            /// for good.
            #[utoipa::path(put, path = $one, tag = "endpoints", operation_id = $change_id,
                params(("id" = Uuid, Path, description = "The endpoint")),
                request_body = EndpointBody,
                responses(
                    (status = 200, description = "Changed.", body = Envelope<EndpointView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope)))]
            async fn change(
                State(api): State<Api>,
                caller: Caller<$permission>,
                ApiPath(id): ApiPath<Uuid>,
                ApiJson(body): ApiJson<EndpointBody>,
            ) -> Answer<EndpointView> {
                actions::change(&api, caller.scope(), id, body).await
            }

            /// Remove a webhook endpoint
            ///
            /// What waits for it is not sent any more.
            #[utoipa::path(delete, path = $one, tag = "endpoints", operation_id = $remove_id,
                params(("id" = Uuid, Path, description = "The endpoint")),
                responses(
                    (status = 200, description = "It is gone.", body = Envelope<RemovedView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope)))]
            async fn remove(
                State(api): State<Api>,
                caller: Caller<$permission>,
                ApiPath(id): ApiPath<Uuid>,
            ) -> Answer<RemovedView> {
                actions::remove(&api, caller.scope(), id).await
            }

            /// Pause a webhook endpoint
            ///
            /// Nothing more is sent; what happens meanwhile is kept for it, up to 30 days.
            #[utoipa::path(post, path = $pause, tag = "endpoints", operation_id = $pause_id,
                params(("id" = Uuid, Path, description = "The endpoint")),
                responses(
                    (status = 200, description = "It is paused.", body = Envelope<EndpointView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope)))]
            async fn pause(
                State(api): State<Api>,
                caller: Caller<$permission>,
                ApiPath(id): ApiPath<Uuid>,
            ) -> Answer<EndpointView> {
                actions::pause(&api, caller.scope(), id).await
            }

            /// Let a webhook endpoint go on
            ///
            /// One that is paused or was disabled. Everything that waits for it is sent now.
            #[utoipa::path(post, path = $resume, tag = "endpoints", operation_id = $resume_id,
                params(("id" = Uuid, Path, description = "The endpoint")),
                responses(
                    (status = 200, description = "It goes on.", body = Envelope<EndpointView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope)))]
            async fn resume(
                State(api): State<Api>,
                caller: Caller<$permission>,
                context: RequestContext,
                ApiPath(id): ApiPath<Uuid>,
            ) -> Answer<EndpointView> {
                actions::resume(&api, caller.scope(), id, &context.as_cause()).await
            }

            /// Rotate a webhook endpoint's secret
            ///
            /// Answers with the new secret, which is shown this once. For 24 hours the one before signs
            /// along.
            #[utoipa::path(post, path = $rotate, tag = "endpoints", operation_id = $rotate_id,
                params(("id" = Uuid, Path, description = "The endpoint")),
                responses(
                    (status = 200, description = "It has a new secret.", body = Envelope<MadeView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope)))]
            async fn rotate(
                State(api): State<Api>,
                caller: Caller<$permission>,
                ApiPath(id): ApiPath<Uuid>,
            ) -> Answer<MadeView> {
                actions::rotate(&api, caller.scope(), id).await
            }

            /// Send a test event to a webhook endpoint
            #[utoipa::path(post, path = $test, tag = "endpoints", operation_id = $test_id,
                params(("id" = Uuid, Path, description = "The endpoint")),
                responses(
                    (status = 202, description = "It will be sent.", body = Envelope<SentView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope),
                    (status = 409, description = "It is paused or disabled.",
                        body = ErrorEnvelope)))]
            async fn test(
                State(api): State<Api>,
                caller: Caller<$permission>,
                context: RequestContext,
                ApiPath(id): ApiPath<Uuid>,
            ) -> Answer<SentView> {
                actions::test(&api, caller.scope(), id, &context.as_cause()).await
            }

            /// List what a webhook endpoint was told
            #[utoipa::path(get, path = $deliveries, tag = "endpoints",
                operation_id = $deliveries_id,
                params(("id" = Uuid, Path, description = "The endpoint"), DeliveryQuery, Paging),
                responses(
                    (status = 200, description = "A page, newest first.",
                        body = Envelope<Page<DeliveryView>>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope)))]
            async fn deliveries(
                State(api): State<Api>,
                caller: Caller<$permission>,
                ApiPath(id): ApiPath<Uuid>,
                ApiQuery(query): ApiQuery<DeliveryQuery>,
                ApiQuery(paging): ApiQuery<Paging>,
            ) -> Answer<Page<DeliveryView>> {
                actions::deliveries(&api, caller.scope(), id, query, paging).await
            }

            /// See one delivery with its payload and attempts
            #[utoipa::path(get, path = $delivery, tag = "endpoints", operation_id = $delivery_id,
                params(("id" = Uuid, Path, description = "The endpoint"),
                    ("message" = String, Path, description = "The `webhook-id`, or its UUID")),
                responses(
                    (status = 200, description = "The delivery.",
                        body = Envelope<DeliveryDetailView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope)))]
            async fn delivery(
                State(api): State<Api>,
                caller: Caller<$permission>,
                ApiPath((id, message)): ApiPath<(Uuid, MessageKey)>,
            ) -> Answer<DeliveryDetailView> {
                actions::delivery(&api, caller.scope(), id, message).await
            }

            /// Send one delivery again
            ///
            /// With the same `webhook-id`. One that waits for its next attempt is sent now.
            #[utoipa::path(post, path = $resend, tag = "endpoints", operation_id = $resend_id,
                params(("id" = Uuid, Path, description = "The endpoint"),
                    ("message" = String, Path, description = "The `webhook-id`, or its UUID")),
                responses(
                    (status = 202, description = "It will be sent.", body = Envelope<SentView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope),
                    (status = 409, description = "The endpoint is paused or disabled, or it is being \
                        sent at this moment.", body = ErrorEnvelope)))]
            async fn resend(
                State(api): State<Api>,
                caller: Caller<$permission>,
                context: RequestContext,
                ApiPath((id, message)): ApiPath<(Uuid, MessageKey)>,
            ) -> Answer<SentView> {
                actions::resend(&api, caller.scope(), id, message, &context.as_cause()).await
            }

            /// Send everything again that was given up
            #[utoipa::path(post, path = $resend_all, tag = "endpoints",
                operation_id = $resend_all_id,
                params(("id" = Uuid, Path, description = "The endpoint")),
                request_body = SinceBody,
                responses(
                    (status = 202, description = "It will be sent.", body = Envelope<SinceView>),
                    (status = 404, description = "There is none.", body = ErrorEnvelope),
                    (status = 409, description = "The endpoint is paused or disabled.",
                        body = ErrorEnvelope)))]
            async fn resend_all(
                State(api): State<Api>,
                caller: Caller<$permission>,
                context: RequestContext,
                ApiPath(id): ApiPath<Uuid>,
                ApiJson(body): ApiJson<SinceBody>,
            ) -> Answer<SinceView> {
                actions::resend_all(&api, caller.scope(), id, body, &context.as_cause()).await
            }
        }
    };
}

endpoint_routes!(agency, OwnEndpointsManage,
    "/api/webhook-endpoints" as ("own_endpoints", "own_endpoint_add"),
    "/api/webhook-endpoints/{id}"
        as ("own_endpoint", "own_endpoint_change", "own_endpoint_remove"),
    "/api/webhook-endpoints/{id}/pause" as "own_endpoint_pause",
    "/api/webhook-endpoints/{id}/resume" as "own_endpoint_resume",
    "/api/webhook-endpoints/{id}/rotate" as "own_endpoint_rotate",
    "/api/webhook-endpoints/{id}/test" as "own_endpoint_test",
    "/api/webhook-endpoints/{id}/deliveries" as "own_deliveries",
    "/api/webhook-endpoints/{id}/deliveries/{message}" as "own_delivery",
    "/api/webhook-endpoints/{id}/deliveries/{message}/resend" as "own_delivery_resend",
    "/api/webhook-endpoints/{id}/resend" as "own_deliveries_resend");

endpoint_routes!(admin, EndpointsManage,
    "/api/admin/webhook-endpoints" as ("endpoints", "endpoint_add"),
    "/api/admin/webhook-endpoints/{id}" as ("endpoint", "endpoint_change", "endpoint_remove"),
    "/api/admin/webhook-endpoints/{id}/pause" as "endpoint_pause",
    "/api/admin/webhook-endpoints/{id}/resume" as "endpoint_resume",
    "/api/admin/webhook-endpoints/{id}/rotate" as "endpoint_rotate",
    "/api/admin/webhook-endpoints/{id}/test" as "endpoint_test",
    "/api/admin/webhook-endpoints/{id}/deliveries" as "deliveries",
    "/api/admin/webhook-endpoints/{id}/deliveries/{message}" as "delivery",
    "/api/admin/webhook-endpoints/{id}/deliveries/{message}/resend" as "delivery_resend",
    "/api/admin/webhook-endpoints/{id}/resend" as "deliveries_resend");

pub(crate) fn routes() -> OpenApiRouter<Api> {
    agency::routes().merge(admin::routes())
}
