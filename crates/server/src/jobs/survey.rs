//! Looks at the tools of every server behind the gateway, now and then, and takes in what the gateway itself saw (PC-33).

use crate::app::App;
use crate::connections::Party;
use crate::pins::{self, surveys::News};
use futures_util::StreamExt as _;
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::Sighting;
use portcullis_domain::registry::{Pinning, Placement};
use portcullis_oauth::time::Timestamp;
use rand::RngExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked who is due.
const GLANCE: Duration = Duration::from_secs(1);

/// Servers that are looked at at once.
const AT_ONCE: usize = 4;

/// Takes in what the gateway saw, until `stop`. Nobody's call waits for it.
pub(crate) async fn take_in(app: Arc<App>, mut sightings: Receiver<Sighting>, stop: CancellationToken) {
    loop {
        let sighting = tokio::select! {
            () = stop.cancelled() => return,
            sighting = sightings.recv() => sighting,
        };
        let Some(sighting) = sighting else { return };
        take(&app, sighting).await;
    }
}

/// Looks at every server once in `every`, and sooner at new ones, until `stop`.
pub(crate) async fn run(app: Arc<App>, every: Duration, stop: CancellationToken) {
    loop {
        let due = app.surveys.due(&watched(&app), Instant::now());
        let round = futures_util::stream::iter(due).for_each_concurrent(AT_ONCE, |server| {
            let app = Arc::clone(&app);
            async move { look(&app, server, every).await }
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(GLANCE) => {}
        }
    }
}

/// The servers whose tools are pinned, or will be.
fn watched(app: &App) -> Vec<ServerId> {
    let current = app.current.load();
    let is_watched = |placement: &Placement, pinning: Pinning| match (placement, pinning) {
        (Placement::Direct, _) | (Placement::Gateway { .. }, Pinning::Off) => false,
        (Placement::Gateway { .. }, Pinning::Approved | Pinning::FirstSight) => true,
    };
    // Where each person signs in, there is nobody for us to look as: callers' own lists are looked at.
    let servers = current.snapshot.servers.iter().filter(|server| Party::of(server).is_none());
    servers.filter(|server| is_watched(&server.placement, server.pinning)).map(|server| server.id).collect()
}

/// Looks at one server now.
pub(crate) async fn look(app: &App, server: ServerId, every: Duration) {
    let outcome = app.gateway.survey(server).await;
    // Not all at the same moment, on this node or another.
    let jitter = app.entropy.rng().random_range(0.8..1.2);
    let when: (Timestamp, Instant, Duration) = (app.clock.now(), Instant::now(), every.mul_f64(jitter));
    let news = app.surveys.went(server, &outcome, when);
    let name = || {
        let current = app.current.load();
        let found = current.snapshot.servers.iter().find(|known| known.id == server);
        found.map_or_else(|| server.to_string(), |known| known.name.to_string())
    };
    match (outcome, news) {
        (Ok(survey), news) => {
            if news == News::Recovered {
                tracing::info!(server = name(), "its tools can be looked at again");
            }
            take(app, survey.sighting).await;
        }
        (Err(failure), News::Failing) => {
            tracing::warn!(server = name(), %failure, "its tools cannot be looked at; it is tried again");
        }
        (Err(_), News::Nothing | News::Recovered) => {}
    }
}

async fn take(app: &App, sighting: Sighting) {
    if let Err(error) = pins::take(app, sighting).await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(
            error,
            "what was seen of tools could not be stored; it is tried when it is seen again"
        );
    }
}
