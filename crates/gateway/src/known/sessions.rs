//! `Mcp-Session-Id` (2025 revisions): a session belongs to the principal that began it, whatever its token's bytes
//! (PC-01). The id is the upstream's and authenticates nobody.

use crate::message::owner::Owner;
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::Principal;
use portcullis_guard::bounded::BoundedMap;
use std::sync::{Mutex, PoisonError};

/// Longest session id that is taken from an upstream.
const MAX_ID: usize = 512;

/// Sessions that were begun here, as many as are remembered. A forgotten one is answered 404, and begun anew.
pub(crate) struct Sessions {
    owners: Mutex<BoundedMap<(ServerId, String), Owner>>,
}

/// The upstream gave an id that is no session id, or one that is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnusableSession;

impl Sessions {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { owners: Mutex::new(BoundedMap::new(capacity)) }
    }

    /// Ties a session that the upstream just began to its principal.
    pub(crate) fn begin(
        &self,
        server: ServerId,
        id: &str,
        principal: &Principal,
    ) -> Result<(), UnusableSession> {
        let legal = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if !legal {
            return Err(UnusableSession);
        }
        let owner = Owner::of(principal);
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        match owners.get(&(server, id.to_owned())) {
            Some(other) if *other != owner => Err(UnusableSession),
            _ => {
                owners.insert((server, id.to_owned()), owner);
                Ok(())
            }
        }
    }

    /// Whether the session is known and the principal's.
    pub(crate) fn belongs_to(&self, server: ServerId, id: &str, principal: &Principal) -> bool {
        self.owners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(server, id.to_owned()))
            .is_some_and(|owner| *owner == Owner::of(principal))
    }

    /// The session has ended.
    pub(crate) fn end(&self, server: ServerId, id: &str) {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).remove(&(server, id.to_owned()));
    }
}
