//! What a changed fleet would have decided about the calls that were made (PC-26).

use super::error::Refusal;
use super::fleet::parse;
use super::input::FleetText;
use super::operator::{Audits, Operator};
use super::period::Since;
use crate::app::App;
use crate::simulate::{self, Simulation};
use axum::Json;
use axum::extract::State;
use std::sync::Arc;

/// `POST /api/v1/policy/simulate`
pub(super) async fn simulate(
    operator: Operator<Audits>,
    State(app): State<Arc<App>>,
    Since(since): Since,
    FleetText(text): FleetText,
) -> Result<Json<Simulation>, Refusal> {
    operator.everywhere()?;
    Ok(Json(simulate::simulate(&app, &parse(&app, text).await?, since).await?))
}
