//! What the control room is to gateways that run alone (PC-62): it gives them an identity once, tells each what it decides
//! by, and keeps what they recorded and saw. Nobody else is answered here, and a gateway is answered about itself only.

mod connections;
mod door;
mod enrol;
pub(crate) mod records;
mod refusal;
mod sightings;
mod stream;
pub(crate) mod streams;
pub mod wire;

use crate::app::App;
use crate::layers;
use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use std::sync::Arc;

/// The addresses that gateways ask at.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let base = app.config.issuer.path();
    let at = |path: &str| format!("{base}{path}");
    let soon = Router::new()
        .route(&at(wire::CONNECTIONS), post(connections::copy))
        .route(&at(wire::ENROL), post(enrol::enrol))
        .route(&at(wire::RECORDS), post(records::take))
        .route(&at(wire::SIGHTINGS), post(sightings::take))
        .layer(from_fn(layers::patience));
    soon.route(&at(wire::SNAPSHOT), get(stream::snapshot)).with_state(Arc::clone(app))
}
