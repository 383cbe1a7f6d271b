//! The console: pages for administrators.

pub(crate) mod overview;

use axum::response::IntoResponse;
use http::header;

/// Beside the one stylesheet of all pages: what wide pages need.
pub(crate) async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "public, max-age=300")],
        include_str!("console/console.css"),
    )
}
