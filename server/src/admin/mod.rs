//! The admin listener: an address of its own, loopback unless said otherwise, and a token of its own.
//!
//! Nothing that changes what is served is reachable from the public port.

pub mod routes;

use crate::{
    app::App,
    error::{ApiError, Result},
    intake::body,
    middleware::auth,
    router::{Key, finished},
};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use s3router_proto::{ErrorBody, ErrorKind};
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Routes and layers of the admin listener.
pub fn router(app: Arc<App>) -> Router {
    let (guarded, document) = table().split_for_parts();
    let guarded = guarded.route_layer(middleware::from_fn_with_state(Arc::clone(&app), require_token));
    let document = axum::Json(document);
    finished(guarded.route("/openapi.json", get(async move || document)), app)
}

fn table() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(routes::put_pack, routes::delete_pack))
        .routes(routes!(routes::reload))
        .routes(routes!(routes::drain))
}

#[derive(OpenApi)]
#[openapi(
    info(title = "s3router admin", description = "What changes what is served: packs, reload, drain.",
         license(name = "MIT OR Apache-2.0")),
    components(schemas(ErrorBody)),
    modifiers(&Key)
)]
struct Document;

/// The one token; without one configured there is no admin listener at all.
async fn require_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response> {
    let why = match auth::key(request.headers()) {
        Some(token) if app.admin_tokens.contains(token) => return Ok(next.run(request).await),
        Some(_) => "this admin token is not known here",
        None => {
            "no admin token: send it as `Authorization: Bearer TOKEN` (not an API key, the one of --admin-token-file)"
        }
    };
    body::forget(request).await;
    Err(ApiError::new(ErrorKind::Unauthorized, why))
}
