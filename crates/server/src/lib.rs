//! What Portcullis serves: the authority, its pages, the jobs, and the wiring. No globals: two servers fit in one process.

pub mod app;
pub mod clock;
pub mod config;
pub mod data;
pub mod entropy;
pub mod feed;
pub mod fleet;
mod jobs;
pub mod keys;
mod layers;
pub mod listener;
pub mod passwords;
pub mod router;
pub mod telemetry;
pub mod throttle;
