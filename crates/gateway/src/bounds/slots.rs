//! How much goes on at once: calls of one caller, by one client, to one server, from one address, and streams that one caller
//! listens to (PC-53, STRM-04); and how many there are in all, which a shutdown waits for.
//!
//! Callers are counted by subject, whatever the client: whoever can register clients has as many of them as they like.
//! Listening is counted apart, so that who listens to many servers can still call them.

use crate::settings::AtOnce;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::rate::Source;
use portcullis_domain::registry::Server;
use portcullis_oauth::client::ClientId;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Counts what goes on.
#[derive(Clone)]
pub(crate) struct Slots {
    most: AtOnce,
    hasher: RandomState,
    taken: Arc<Mutex<Taken>>,
    /// Told when nothing goes on any more.
    over: Arc<Notify>,
}

#[derive(Default)]
struct Taken {
    /// How many there are, beside the hash of what is counted: two that share one, too rare to matter, count together.
    by: HashTable<(u64, u32)>,
    total: usize,
}

/// One call or stream; over when dropped.
pub(crate) struct Slot {
    keys: [Option<u64>; 4],
    slots: Slots,
}

/// What is counted.
#[derive(Hash)]
enum Key<'a> {
    /// Those whose address is not known count together.
    Address(Option<Source>),
    Client(&'a ClientId),
    Listener(&'a Subject),
    Principal(&'a Subject),
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
        Self { most, hasher: RandomState::new(), taken: Arc::default(), over: Arc::default() }
    }

    /// Room for one more call.
    pub(crate) fn call(
        &self,
        (principal, server): (&Principal, &Server),
        from: Option<IpAddr>,
    ) -> Result<Slot, Full> {
        let of_server = [self.most.server, server.limits.calls_at_once].into_iter().flatten().min();
        let at_most =
            |most: Option<u32>, key: Key<'_>, full| most.map(|most| (self.hasher.hash_one(key), most, full));
        let AtOnce { client, address, .. } = self.most;
        self.take([
            at_most(Some(self.most.principal), Key::Principal(&principal.subject), Full::Principal),
            at_most(client.map(u32::from), Key::Client(&principal.client_id), Full::Client),
            at_most(of_server.map(u32::from), Key::Server(server.id), Full::Server),
            at_most(address.map(u32::from), Key::Address(from.map(Source::from)), Full::Address),
        ])
    }

    /// Room for one more stream that is listened to.
    pub(crate) fn stream(&self, subject: &Subject) -> Result<Slot, Full> {
        let listener = self.hasher.hash_one(Key::Listener(subject));
        self.take([Some((listener, self.most.streams, Full::Streams)), None, None, None])
    }

    /// All of them, or none.
    fn take(&self, wanted: [Option<(u64, u32, Full)>; 4]) -> Result<Slot, Full> {
        let mut taken = self.taken();
        let mut keys = [None; 4];
        for (place, (key, most, full)) in keys.iter_mut().zip(wanted.into_iter().flatten()) {
            if !taken.one_more(key, most) {
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
    fn one_more(&mut self, key: u64, most: u32) -> bool {
        match self.entry(key) {
            Entry::Occupied(known) if known.get().1 >= most => return false,
            Entry::Occupied(mut known) => known.get_mut().1 += 1,
            Entry::Vacant(_) if most == 0 => return false,
            Entry::Vacant(place) => drop(place.insert((key, 1))),
        }
        true
    }

    fn give_back(&mut self, keys: [Option<u64>; 4]) {
        for key in keys.into_iter().flatten() {
            if let Entry::Occupied(mut known) = self.entry(key) {
                known.get_mut().1 -= 1;
                if known.get().1 == 0 {
                    known.remove();
                }
            }
        }
    }

    fn entry(&mut self, key: u64) -> Entry<'_, (u64, u32)> {
        self.by.entry(key, |(known, _)| *known == key, |(known, _)| *known)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.give_back(self.keys);
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
