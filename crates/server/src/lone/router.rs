//! What a gateway that runs alone serves: the servers behind it and their metadata, and nothing else.

use super::Lone;
use crate::layers;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use std::sync::Arc;

pub(super) fn router(lone: &Arc<Lone>) -> Router {
    // A server at a path that is not of the usual form, or under a name of its own.
    let elsewhere = Router::new().fallback(other_path).with_state(Arc::clone(lone));
    lone.gateway
        .router()
        .merge(elsewhere)
        .layer(from_fn(layers::survive))
        .layer(from_fn_with_state(Arc::clone(lone), careful))
}

async fn other_path(State(lone): State<Arc<Lone>>, request: Request) -> Response {
    // The gateway knows its hosts; a server that it does not know is not there.
    if lone.gateway.owns(request.uri().path()) {
        lone.gateway.answer(request).await
    } else {
        layers::not_found().await
    }
}

async fn careful(State(lone): State<Arc<Lone>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    layers::careful(response.headers_mut(), lone.config.issuer.is_https());
    response
}
