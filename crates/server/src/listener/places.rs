//! Places for connections: so many in all, and so many for one address, so that no stranger can take all of them.

use crate::throttle::Source;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Cheap to clone; clones are the same.
#[derive(Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    of_one: usize,
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
    pub(super) fn new(all: usize, of_one: usize) -> Self {
        let all = Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS)));
        Self { all, of_one, taken: Arc::default() }
    }

    /// As soon as there is a place at all.
    pub(super) async fn any(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// The place is for this address, unless it has as many as it may have.
    pub(super) fn take(&self, of_all: OwnedSemaphorePermit, source: Source) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = taken.entry(source).or_default();
        if of_source.count >= self.of_one {
            if !std::mem::replace(&mut of_source.is_told, true) {
                tracing::warn!(most = self.of_one, "one address has as many connections as it may have");
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
