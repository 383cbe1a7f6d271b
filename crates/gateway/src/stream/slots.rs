//! How much goes on at once: calls of one caller, by one client, to one server, from one address, and streams that one caller
//! listens to (PC-53, STRM-04); and how many there are in all, which a shutdown waits for.
//!
//! Callers are counted by subject, whatever the client: whoever can register clients has as many of them as they like.
//! Listening is counted apart, so that who listens to many servers can still call them.

use crate::authenticate::Caller;
use crate::settings::AtOnce;
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::Subject;
use portcullis_domain::rate::Source;
use portcullis_oauth::client::ClientId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Counts what goes on.
#[derive(Clone)]
pub(crate) struct Slots {
    most: AtOnce,
    taken: Arc<Mutex<HashMap<Key, u32>>>,
    total: watch::Sender<usize>,
}

/// One call or stream; over when dropped.
pub(crate) struct Slot {
    keys: [Option<Key>; 4],
    slots: Slots,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Those whose address is not known count together.
    Address(Option<Source>),
    Client(ClientId),
    Listener(Subject),
    Principal(Subject),
    Server(ServerId),
}

/// As much as there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Address,
    Client,
    /// One connection of an older transport, which counts for itself.
    Line,
    Principal,
    Server,
    Streams,
}

impl Slots {
    pub(crate) fn new(most: AtOnce) -> Self {
        Self { most, taken: Arc::default(), total: watch::Sender::new(0) }
    }

    /// Room for one more call.
    pub(crate) fn call(&self, caller: &Caller) -> Result<Slot, Full> {
        let (principal, server) = (&caller.principal, &caller.door.server);
        let of_server = [self.most.server, server.limits.calls_at_once].into_iter().flatten().min();
        let bound = |most: Option<u32>, key: &dyn Fn() -> Key, full| most.map(|most| (key(), most, full));
        self.take([
            bound(Some(self.most.principal), &|| Key::Principal(principal.subject.clone()), Full::Principal),
            bound(
                self.most.client.map(u32::from),
                &|| Key::Client(principal.client_id.clone()),
                Full::Client,
            ),
            bound(of_server.map(u32::from), &|| Key::Server(server.id), Full::Server),
            bound(
                self.most.address.map(u32::from),
                &|| Key::Address(caller.address.map(Source::from)),
                Full::Address,
            ),
        ])
    }

    /// Room for one more stream that is listened to.
    pub(crate) fn stream(&self, caller: &Caller) -> Result<Slot, Full> {
        let listener = Key::Listener(caller.principal.subject.clone());
        self.take([Some((listener, self.most.streams, Full::Streams)), None, None, None])
    }

    /// All of them, or none.
    fn take(&self, wanted: [Option<(Key, u32, Full)>; 4]) -> Result<Slot, Full> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, most, full) in wanted.iter().flatten() {
            if taken.get(key).copied().unwrap_or_default() >= *most {
                return Err(*full);
            }
        }
        let keys = wanted.map(|one| one.map(|(key, ..)| key));
        for key in keys.iter().flatten() {
            *taken.entry(key.clone()).or_default() += 1;
        }
        drop(taken);
        self.total.send_modify(|total| *total += 1);
        Ok(Slot { keys, slots: self.clone() })
    }

    /// How many calls and streams there are.
    pub(crate) fn total(&self) -> u64 {
        *self.total.borrow() as u64
    }

    /// Returns when there are none.
    pub(crate) async fn all_over(&self) {
        // The sender is ours, so the channel cannot close.
        let mut total = self.total.subscribe();
        let _closed = total.wait_for(|total| *total == 0).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for key in self.keys.iter().flatten() {
            if let Some(count) = taken.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(key);
                }
            }
        }
        drop(taken);
        self.slots.total.send_modify(|total| *total -= 1);
    }
}

impl Full {
    /// What the caller is told.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Address => "address_at_once",
            Self::Client => "client_at_once",
            Self::Line => "line_at_once",
            Self::Principal => "principal_at_once",
            Self::Server => "server_at_once",
            Self::Streams => "streams",
        }
    }
}
