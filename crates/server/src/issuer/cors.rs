//! CORS for the endpoints that programs in browsers may call: any origin, never with credentials of the browser (AS-HTTP-09).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// Opens an answer to every origin. Laid over routes whose answers depend on nothing that a browser adds by itself.
pub(crate) async fn open(mut response: Response) -> Response {
    let anyone = HeaderValue::from_static("*");
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
    response
}

/// The answer to a preflight.
pub(crate) async fn preflight() -> impl IntoResponse {
    (
        StatusCode::NO_CONTENT,
        [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, MCP-Protocol-Version"),
            (header::ACCESS_CONTROL_MAX_AGE, "600"),
        ],
    )
}
