//! Servers behind the gateway that stand under another name, or another path, than the authority gives (PC-30).
//!
//! Under a server's own host name there is the gateway and nothing else: no page of the authority shows under a name that
//! people do not know it by, and no path of ours is in the way of a server's.

use crate::app::{App, host_of};
use crate::config::Role;
use crate::layers;
use axum::extract::{Request, State};
use axum::response::Response;
use portcullis_gateway::ClientAddress;
use std::sync::Arc;

/// What no route is about: metadata of a server, a server at a path that is not of the usual form, or nothing.
pub(crate) async fn other_path(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path();
    if is_description(path) || app.gateway.owns(path) {
        let from = request.extensions().get().copied();
        answer(&app, request, from).await
    } else {
        layers::not_found().await
    }
}

/// Whether metadata of a protected resource is asked for (RFC 9728 s3.1).
fn is_description(path: &str) -> bool {
    path.strip_prefix("/.well-known/oauth-protected-resource")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Hands it to the gateway, where calls are served here. Metadata is served everywhere: it says where calls go.
pub(crate) async fn answer(app: &App, request: Request, from: Option<ClientAddress>) -> Response {
    match app.config.role {
        Role::Control if !is_description(request.uri().path()) => layers::elsewhere(),
        Role::All | Role::Control | Role::Gateway(_) => app.gateway.answer(request, from).await,
    }
}

/// Whether it is the issuer's name, or our address itself.
pub(crate) fn is_authority(app: &App, host: &str) -> bool {
    let default_port = if app.config.issuer.is_https() { ":443" } else { ":80" };
    let issuer = host_of(app.config.issuer.origin());
    host.strip_suffix(default_port).unwrap_or(host) == issuer || layers::is_our_address(app, host)
}
