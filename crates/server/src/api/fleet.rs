//! The fleet as one file: plan, apply, export (PC-34).

use super::aside::aside;
use super::error::Refusal;
use super::input::{FleetText, Missing};
use super::operator::{Operator, Reads, Writes};
use crate::app::App;
use crate::fault::Fault;
use crate::fleet::{self, Applied, ApplyError, Preview, Standing, Terms};
use crate::once::Kept;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use portcullis_domain::fleet::{Fleet, SeenTools, Surroundings};
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

/// `GET /api/v1/fleet/file`. Missing: the server was started without one.
pub(super) async fn file(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
) -> Result<Json<Standing>, Refusal> {
    operator.everywhere()?;
    Ok(Json(app.followed.standing().ok_or(Missing::FleetFile)?))
}

/// `POST /api/v1/fleet/plan`. The entity tag names the registry that it was planned for.
pub(super) async fn plan(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    FleetText(text): FleetText,
) -> Result<([(header::HeaderName, String); 1], Json<Preview>), Refusal> {
    operator.everywhere()?;
    let preview = fleet::preview(&app, &checked(&app, text).await?, Some(&operator.by())).await?;
    Ok(([(header::ETAG, preview.version.etag())], Json(preview)))
}

/// `POST /api/v1/fleet/apply`, with `If-Match` for what was planned only (RFC 9110 s13.1.1).
pub(super) async fn apply(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    FleetText(text): FleetText,
) -> Result<Kept, Refusal> {
    operator.everywhere()?;
    let fleet = checked(&app, text).await?;
    let terms = Terms {
        by: Some(operator.by()),
        only_to: operator.if_match().clone(),
        once: operator.once().clone(),
    };
    let change = async {
        let applied = fleet::apply_on(&app, &fleet, &terms).await?;
        let Applied { put, removed, secrets } = applied;
        tracing::info!(put, removed, secrets, "fleet applied");
        Ok::<_, Refusal>(applied.answer()?)
    };
    Box::pin(operator.once().or_do(change)).await
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Deliver(error) => Self::Deliver(error),
            ApplyError::Moved => Self::Moved,
            ApplyError::OwnersOnly(gains) => Self::OwnersOnly(gains.join("; ")),
            ApplyError::Places(whose) => Self::Places(whose.join(", ")),
            ApplyError::Store(error) => error.into(),
        }
    }
}

/// Read against the tools that were seen, too.
async fn checked(app: &Arc<App>, text: String) -> Result<Fleet, Refusal> {
    read(app, text, fleet::seen_tools(app).await?).await
}

pub(super) async fn parse(app: &Arc<App>, text: String) -> Result<Fleet, Refusal> {
    read(app, text, SeenTools::new()).await
}

async fn read(app: &Arc<App>, text: String, seen: SeenTools) -> Result<Fleet, Refusal> {
    let app = Arc::clone(app);
    let parse = move || {
        let commands = app.config.commands.keys().cloned().collect();
        let surroundings = Surroundings { issuer: &app.config.issuer, commands: &commands };
        Fleet::parse_knowing(&text, surroundings, &seen).map_err(Refusal::Fleet)
    };
    aside(parse).await
}
