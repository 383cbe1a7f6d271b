//! A secret of this machine as the credential: read when it is used, and again when the upstream does not take it, so that it
//! may be changed under a running gateway.

use super::{is_token, shown};
use crate::reach::means::Means;
use crate::settings::{Clock, Secrets};
use http::HeaderValue;
use portcullis_domain::registry::SecretPlace;
use portcullis_oauth::time::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So long what was read is not read again.
const KEPT: Duration = Duration::from_secs(10);

/// The secret at one place.
pub(crate) struct Bearer {
    place: SecretPlace,
    secrets: Secrets,
    clock: Clock,
    read: Mutex<Option<(HeaderValue, Timestamp)>>,
}

impl Bearer {
    pub(super) fn new(place: SecretPlace, means: &Means) -> Self {
        let (secrets, clock) = (means.secrets.clone(), means.clock.clone());
        Self { place, secrets, clock, read: Mutex::new(None) }
    }

    /// `None` when there is nothing that can be shown.
    pub(crate) fn current(&self) -> Option<HeaderValue> {
        let now = (self.clock)();
        let kept = self.read().clone();
        match kept.filter(|(_, at)| *at <= now && now.since(*at) < KEPT) {
            Some((kept, _)) => Some(kept),
            None => self.read_anew(now),
        }
    }

    pub(crate) fn another_than(&self, refused: &HeaderValue) -> Option<HeaderValue> {
        self.read_anew((self.clock)()).filter(|read| read != refused)
    }

    fn read_anew(&self, now: Timestamp) -> Option<HeaderValue> {
        let header =
            (self.secrets)(&self.place).filter(|secret| is_token(secret)).and_then(|secret| shown(&secret));
        if header.is_none() {
            tracing::warn!(place = %self.place, "no bearer token can be read there");
        }
        *self.read() = header.clone().map(|header| (header, now));
        header
    }

    fn read(&self) -> MutexGuard<'_, Option<(HeaderValue, Timestamp)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
