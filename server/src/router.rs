//! The table of routes, and the document made from the same table.

use crate::{
    app::App,
    error::ApiError,
    grpc,
    middleware::{auth, request},
    routes::{align, health, identify, metrics, openai, packs, page, stream, transcribe},
    telemetry,
};
use axum::{Router, http::Uri, middleware, response::Response, routing::get};
use s3router_proto::{ErrorBody, ErrorKind};
use std::{any::Any, sync::Arc};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

/// Routes and layers over `app`.
pub fn router(app: Arc<App>) -> Router {
    let (routes, document) = table(&app).split_for_parts();
    // OpenAPI has no words for these; /asyncapi.json has.
    let streams = Router::new()
        .route("/transcribe/stream", get(stream::native))
        .route("/v1/realtime", get(stream::realtime))
        .route("/vosk", get(stream::vosk))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), auth::require_key));
    let routes = routes
        .merge(streams)
        .route("/asyncapi.json", get(stream::document))
        .route("/", get(page::index))
        .route("/page/{name}", get(page::asset))
        .merge(calls(&app))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document));
    finished(routes, app)
}

/// gRPC, on the same port and under the same guard.
fn calls(app: &Arc<App>) -> Router<Arc<App>> {
    let speech =
        grpc::speech(app).route_layer(middleware::from_fn_with_state(Arc::clone(app), auth::require_key));
    match grpc::open(app) {
        Ok(open) => speech.merge(open),
        Err(error) => {
            tracing::error!("health and reflection cannot be served: {error}");
            speech
        }
    }
}

/// What surrounds the routes of any listener: errors in the one shape, requests named, watched and logged.
pub(crate) fn finished(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        .fallback(async |uri: Uri| {
            ApiError::new(ErrorKind::NotFound, format!("no route {}: /docs lists them", uri.path()))
        })
        .method_not_allowed_fallback(async |uri: Uri| {
            let message = format!("{} takes another method: /docs lists them", uri.path());
            ApiError::new(ErrorKind::MethodNotAllowed, message)
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), request::observe))
        // Outside of all: an error is written by `observe` and needs these headers too.
        .layer(option_layer(app.origins.layer()))
        .with_state(app)
}

/// The OpenAPI document.
pub fn document(app: &Arc<App>) -> utoipa::openapi::OpenApi {
    table(app).into_openapi()
}

fn table(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    // Probes, metrics and the page itself need no key; whatever costs or tells does.
    let guarded = OpenApiRouter::new()
        .routes(routes!(transcribe::transcribe))
        .routes(routes!(identify::identify))
        .routes(routes!(align::align))
        .routes(routes!(openai::create_transcription))
        .routes(routes!(openai::list_models))
        .routes(routes!(openai::get_model))
        .routes(routes!(packs::list_packs))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), auth::require_key));
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(guarded)
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    use axum::response::IntoResponse;
    ApiError::internal(format!("a handler panicked: {}", telemetry::message(panic.as_ref()))).into_response()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "s3router", description = "One speech backbone, a mask per language: audio in, words out.",
         license(name = "MIT OR Apache-2.0")),
    components(schemas(ErrorBody)),
    modifiers(&Key)
)]
struct Document;

pub(crate) struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}
