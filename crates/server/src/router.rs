//! Every route of the listener, on one page.

use crate::app::App;
use crate::layers;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use std::sync::Arc;

/// Forms and registrations; tool calls have a bound of their own.
const BODY: usize = 64 * 1024;

/// Everything that the listener serves. `demo` holds the upstream that the demo serves itself.
pub fn router(app: &Arc<App>, demo: Router) -> Router {
    let path = app.config.issuer.path();
    let authority = match path {
        "" => authority(),
        path => Router::new().nest(path, authority()),
    };
    let authority = authority
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn(layers::patience))
        .with_state(Arc::clone(app));
    layered(app, authority.merge(app.gateway.router()).merge(demo).fallback(layers::not_found))
}

/// Below the issuer's path.
fn authority() -> Router<Arc<App>> {
    Router::new()
}

/// What holds for every request. The last one listed is the first to see a request.
fn layered(app: &Arc<App>, router: Router) -> Router {
    router
        // No host, no answer: everything below may rely on being called by a name of ours.
        .layer(from_fn_with_state(Arc::clone(app), layers::known_host))
        // A panic below ends in 500.
        .layer(from_fn(layers::survive))
        // Over every answer, those of the layers above included.
        .layer(from_fn_with_state(Arc::clone(app), layers::security_headers))
}
