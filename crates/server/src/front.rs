//! What every request meets first, in the order of this page: whose name it came by, then the gateway, or a route. And last:
//! what stands in every answer.
//!
//! One function instead of a layer each, and calls go straight to the gateway: they are nearly all that comes, and each layer
//! would cost them a box and several moves of request and answer.

use crate::app::App;
use crate::layers::{self, Named, careful, named_host, plain, surviving};
use crate::ops::figures::Endpoint;
use crate::own_names;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use std::convert::Infallible;
use std::sync::Arc;
use tower::ServiceExt as _;

struct Front {
    app: Arc<App>,
    routes: Router,
}

/// These routes, and before them what every request meets.
pub(crate) fn before(app: &Arc<App>, routes: Router) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(Front { app: Arc::clone(app), routes }))
}

async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response {
    let app = &front.app;
    let path = request.uri().path();
    let endpoint = Endpoint::of(path.strip_prefix(app.config.issuer.path()).unwrap_or(path));
    // Takes requests for our own names only: no other site can make a browser talk to us under its name (DNS rebinding), and
    // no proxy can be led to keep an answer under a wrong one. Everything below may rely on it.
    let mut response = match named_host(&request) {
        Named::One(host) if !layers::is_ours(app, &host) => {
            plain(StatusCode::MISDIRECTED_REQUEST, "This server has another name.\n")
        }
        Named::One(host) if is_for_gateway(app, &host, endpoint, path) => {
            surviving(&request.uri().clone(), own_names::answer(app, request)).await
        }
        Named::One(_) => {
            let Ok::<_, Infallible>(response) = front.routes.clone().oneshot(request).await;
            response
        }
        Named::Unclear => plain(StatusCode::BAD_REQUEST, "The request must name exactly one host.\n"),
    };
    app.figures.request(endpoint, response.status());
    careful(response.headers_mut(), app.config.issuer.is_https());
    response
}

/// Under a server's own name there is the gateway only; below the authority's, what no route is about.
fn is_for_gateway(app: &App, host: &str, endpoint: Endpoint, path: &str) -> bool {
    !own_names::is_authority(app, host) || (endpoint == Endpoint::Gateway && app.gateway.owns(path))
}
