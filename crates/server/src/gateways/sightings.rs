//! Tools that a gateway saw to be other than they were approved, or that nobody approved yet (PC-33).

use super::door::Gateway;
use super::refusal::Refusal;
use crate::app::App;
use crate::pins;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use http::StatusCode;
use portcullis_domain::pins::Sighting;
use portcullis_domain::registry::Placement;
use std::sync::Arc;

/// The tools of one server, with their definitions.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// `POST /api/v1/gateways/sightings`
pub(super) async fn take(
    gateway: Gateway,
    State(app): State<Arc<App>>,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| Refusal::Malformed("too long, or cut off"))?;
    let sighting: Sighting = serde_json::from_slice(&body).map_err(|_| Refusal::Malformed("a sighting"))?;
    let (current, share) = (app.current.load_full(), gateway.share());
    let server = current.snapshot.servers.iter().find(|server| server.id == sighting.server);
    let is_its_own = server.is_some_and(|server| {
        let is_behind = match server.placement {
            Placement::Gateway { .. } => true,
            Placement::Direct => false,
        };
        is_behind && share.holds(&server.name)
    });
    if !is_its_own {
        return Err(Refusal::OtherServer);
    }
    pins::take(&app, sighting).await?;
    Ok(StatusCode::NO_CONTENT)
}
