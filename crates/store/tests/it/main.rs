//! The store through its public face, on the engine that this run is about.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod closures;
mod ends;
mod feed;
mod gateways;
mod kill;
mod lost_commit;
mod once;
mod opening;
mod pins;
mod purge;
mod refresh;
mod revoke;
mod searches;
mod taking;
mod upstream_connections;
mod values;
mod world;
