//! Who calls; our own probe does, too.

use crate::known::door::Door;
use crate::known::snapshot::Known;
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::Server;
use portcullis_oauth::time::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;

/// The subject and client of the probe. No client that registers has such an id, and no token is made for it.
pub(crate) const PROBE: &str = "portcullis-probe";

/// An authenticated caller at a door, by one snapshot.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Arc<Principal>,
    /// Asked about again for as long as a stream is open; goes nowhere else.
    pub(crate) token: Arc<str>,
    pub(crate) door: Arc<Door>,
    pub(crate) known: Arc<Known>,
    pub(crate) now: Timestamp,
    /// Of the last news before it was believed.
    pub(crate) news: u64,
    /// Where the request comes from, if that is known.
    pub(crate) address: Option<IpAddr>,
}

impl Caller {
    /// By whom and by what their calls are counted.
    pub(crate) fn counted_as(&self) -> (&Principal, &Server) {
        (&self.principal, &self.door.server)
    }
}

/// Whether it is our own probe, which looks at several servers at once.
pub(crate) fn is_probe(subject: &Subject) -> bool {
    match subject {
        Subject::Agent(client) => client.as_str() == PROBE,
        Subject::External { .. } | Subject::User(_) => false,
    }
}
