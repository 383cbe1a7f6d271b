//! Pages of allowed origins may call and read; others get nothing (2026-07-28 "Security & Endpoint").

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

const METHODS: &str = "POST, GET, DELETE, OPTIONS";
const HEADERS: &str = "accept, authorization, content-type, last-event-id, mcp-method, mcp-name, mcp-protocol-version, mcp-session-id, traceparent, tracestate";
const EXPOSED: &str = "WWW-Authenticate, Mcp-Session-Id, Retry-After";

/// The answer to a preflight; who may read it is decided by [`readable_by`].
pub(crate) fn preflight(request: &HeaderMap) -> Response<Body> {
    let mut response = empty();
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    let allowed = HeaderValue::try_from(allowed_headers(request));
    if let Ok(allowed) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// The list, with the `Mcp-Param-*` headers that were asked for: their names are the server's own.
fn allowed_headers(request: &HeaderMap) -> String {
    let asked = request
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|asked| asked.to_str().ok())
        .unwrap_or_default();
    let parameters = asked
        .split(',')
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| name.as_str().starts_with("mcp-param-"));
    parameters.fold(HEADERS.to_owned(), |all, name| format!("{all}, {name}"))
}

/// The answer to a preflight for what anybody may read.
pub(crate) fn public_preflight() -> Response<Body> {
    let mut response = empty();
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS");
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, "accept, mcp-protocol-version");
    set(header::ALLOW, "GET, HEAD, OPTIONS");
    response
}

/// Lets pages of `origin` read the response.
pub(crate) fn readable_by(origin: HeaderValue, mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

fn empty() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
