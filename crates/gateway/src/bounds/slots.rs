//! How much goes on at once: calls of one caller, by one client, to one server, from one address, and streams that one caller
//! listens to (PC-53, STRM-04); and how many there are in all, which a shutdown waits for.
//!
//! Callers are counted by subject, whatever the client: whoever can register clients has as many of them as they like.
//! Listening is counted apart, so that who listens to many servers can still call them.

use crate::settings::AtOnce;
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::rate::Source;
use portcullis_domain::registry::Server;
use portcullis_oauth::client::ClientId;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Counts what goes on.
#[derive(Clone)]
pub(crate) struct Slots {
    most: AtOnce,
    taken: Arc<Mutex<Taken>>,
    /// Told when nothing goes on any more.
    over: Arc<Notify>,
}

#[derive(Default)]
struct Taken {
    by: HashMap<Key, u32>,
    total: usize,
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
        Self { most, taken: Arc::default(), over: Arc::default() }
    }

    /// Room for one more call.
    pub(crate) fn call(
        &self,
        (principal, server): (&Principal, &Server),
        from: Option<IpAddr>,
    ) -> Result<Slot, Full> {
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
            bound(self.most.address.map(u32::from), &|| Key::Address(from.map(Source::from)), Full::Address),
        ])
    }

    /// Room for one more stream that is listened to.
    pub(crate) fn stream(&self, subject: &Subject) -> Result<Slot, Full> {
        let listener = Key::Listener(subject.clone());
        self.take([Some((listener, self.most.streams, Full::Streams)), None, None, None])
    }

    /// All of them, or none.
    fn take(&self, wanted: [Option<(Key, u32, Full)>; 4]) -> Result<Slot, Full> {
        let mut taken = self.taken();
        let mut keys: [Option<Key>; 4] = Default::default();
        for (place, (key, most, full)) in keys.iter_mut().zip(wanted.into_iter().flatten()) {
            if !taken.one_more(&key, most) {
                taken.give_back(keys);
                return Err(full);
            }
            *place = Some(key);
        }
        taken.total += 1;
        drop(taken);
        Ok(Slot { keys, slots: self.clone() })
    }

    /// How many calls and streams there are.
    pub(crate) fn total(&self) -> u64 {
        self.taken().total as u64
    }

    /// Returns when there are none.
    pub(crate) async fn all_over(&self) {
        loop {
            // Before the look: what is told meanwhile is heard.
            let over = self.over.notified();
            if self.taken().total == 0 {
                return;
            }
            over.await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// False, and nothing done, where there are `most` already.
    fn one_more(&mut self, key: &Key, most: u32) -> bool {
        let known = self.by.get_mut(key);
        if known.as_ref().map_or(0, |count| **count) >= most {
            return false;
        }
        match known {
            Some(count) => *count += 1,
            None => drop(self.by.insert(key.clone(), 1)),
        }
        true
    }

    fn give_back(&mut self, keys: [Option<Key>; 4]) {
        for key in keys.into_iter().flatten() {
            if let Entry::Occupied(mut count) = self.by.entry(key) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.give_back(std::mem::take(&mut self.keys));
        taken.total -= 1;
        if taken.total == 0 {
            self.slots.over.notify_waiters();
        }
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
