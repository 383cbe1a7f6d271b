//! Health, readiness and metrics of a gateway that runs alone (PC-54): the same addresses and names as of the whole.

use super::{Contact, Lone};
use crate::ops::{self, metrics};
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

pub(super) fn router(lone: &Arc<Lone>) -> Router {
    let routes = Router::new().route("/readyz", get(ready)).route("/metrics", get(figures));
    ops::around(routes.with_state(Arc::clone(lone)), lone.config.issuer.origin())
}

/// What was looked at.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// Why not; empty when ready.
    reasons: Vec<&'static str>,
    control_room: &'static str,
    /// Seconds since it last heard that it knows everything; none if it never did.
    feed_age_seconds: Option<u64>,
    /// Beyond this it refuses calls.
    max_staleness_seconds: u64,
    spool_bytes: u64,
    spool_limit_bytes: u64,
}

async fn ready(State(lone): State<Arc<Lone>>) -> (StatusCode, Json<Readiness>) {
    let figures = lone.gateway.figures();
    let contact = lone.contact();
    let mut reasons = Vec::new();
    if contact == Contact::Removed {
        reasons.push("the control room says that this gateway was removed; it serves nobody");
    } else if !lone.gateway.is_fresh() {
        reasons.push(
            "what is known is too old, or nothing is; until the control room is heard, calls are refused",
        );
    }
    if figures.spool_is_full() {
        reasons.push("the record of calls is full; calls are refused");
    }
    let readiness = Readiness {
        ready: reasons.is_empty(),
        reasons,
        control_room: match contact {
            Contact::Heard => "is heard",
            Contact::Removed => "knows no such gateway",
            Contact::Silent => "is not heard",
        },
        feed_age_seconds: figures.feed_age.map(|age| age.as_secs()),
        max_staleness_seconds: lone.config.max_staleness.as_secs(),
        spool_bytes: figures.spool_bytes,
        spool_limit_bytes: figures.spool_limit,
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

async fn figures(State(lone): State<Arc<Lone>>) -> Response {
    metrics::of_gateway(&lone.gateway, lone.traces.as_ref())
}
