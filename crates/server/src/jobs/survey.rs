//! Looks at the tools of every server behind the gateway, now and then, and takes in what the gateway itself saw (PC-33).

use crate::app::App;
use crate::clock::Clock;
use crate::connections::Party;
use crate::entropy::Entropy;
use crate::pins::{self, Surveys, surveys::News};
use futures_util::StreamExt as _;
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::Sighting;
use portcullis_domain::registry::{Name, Pinning, Placement};
use portcullis_domain::snapshot::Snapshot;
use portcullis_gateway::Gateway;
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

/// With what servers are looked at.
pub(crate) struct Means<'a> {
    /// Looks.
    pub(crate) gateway: &'a Gateway,
    /// How it went so far.
    pub(crate) surveys: &'a Surveys,
    /// The present.
    pub(crate) clock: &'a Clock,
    /// Chance.
    pub(crate) entropy: &'a Entropy,
}

/// From where servers are looked at: the whole, or a gateway that runs alone.
pub(crate) trait Post: Send + Sync + 'static {
    /// With what.
    fn means(&self) -> Means<'_>;
    /// The servers to look at.
    fn watched(&self) -> Vec<(ServerId, Name)>;
    /// Takes in what was seen.
    fn take(&self, sighting: Sighting) -> impl Future<Output = ()> + Send;
}

impl Post for App {
    fn means(&self) -> Means<'_> {
        let Self { gateway, surveys, clock, entropy, .. } = self;
        Means { gateway, surveys, clock, entropy }
    }

    fn watched(&self) -> Vec<(ServerId, Name)> {
        watched(&self.current.load().snapshot)
    }

    async fn take(&self, sighting: Sighting) {
        if let Err(error) = pins::take(self, sighting).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                error,
                "what was seen of tools could not be stored; it is tried when it is seen again"
            );
        }
    }
}

/// Takes in what the gateway saw, until `stop`. Nobody's call waits for it.
pub(crate) async fn take_in<P: Post>(
    post: Arc<P>,
    mut sightings: Receiver<Sighting>,
    stop: CancellationToken,
) {
    loop {
        let sighting = tokio::select! {
            () = stop.cancelled() => return,
            sighting = sightings.recv() => sighting,
        };
        let Some(sighting) = sighting else { return };
        post.take(sighting).await;
    }
}

/// Looks at every server once in `every`, and sooner at new ones, until `stop`.
pub(crate) async fn run<P: Post>(post: Arc<P>, every: Duration, stop: CancellationToken) {
    loop {
        let servers: Vec<ServerId> = post.watched().into_iter().map(|(id, _)| id).collect();
        let due = post.means().surveys.due(&servers, Instant::now());
        let round = futures_util::stream::iter(due).for_each_concurrent(AT_ONCE, |server| {
            let post = Arc::clone(&post);
            async move { look(&*post, server, every).await }
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

/// The servers of a snapshot whose tools are pinned, or will be.
pub(crate) fn watched(snapshot: &Snapshot) -> Vec<(ServerId, Name)> {
    let is_watched = |placement: &Placement, pinning: Pinning| match (placement, pinning) {
        (Placement::Direct, _) | (Placement::Gateway { .. }, Pinning::Off) => false,
        (Placement::Gateway { .. }, Pinning::Approved | Pinning::FirstSight) => true,
    };
    // Where each person signs in, there is nobody for us to look as: callers' own lists are looked at.
    let servers = snapshot.servers.iter().filter(|server| Party::of(server).is_none());
    let watched = servers.filter(|server| is_watched(&server.placement, server.pinning));
    watched.map(|server| (server.id, server.name.clone())).collect()
}

/// Looks at one server now.
pub(crate) async fn look<P: Post>(post: &P, server: ServerId, every: Duration) {
    let Means { gateway, surveys, clock, entropy } = post.means();
    let outcome = gateway.survey(server).await;
    // Not all at the same moment, on this node or another.
    let jitter = entropy.rng().random_range(0.8..1.2);
    let when: (Timestamp, Instant, Duration) = (clock.now(), Instant::now(), every.mul_f64(jitter));
    let news = surveys.went(server, &outcome, when);
    let name = || {
        let found = post.watched().into_iter().find(|(id, _)| *id == server);
        found.map_or_else(|| server.to_string(), |(_, name)| name.to_string())
    };
    match (outcome, news) {
        (Ok(survey), news) => {
            if news == News::Recovered {
                tracing::info!(server = name(), "its tools can be looked at again");
            }
            post.take(survey.sighting).await;
        }
        (Err(failure), News::Failing) => {
            tracing::warn!(server = name(), %failure, "its tools cannot be looked at; it is tried again");
        }
        (Err(_), News::Nothing | News::Recovered) => {}
    }
}
