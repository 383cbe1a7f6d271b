//! `App`: everything that a handler may ask for. One per server, behind one `Arc`; no globals.

use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::Entropy;
use crate::keys::Keys;
use crate::passwords::Passwords;
use crate::throttle::Throttle;
use arc_swap::ArcSwap;
use portcullis_domain::policy::Policy;
use portcullis_domain::snapshot::Snapshot;
use portcullis_gateway::Gateway;
use portcullis_store::Store;

/// Everything that a handler may ask for.
pub struct App {
    /// What we remember.
    pub store: Store,
    /// The present, and the only way to it.
    pub clock: Clock,
    /// Chance, and the only way to it.
    pub entropy: Entropy,
    /// What the deployment decided.
    pub config: Config,
    /// Swapped when a key is made or retired.
    pub keys: ArcSwap<Keys>,
    /// Registry and policy of today; swapped when they change. Load once per request.
    pub current: ArcSwap<Current>,
    /// The door in front of the servers.
    pub gateway: Gateway,
    /// Guessing is slowed down.
    pub throttle: Throttle,
    /// Slow hashes, a few at a time.
    pub passwords: Passwords,
}

/// Registry and policy of one moment, as written and as compiled.
#[derive(Debug)]
pub struct Current {
    /// Servers, agents, roles, self-registered access; its `number` is the position in the feed.
    pub snapshot: Snapshot,
    /// The same, ready to decide with.
    pub policy: Policy,
}
