//! What Portcullis decides: ids, secrets and how they are sealed, the fleet file and what comes with us, what methods mean,
//! grants, policy, permits, audit events.
//!
//! Pure: no I/O, no async, no clock, no randomness of its own. Time and chance are arguments.

pub mod audit;
pub mod builtin;
pub mod condition;
pub mod document;
pub mod fleet;
pub mod grant;
pub mod id;
pub mod method;
pub mod pins;
pub mod policy;
pub mod principal;
pub mod rate;
pub mod refresh;
pub mod registry;
pub mod seal;
pub mod secret;
pub mod snapshot;
