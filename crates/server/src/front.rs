//! What every request meets first, in the order of this page: whose name it came by, then the gateway, or a route. And last:
//! what stands in every answer.
//!
//! One function instead of a layer each, and no router before the gateway: calls are nearly all that comes, and each layer
//! would cost them a box and several moves of request and answer.

use crate::app::App;
use crate::layers::{self, Named, careful, named_host, plain, surviving};
use crate::listener::Answers;
use crate::ops::figures::Endpoint;
use crate::own_names;
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use http::uri::Authority;
use portcullis_gateway::ClientAddress;
use std::sync::Arc;

/// Everything that the listener serves. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Front(Arc<Behind>);

/// Where a request goes.
enum Way {
    Gateway,
    Routes,
    /// It names somebody else.
    Astray,
    Unclear,
}

struct Behind {
    app: Arc<App>,
    routes: Router,
}

impl Front {
    /// These routes, and before them what every request meets.
    pub(crate) fn before(app: &Arc<App>, routes: Router) -> Self {
        Self(Arc::new(Behind { app: Arc::clone(app), routes }))
    }

    /// Requests for our own names only: no other site can make a browser talk to us under its name (DNS rebinding), and no
    /// proxy can be led to keep an answer under a wrong one. Everything below may rely on it.
    fn way(&self, request: &Request, endpoint: Endpoint) -> Way {
        let app = &self.0.app;
        match named_host(request) {
            // Only a stranger's name is parsed.
            Named::One(host) if !layers::is_ours(app, &host) => {
                if host.parse::<Authority>().is_ok() {
                    Way::Astray
                } else {
                    Way::Unclear
                }
            }
            Named::One(host) if is_for_gateway(app, &host, endpoint) => Way::Gateway,
            Named::One(_) => Way::Routes,
            Named::Unclear => Way::Unclear,
        }
    }
}

impl Answers for Front {
    async fn answer(&self, request: Request, from: Option<ClientAddress>) -> Response {
        let Behind { app, routes } = &*self.0;
        let path = request.uri().path();
        let endpoint = Endpoint::of(path.strip_prefix(app.config.issuer.path()).unwrap_or(path));
        let mut response = match self.way(&request, endpoint) {
            Way::Gateway => surviving(&request.uri().clone(), own_names::answer(app, request, from)).await,
            Way::Routes => routes.answer(request, from).await,
            Way::Astray => plain(StatusCode::MISDIRECTED_REQUEST, "This server has another name.\n"),
            Way::Unclear => plain(StatusCode::BAD_REQUEST, "The request must name exactly one host.\n"),
        };
        app.figures.request(endpoint, response.status());
        careful(response.headers_mut(), app.config.issuer.is_https());
        response
    }
}

/// Under a server's own name there is the gateway only; under the authority's, where servers usually stand, and what no route is
/// about.
fn is_for_gateway(app: &App, host: &str, endpoint: Endpoint) -> bool {
    endpoint == Endpoint::Gateway || !own_names::is_authority(app, host)
}
