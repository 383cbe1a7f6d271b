//! People's connections to third-party MCP servers, whose OAuth client we are (PC-05, product 5.6).
//!
//! The protocol is spoken by the MCP SDK: discovery, registration, PKCE, `resource`, `iss`, refresh. Ours is what it stands on:
//! where it may go (`fetch`), what it may be told (`party`), what is kept of it and how (`sealed`), that a sign-in counts once
//! and in one browser (`begin`, `finish`), that tokens are renewed by one node at a time (`keeper`), and that an end is told
//! (`revoke`).

pub(crate) mod begin;
pub(crate) mod finish;
pub(crate) mod keeper;
mod party;
pub(crate) mod revoke;
pub(crate) mod sealed;
pub(crate) mod talk;

pub(crate) use keeper::Keeper;
pub(crate) use party::Party;

use crate::app::App;
use crate::fault::Fault;

/// The path of our metadata document as a client (CIMD).
pub(crate) const DOCUMENT: &str = "/connect/client.json";

/// The path to which third parties send browsers back.
pub(crate) const CALLBACK: &str = "/connect/callback";

/// Why a person cannot be connected. What exactly was wrong goes to the log: for operators, who can mend it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotConnected {
    /// Ours.
    #[error("fault of ours")]
    Fault(#[from] Fault),
    /// What they publish or answer cannot be used.
    #[error("the third party: {0}")]
    Unusable(String),
    /// Their answer is not for the question that we asked, or they do not take what they gave.
    #[error("the third party did not give a token: {0}")]
    Refused(String),
}

impl From<portcullis_store::Error> for NotConnected {
    fn from(error: portcullis_store::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// Tells the issuers of connections that ended, and whose time it is; how many are done with.
pub async fn tell_issuers(app: &App) -> u32 {
    revoke::tell(app).await.unwrap_or_else(|fault| {
        fault.log();
        0
    })
}
