//! Every route of the listener, on one page.

use crate::app::App;
use axum::Router;
use std::sync::Arc;

/// Everything that the listener serves.
pub fn router(app: Arc<App>) -> Router {
    let _ = app;
    Router::new()
}
