//! The two key sets. No key is ever in both (`docs/architecture.md`, "Keys").

use crate::app::App;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use portcullis_oauth::jwk::JwkSet;
use std::sync::Arc;

/// How long anybody may keep a public document; new keys are published for longer before they sign (AS-KEY-04).
pub(crate) const PUBLIC_DOCUMENT: &str = "public, max-age=300";

/// Keys of access tokens.
pub(crate) async fn access(State(app): State<Arc<App>>) -> impl IntoResponse {
    document(app.keys.load().public.clone())
}

/// Keys of the assertions that upstreams get.
pub(crate) async fn assertions(State(app): State<Arc<App>>) -> impl IntoResponse {
    document(app.keys.load().assertion_public.clone())
}

fn document(keys: JwkSet) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, PUBLIC_DOCUMENT)], Json(keys))
}
