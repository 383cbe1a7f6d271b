//! `/.well-known/oauth-protected-resource/…` (RFC 9728): the same document for everybody, from configuration alone.

use crate::known::door::Door;
use http::{HeaderValue, StatusCode, header};
use portcullis_guard::metadata::protected_resource;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::scope::ScopeSet;

/// The metadata of a server.
pub(crate) fn document(door: &Door, issuer: &Issuer) -> http::Response<axum::body::Body> {
    let server = &door.server;
    let own = server.issuers.own.then(|| issuer.to_string());
    let others = server.issuers.external.iter().map(|trusted| trusted.issuer.to_string());
    let issuers = own.into_iter().chain(others).collect();
    let scopes: ScopeSet = server.scopes.keys().collect();
    let document = protected_resource(&server.canonical_uri, issuers, &scopes, Some(server.title.clone()));
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = http::Response::new(axum::body::Body::from(body));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, "application/json");
    set(header::CACHE_CONTROL, "public, max-age=300");
    // DISC-15: any page may read it, without credentials.
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}
