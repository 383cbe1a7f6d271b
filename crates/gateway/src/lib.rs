//! What Portcullis forwards: the one door in front of every registered MCP server.
//!
//! A request becomes a call (`call`), its token a principal (`authenticate`), both a permit (`authorize`); the decision is
//! recorded (`spool`) before the original bytes go upstream (`forward`, `stdio`). What the gateway knows arrives as bytes
//! ([`Gateway::feed`]), so that it can run alone: it can name neither SQL nor the key that signs access tokens.

mod settings;
mod stdio;
mod upstream;

pub use settings::{Clock, Limits, Program, Settings, SpoolSettings};

use portcullis_oauth::jwt::SigningKey;
use std::time::Duration;

/// The gateway. Cheap to clone; clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool's folder cannot be written.
    #[error("the spool cannot be opened in {dir}")]
    Spool {
        /// Where.
        dir: String,
        /// Why.
        source: std::io::Error,
    },
    /// No TLS client can be built.
    #[error("no TLS client for upstreams")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why an update was not taken. The state is what it was.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The bytes are no update.
    #[error("not an update")]
    Malformed(#[source] serde_json::Error),
}

impl Gateway {
    /// A gateway that knows nothing yet and refuses everything until it is fed.
    pub fn new(settings: Settings, assertion_key: SigningKey) -> Result<Self, StartError> {
        let _ = (settings, assertion_key);
        Ok(Self {})
    }

    /// Takes one [`portcullis_domain::snapshot::Update`] as JSON bytes. A bad update never replaces a good state.
    pub fn feed(&self, bytes: &[u8]) -> Result<(), FeedError> {
        let _ = bytes;
        Ok(())
    }

    /// The routes: `/mcp/{name}` and the protected-resource metadata.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
    }

    /// Whether calls are served now: fed, and not longer ago than `max_staleness`.
    pub fn is_fresh(&self) -> bool {
        false
    }

    /// Ends open streams cleanly and the programs behind stdio upstreams, within `deadline`.
    pub async fn shutdown(&self, deadline: Duration) {
        let _ = deadline;
    }
}
