//! The keys that one issuer publishes: fetched once for everybody who waits, anew from time to time and when a token names a
//! key that is not among them, though not oftener than allowed (KEY-04). A document that cannot be used replaces nothing, and
//! what was fetched too long ago verifies nothing (KEY-05).

use super::Means;
use crate::reach::fetch::Unheard;
use portcullis_guard::external::ExternalVerifier;
use portcullis_oauth::issuer::ExternalIssuer;
use portcullis_oauth::jwk::{ExternalKeySet, InvalidExternalKeySet};
use portcullis_oauth::time::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Waiting for a fetch that is under way ends this much after the fetch must have ended.
const GRACE: Duration = Duration::from_secs(1);

pub(crate) struct KeySource {
    issuer: ExternalIssuer,
    address: String,
    means: Means,
    state: Mutex<State>,
    /// Counts fetches that ended.
    landed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// When a fetch began last.
    tried: Option<Timestamp>,
    under_way: bool,
}

struct Held {
    verifier: Arc<ExternalVerifier>,
    fetched: Timestamp,
}

/// Why no new keys came of a fetch.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error(transparent)]
    Unheard(#[from] Unheard),
    #[error(transparent)]
    Unusable(#[from] InvalidExternalKeySet),
}

impl KeySource {
    pub(super) fn new(issuer: &ExternalIssuer, address: &str, means: Means) -> Arc<Self> {
        Arc::new(Self {
            issuer: issuer.clone(),
            address: address.to_owned(),
            means,
            state: Mutex::default(),
            landed: watch::Sender::new(0),
        })
    }

    /// The keys, unless they are too old to count.
    pub(super) fn verifier(&self, now: Timestamp) -> Option<Arc<ExternalVerifier>> {
        let state = self.state();
        let held = state.held.as_ref().filter(|held| now.since(held.fetched) < self.means.times.keep)?;
        Some(Arc::clone(&held.verifier))
    }

    /// Returns when there is nothing to wait for: the key is known, or is not to be had now.
    pub(super) async fn ready(self: &Arc<Self>, kid: &str) {
        let now = (self.means.clock)();
        let mut landed = self.landed.subscribe();
        landed.mark_unchanged();
        if !self.begin(kid, now) {
            return;
        }
        // The sender is ours, so the channel cannot close.
        let _late = tokio::time::timeout(self.means.times.patience + GRACE, landed.changed()).await;
    }

    /// Begins a fetch where one is due; whether it is worth waiting for.
    fn begin(self: &Arc<Self>, kid: &str, now: Timestamp) -> bool {
        let times = &self.means.times;
        let mut state = self.state();
        let age = state.held.as_ref().map(|held| now.since(held.fetched)).filter(|age| *age < times.keep);
        let is_known =
            state.held.as_ref().is_some_and(|held| held.verifier.keys().holds(kid)) && age.is_some();
        if is_known && age.is_some_and(|age| age < times.refresh) {
            return false;
        }
        let pause = if age.is_some() { times.pause } else { times.pause_without_keys };
        let rested = state.tried.is_none_or(|tried| now.since(tried) >= pause || tried > now);
        if !state.under_way && rested {
            (state.under_way, state.tried) = (true, Some(now));
            let source = Arc::clone(self);
            // Nobody's request: who waits for it may go away.
            tokio::spawn(async move { source.fetch(now).await });
        }
        !is_known && state.under_way
    }

    async fn fetch(self: Arc<Self>, now: Timestamp) {
        let fetched = self.fetched().await;
        let mut state = self.state();
        match fetched {
            Ok(keys) => {
                let same = state.held.as_ref().filter(|held| held.verifier.keys().is_same(&keys));
                let verifier = match same {
                    Some(held) => Arc::clone(&held.verifier),
                    None => Arc::new(ExternalVerifier::new(keys, self.means.capacity)),
                };
                state.held = Some(Held { verifier, fetched: now });
            }
            Err(error) => {
                let (issuer, error) = (self.issuer.as_str(), &error as &dyn std::error::Error);
                tracing::warn!(issuer, error, "the keys of an issuer could not be fetched");
            }
        }
        state.under_way = false;
        drop(state);
        self.landed.send_modify(|count| *count += 1);
    }

    async fn fetched(&self) -> Result<ExternalKeySet, NoKeys> {
        let document = self.means.fetcher.get(&self.address, self.means.times.patience).await?;
        Ok(ExternalKeySet::parse(&document)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
