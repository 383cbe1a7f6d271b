//! `/readyz`: whether requests should be sent here, and if not, why. The reasons are for whoever is called at night.

use crate::app::App;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// A database that does not answer within this is not there.
const DATABASE: Duration = Duration::from_secs(2);

/// What was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    ready: bool,
    /// Why not; empty when ready.
    reasons: Vec<&'static str>,
    /// What somebody should look at, although requests are served as before: to send them elsewhere would help nobody.
    warnings: Vec<&'static str>,
    database: &'static str,
    /// Seconds since the gateway last heard that it knows everything; none if it never did.
    feed_age_seconds: Option<u64>,
    spool_bytes: u64,
    spool_limit_bytes: u64,
    signing_keys: usize,
}

pub(super) async fn answer(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let readiness = Readiness::of(&app).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

impl Readiness {
    async fn of(app: &App) -> Self {
        let figures = app.gateway.figures();
        let database = reads(app).await;
        let signing_keys = app.keys.load().public.keys.len();
        let mut reasons = Vec::new();
        if !database {
            reasons.push("the database does not answer");
        }
        if !app.gateway.is_fresh() {
            reasons.push("the gateway waits for news; until then it refuses calls");
        }
        if figures.spool_is_full() {
            reasons.push("the record of calls is full; calls are refused");
        }
        if signing_keys == 0 {
            reasons.push("there is no key to sign tokens with");
        }
        Self {
            ready: reasons.is_empty(),
            reasons,
            warnings: warnings(app),
            database: if database { "answers" } else { "does not answer" },
            feed_age_seconds: figures.feed_age.map(|age| age.as_secs()),
            spool_bytes: figures.spool_bytes,
            spool_limit_bytes: figures.spool_limit,
            signing_keys,
        }
    }
}

fn warnings(app: &App) -> Vec<&'static str> {
    let is_wrong = app.followed.standing().is_some_and(|standing| !standing.applied);
    let says = "the fleet file cannot be applied; the fleet stays as it was (portcullis doctor says why)";
    is_wrong.then_some(says).into_iter().collect()
}

async fn reads(app: &App) -> bool {
    let read = async { app.store.read().await?.reader().latest_change().await };
    match tokio::time::timeout(DATABASE, read).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready: the database");
            false
        }
        Err(_) => false,
    }
}
