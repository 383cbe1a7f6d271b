//! The server as its callers see it: the real router on a real database, with a clock that stands still.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

mod api;
mod app;
mod backup;
mod config;
mod connections;
mod console;
mod cors;
mod deliver;
mod draft;
mod feed;
mod fleet;
mod hostile;
mod login;
mod lone;
mod oauth;
mod ops;
mod own_names;
mod pins;
mod start;
mod telemetry;
mod tls;
mod transport;
mod upstream;
