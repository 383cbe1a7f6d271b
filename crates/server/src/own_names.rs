//! Servers behind the gateway that stand under another name, or another path, than the authority gives (PC-30).
//!
//! Under a server's own host name there is the gateway and nothing else: no page of the authority shows under a name that
//! people do not know it by, and no path of ours is in the way of a server's.

use crate::app::{App, host_of};
use crate::config::Role;
use crate::layers;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use std::sync::Arc;

/// What no route is about: a server at a path that is not of the usual form, or nothing.
pub(crate) async fn other_path(State(app): State<Arc<App>>, request: Request) -> Response {
    if app.gateway.owns(request.uri().path()) {
        answer(&app, request).await
    } else {
        layers::not_found().await
    }
}

/// Metadata of servers, where calls go to gateways that run alone: the addresses are those of the gateway.
pub(crate) fn described(app: &Arc<App>) -> Router {
    let base = app.config.issuer.path();
    let known = || any(async |State(app): State<Arc<App>>, request: Request| answer(&app, request).await);
    Router::new()
        .route(&format!("{base}/mcp/{{name}}"), known())
        .route("/.well-known/oauth-protected-resource/{*path}", known())
        .route("/.well-known/oauth-protected-resource", known())
        .with_state(Arc::clone(app))
}

/// Hands it to the gateway, where calls are served here.
pub(crate) async fn answer(app: &App, request: Request) -> Response {
    let is_described = request.uri().path().starts_with("/.well-known/oauth-protected-resource");
    match app.config.role {
        Role::Control if !is_described => layers::elsewhere(),
        Role::All | Role::Control | Role::Gateway(_) => app.gateway.answer(request).await,
    }
}

/// Whether it is the issuer's name, or our address itself.
pub(crate) fn is_authority(app: &App, host: &str) -> bool {
    let default_port = if app.config.issuer.is_https() { ":443" } else { ":80" };
    let issuer = host_of(app.config.issuer.origin());
    host.strip_suffix(default_port).unwrap_or(host) == issuer || layers::is_our_address(app, host)
}
