//! What Portcullis serves: the authority, its pages, the jobs, and the wiring. No globals: two servers fit in one process.

pub mod api;
pub mod app;
pub mod backup;
pub mod calls;
pub mod clock;
pub mod config;
pub mod connections;
mod console;
pub mod data;
pub mod demo;
mod deployment;
mod descriptors;
pub mod doctor;
pub mod draft;
pub mod entropy;
mod extract;
mod fault;
pub mod feed;
mod fetch;
pub mod fleet;
mod flow;
pub mod front;
pub mod gateways;
mod issuer;
mod jobs;
pub mod keys;
mod layers;
pub mod listener;
mod login;
pub mod lone;
mod once;
pub mod ops;
mod own_names;
mod pages;
pub mod passwords;
pub mod pins;
pub mod router;
pub mod serve;
pub mod setup;
mod simulate;
mod suggest;
pub mod telemetry;
pub mod throttle;

/// Chooses the cryptographic backends of this process. Every entry point calls it first; again is harmless.
pub fn install_crypto() {
    portcullis_oauth::jwt::install_crypto();
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
