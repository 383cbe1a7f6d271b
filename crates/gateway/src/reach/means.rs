//! What every upstream is reached with.

use crate::reach::fetch::Fetcher;
use crate::settings::{Clock, Limits, Secrets};
use rustls::ClientConfig;
use std::sync::Arc;

/// What upstreams are reached with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) secrets: Secrets,
    pub(crate) fetcher: Arc<Fetcher>,
}
