//! What a gateway is told: the snapshot whole, then what became different, one update a line, and a beat when nothing did.
//!
//! A line is made when the connection takes it, from the database, for the position that this gateway has heard of. Nothing
//! waits in memory for a gateway that reads slowly: it is told less often, and then what it missed, or everything anew.

use super::door::Gateway;
use super::refusal::Refusal;
use super::streams::Listening;
use super::wire::BEAT;
use crate::app::App;
use crate::feed::{self, FeedError, Full, News};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header;
use portcullis_domain::id::GatewayId;
use portcullis_domain::snapshot::{FORMAT, Share, Snapshot, Update};
use portcullis_oauth::time::Timestamp;
use portcullis_store::Heard;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch;

/// Where a gateway goes on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// It has heard of everything up to here.
    after: Option<u64>,
    /// What it understands ([`FORMAT`]).
    format: u32,
}

/// `GET /api/v1/gateways/snapshot`
pub(super) async fn snapshot(
    gateway: Gateway,
    State(app): State<Arc<App>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let asked = asked.map_err(|_| Refusal::Malformed("format, and after, a number of the feed"))?;
    let Query(Asked { after, format }) = asked;
    if format != FORMAT {
        return Err(Refusal::OtherFormat);
    }
    let (id, now) = (gateway.known.id, app.clock.now());
    let heard = match after {
        Some(number) if app.store.read().await?.reader().can_follow(number, now).await? => {
            Some(Heard { number, as_of: now })
        }
        Some(_) | None => None,
    };
    tracing::info!(gateway = %gateway.known.name, anew = heard.is_none(), "a gateway listens");
    let told = Told {
        listening: app.gateways.begin(id),
        wake: app.store.changes(),
        share: gateway.share(),
        is_failing: false,
        is_first: true,
        gateway: id,
        heard,
        app,
    };
    let lines = futures_util::stream::unfold(told, |mut told| async move {
        let line = told.next_line().await?;
        Some((Ok::<_, Infallible>(line), told))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// One gateway that listens.
struct Told {
    app: Arc<App>,
    gateway: GatewayId,
    share: Share,
    /// It has heard of everything up to here; nothing, before the first snapshot.
    heard: Option<Heard>,
    wake: watch::Receiver<u64>,
    is_first: bool,
    is_failing: bool,
    #[expect(dead_code, reason = "counts while it is there")]
    listening: Listening,
}

impl Told {
    /// The next update; `None` ends the stream.
    async fn next_line(&mut self) -> Option<Bytes> {
        loop {
            if !std::mem::take(&mut self.is_first) {
                tokio::select! {
                    () = self.app.gateways.ending.cancelled() => return None,
                    Ok(()) = self.wake.changed() => {}
                    () = tokio::time::sleep(BEAT) => {}
                }
            }
            match self.update().await {
                Ok(Some(update)) => {
                    self.is_failing = false;
                    let mut line = serde_json::to_vec(&update).ok()?;
                    line.push(b'\n');
                    return Some(line.into());
                }
                Ok(None) => {
                    tracing::info!(gateway = %self.gateway, "a gateway was removed: it is told nothing more");
                    return None;
                }
                // Nothing is said: the gateway grows stale, and refuses.
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::error!(error = &error as &dyn std::error::Error, "a gateway cannot be told");
                    }
                }
            }
        }
    }

    /// What it is to hear now. `None`: it is a gateway no more.
    async fn update(&mut self) -> Result<Option<Update>, FeedError> {
        // The clock first: what is read afterwards is at least as new.
        let now = self.app.clock.now();
        let Some(heard) = self.heard else { return self.everything(0, now).await };
        match feed::news(&self.app.store, heard, now).await? {
            News::Anew { number } => self.everything(number, now).await,
            News::Update(update) => self.part(update, now).await,
        }
    }

    async fn part(&mut self, update: Update, now: Timestamp) -> Result<Option<Update>, FeedError> {
        Ok(match update {
            Update::Agents { after, number, agents, revocations, as_of } => {
                if self.app.current.load().policy.with_agents(&agents).is_none() {
                    return self.everything(number, now).await;
                }
                self.heard = Some(Heard { number, as_of: now });
                let agents = self.share.of_agents(agents);
                Some(Update::Agents { after, number, agents, revocations, as_of })
            }
            Update::Revoked { number, revocations, as_of } => {
                self.heard = Some(Heard { number, as_of: now });
                Some(Update::Revoked { number, revocations, as_of })
            }
            Update::Fresh { number, as_of } => {
                self.heard = Some(Heard { number, as_of: now });
                Some(Update::Fresh { number, as_of })
            }
            update @ (Update::Ahead { .. } | Update::Full { .. }) => Some(update),
        })
    }

    async fn everything(&mut self, number: u64, now: Timestamp) -> Result<Option<Update>, FeedError> {
        // Whether it is a gateway still, and of which servers: a removal is news of this kind.
        let Some(known) = self.app.store.read().await?.reader().gateway(self.gateway).await? else {
            return Ok(None);
        };
        self.share = known.servers.into();
        let full = Full::read(&self.app.store, &self.app.config, &self.app.master, now).await?;
        // After the rest: that more of it is not believed than was known then is no harm.
        let revocations = self.app.store.read().await?.reader().revocations(now).await?;
        let number = number.max(full.snapshot.number);
        let snapshot = Snapshot { number, ..self.share.of_snapshot(full.snapshot) };
        self.heard = Some(Heard { number, as_of: now });
        Ok(Some(Update::Full { snapshot: Box::new(snapshot), revocations, as_of: full.as_of }))
    }
}
