//! The fleet as one file: plan, apply, export (PC-34).

use super::error::Refusal;
use super::input::FleetText;
use super::operator::{Operator, Reads, Writes};
use crate::app::App;
use crate::fault::Fault;
use crate::fleet::{self, Applied, ApplyError, Preview, Terms, Version};
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{HeaderMap, header};
use portcullis_domain::fleet::{Fleet, Surroundings};
use std::sync::Arc;

/// `GET /api/v1/fleet`
pub(super) async fn export(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
) -> Result<impl IntoResponse, Refusal> {
    operator.everywhere()?;
    let (fleet, version) = fleet::export(&app).await?;
    let text = fleet.to_toml(&app.config.issuer).map_err(|_| Fault::Shape("the registered fleet"))?;
    Ok(([(header::CONTENT_TYPE, "application/toml".to_owned()), (header::ETAG, version.etag())], text))
}

/// `POST /api/v1/fleet/plan`. The entity tag names the registry that it was planned for.
pub(super) async fn plan(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    FleetText(text): FleetText,
) -> Result<([(header::HeaderName, String); 1], Json<Preview>), Refusal> {
    operator.everywhere()?;
    let preview = fleet::preview(&app, &parse(&app, &text)?).await?;
    Ok(([(header::ETAG, preview.version.etag())], Json(preview)))
}

/// `POST /api/v1/fleet/apply`, with `If-Match` for what was planned only (RFC 9110 s13.1.1).
pub(super) async fn apply(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    FleetText(text): FleetText,
) -> Result<Json<Applied>, Refusal> {
    operator.everywhere()?;
    let fleet = parse(&app, &text)?;
    let terms = Terms { by: Some(operator.by()), only_to: if_match(&headers) };
    let applied = fleet::apply_on(&app, &fleet, &terms).await.map_err(|error| match error {
        ApplyError::Deliver(error) => Refusal::Deliver(error),
        ApplyError::Moved => Refusal::Moved,
        ApplyError::OwnersOnly(gains) => Refusal::OwnersOnly(gains.join("; ")),
        ApplyError::Places(whose) => Refusal::Places(whose.join(", ")),
        ApplyError::Store(error) => error.into(),
    })?;
    let Applied { put, removed, secrets } = applied;
    tracing::info!(put, removed, secrets, "fleet applied");
    Ok(Json(applied))
}

pub(super) fn parse(app: &App, text: &str) -> Result<Fleet, Refusal> {
    let commands = app.config.commands.keys().cloned().collect();
    Fleet::parse(text, Surroundings { issuer: &app.config.issuer, commands: &commands })
        .map_err(Refusal::Fleet)
}

/// A condition that cannot be read is one that is not met.
fn if_match(headers: &HeaderMap) -> Option<Version> {
    let mut all = headers.get_all(header::IF_MATCH).iter();
    let first = all.next()?;
    let alone = all.next().is_none();
    Some(Version::from_etag(first.to_str().ok().filter(|_| alone).unwrap_or_default()))
}
