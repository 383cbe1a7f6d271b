//! What Portcullis serves: the authority, its pages, the jobs, and the wiring. No globals: two servers fit in one process.

pub mod app;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod keys;
pub mod passwords;
pub mod router;
pub mod throttle;
