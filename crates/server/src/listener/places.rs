//! Places for connections: so many in all, and so many for one address, so that no stranger can take all of them.

use crate::throttle::Source;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections one address may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) of_anybody: usize,
    /// Many people come through one proxy; but one that leaks connections must leave some for the others.
    pub(super) of_a_proxy: usize,
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Anybody(Source),
    /// Named by the operator.
    Proxy(Source),
}

/// Cheap to clone; clones are the same.
#[derive(Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    most: Most,
    taken: Arc<Mutex<HashMap<Source, Taken>>>,
}

#[derive(Default)]
struct Taken {
    count: usize,
    /// Said once, until the address has no connection any more.
    is_told: bool,
}

/// One of the places for one address; given back when dropped.
pub(super) struct Place {
    places: Places,
    source: Source,
    _of_all: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(all: usize, most: Most) -> Self {
        let all = Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS)));
        Self { all, most, taken: Arc::default() }
    }

    /// As soon as there is a place at all.
    pub(super) async fn any(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// The place is for this address, unless it has as many as it may have.
    pub(super) fn take(&self, of_all: OwnedSemaphorePermit, peer: Peer) -> Option<Place> {
        let (source, most) = match peer {
            Peer::Anybody(source) => (source, self.most.of_anybody),
            Peer::Proxy(source) => (source, self.most.of_a_proxy),
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = taken.entry(source).or_default();
        if of_source.count >= most {
            if !std::mem::replace(&mut of_source.is_told, true) {
                tracing::warn!(most, "one address has as many connections as it may have");
            }
            return None;
        }
        of_source.count += 1;
        drop(taken);
        Some(Place { places: self.clone(), source, _of_all: of_all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_source) = taken.get_mut(&self.source) {
            of_source.count -= 1;
            if of_source.count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}
