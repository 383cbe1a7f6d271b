//! What operators and their machines ask: is it alive, is it ready, what does it do (PC-54). On a listener of its own,
//! loopback unless they say otherwise: nothing here is for callers.

pub(crate) mod figures;
pub(crate) mod metrics;
mod ready;
mod text;

use crate::app::App;
use crate::config::Ops;
use crate::listener::{BindError, Bounds, Listener};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::uri::Authority;
use http::{HeaderValue, StatusCode, header};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Scrapers and probes; more at once is a mistake.
const CONNECTIONS: usize = 64;

/// The listener, if there is to be one. An address that nobody asked for is not worth a failed start.
pub async fn bind(ops: Ops) -> Result<Option<Listener>, BindError> {
    match ops {
        Ops::Off => Ok(None),
        Ops::At(address) => Listener::bind(address).await.map(Some),
        Ops::Usual(address) => match Listener::bind(address).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "health and metrics are not served: choose another address with listen.ops, or \"off\""
                );
                Ok(None)
            }
        },
    }
}

/// What it bears.
pub fn bounds(grace: Duration) -> Bounds {
    Bounds { of_one_address: CONNECTIONS, ..Bounds::of(CONNECTIONS, grace) }
}

/// Everything that it serves.
pub fn router(app: &Arc<App>) -> Router {
    let routes = Router::new().route("/readyz", get(ready::answer)).route("/metrics", get(metrics::answer));
    around(routes.with_state(Arc::clone(app)), app.config.issuer.origin())
}

/// What holds for whoever is asked: these, and whether it is alive. `public` is the origin that callers know.
pub(crate) fn around(routes: Router, public: &str) -> Router {
    routes
        .route("/healthz", get(async || plain(StatusCode::OK, "alive\n")))
        .fallback(async || plain(StatusCode::NOT_FOUND, "There is nothing here.\n"))
        .layer(from_fn_with_state(Arc::<str>::from(public), no_strange_name))
}

/// HTTP-15: a page of another site that points its own name at this address learns nothing. Such a name has a dot; an address
/// of a network, `localhost` and the short names of containers cannot be anybody's site.
async fn no_strange_name(State(public): State<Arc<str>>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        (None, None) => request.uri().authority().cloned(),
        (_, Some(_)) => None,
    };
    let known = host.as_ref().is_some_and(|host| {
        let name = host.host();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok() || !name.contains('.') || public.ends_with(&format!("://{name}"))
    });
    if !known || request.headers().contains_key(header::ORIGIN) {
        return plain(StatusCode::MISDIRECTED_REQUEST, "Ask by IP address, or by a name without dots.\n");
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn plain(status: StatusCode, says: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], says).into_response()
}
