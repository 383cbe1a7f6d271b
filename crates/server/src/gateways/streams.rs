//! Which gateways listen on this node now: for people who look, and for the end of this node.

use portcullis_domain::id::GatewayId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// The open streams of this node.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Arc<Mutex<HashMap<GatewayId, usize>>>,
    /// This node ends.
    pub(crate) ending: CancellationToken,
}

/// One open stream; closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Listening {
    open: Arc<Mutex<HashMap<GatewayId, usize>>>,
    gateway: GatewayId,
}

impl Streams {
    /// One more.
    pub(crate) fn begin(&self, gateway: GatewayId) -> Listening {
        *lock(&self.open).entry(gateway).or_default() += 1;
        Listening { open: Arc::clone(&self.open), gateway }
    }

    /// How many gateways listen here.
    pub(crate) fn count(&self) -> usize {
        lock(&self.open).len()
    }

    /// Whether a gateway listens here.
    pub(crate) fn has(&self, gateway: GatewayId) -> bool {
        lock(&self.open).contains_key(&gateway)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if let Some(count) = open.get_mut(&self.gateway) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.gateway);
            }
        }
    }
}

fn lock(open: &Mutex<HashMap<GatewayId, usize>>) -> MutexGuard<'_, HashMap<GatewayId, usize>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
