//! For callers of MCP servers that sit behind OAuth: find out who issues tokens for a server, get one, call a tool.
//!
//! ```no_run
//! # async fn example() -> Result<(), portcullis_client::Error> {
//! use portcullis_client::{Client, MachineCredentials, TokenWish, ToolCall};
//!
//! let client = Client::new()?;
//! let server = "https://mcp.example.com/mcp/notes".parse().expect("a canonical URI");
//! let credentials = MachineCredentials::new("my-agent", std::env::var("AGENT_SECRET").unwrap_or_default());
//! let token = client.machine_token(&server, &credentials, &TokenWish::default()).await?;
//! let outcome = client.call(&server, &token.access_token, &ToolCall::new("list_notes")).await?;
//! println!("{}", outcome.text());
//! # Ok(())
//! # }
//! ```
//!
//! The crate keeps no global state and relies on none: it brings its own TLS configuration. It follows no redirects,
//! bounds every answer in size and time, and speaks https only, except between parties that are all on loopback.
#![warn(missing_docs)]

mod admin;
mod call;
mod describe;
mod discover;
mod error;
mod http;
mod machine;
mod secret;
mod text;

use std::time::Duration;

pub use self::admin::{ApiAnswer, ApiRequest};
pub use self::call::{Outcome, ToolCall};
pub use self::describe::{DescribedTool, Description, Header, describe, describe_program};
pub use self::discover::{Authority, Discovered};
pub use self::error::{Error, Refusal, TokenRefusal};
pub use self::machine::{MachineCredentials, Token, TokenWish};
pub use self::secret::AccessToken;
pub use portcullis_oauth::issuer::{InvalidIssuer, Issuer};
pub use portcullis_oauth::resource::{InvalidResource, ResourceUri};
pub use portcullis_oauth::scope::{InvalidScope, Scope, ScopeSet};

use self::http::Http;

/// How long a tool may take, unless [`Client::with_patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// The door to everything here. Cheap to clone; connections are shared between clones.
#[derive(Clone)]
pub struct Client {
    http: Http,
    patience: Duration,
}

impl Client {
    /// A client that trusts the certificates that this machine trusts.
    ///
    /// # Errors
    /// [`Error::Tls`] when the machine's certificates cannot be read.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { http: Http::new()?, patience: PATIENCE })
    }

    /// How long one tool call may take, from the first byte to the last (two minutes at first).
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}
