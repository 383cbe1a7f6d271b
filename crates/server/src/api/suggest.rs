//! What could be narrower, learned from the calls that were made (PC-26).

use super::error::Refusal;
use super::operator::{Audits, Operator};
use super::period::Since;
use crate::app::App;
use crate::suggest::{self, Suggestions};
use axum::Json;
use axum::extract::State;
use std::sync::Arc;

/// `GET /api/v1/policy/suggest`
pub(super) async fn suggest(
    operator: Operator<Audits>,
    State(app): State<Arc<App>>,
    Since(since): Since,
) -> Result<Json<Suggestions>, Refusal> {
    operator.everywhere()?;
    Ok(Json(suggest::suggest(&app, since).await?))
}
