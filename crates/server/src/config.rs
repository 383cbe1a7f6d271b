//! Configuration, checked: every value here can be used as it is. [`raw`] is the file as written.

use portcullis_gateway::Program;
use portcullis_oauth::issuer::Issuer;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a deployment decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// `public_url`: who signs, and below which address everything lies.
    pub issuer: Issuer,
    /// Where connections are accepted.
    pub listen: SocketAddr,
    /// `sqlite:PATH` or `postgres://…`
    pub database: String,
    /// The folder of this machine's own files: key, spool, lock.
    pub data: PathBuf,
    /// Where the key-encryption key is.
    pub master_key: MasterKeySource,
    /// Lives of what is issued.
    pub tokens: Tokens,
    /// Who may become a client.
    pub registration: Registration,
    /// Programs that may be upstreams on this machine.
    pub commands: BTreeMap<String, Program>,
    /// Bounds.
    pub limits: Limits,
    /// `serve --demo`
    pub demo: bool,
}

/// Where the key-encryption key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKeySource {
    /// In the environment, under this name.
    Env(String),
    /// In this file.
    File(PathBuf),
}

/// `[tokens]`: lives of what is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Access tokens, where the server does not say otherwise (PC-12).
    pub access: Duration,
    /// Authorization codes.
    pub code: Duration,
    /// A refresh token family that is not used.
    pub refresh_idle: Duration,
    /// A refresh token family in any case.
    pub refresh_max: Duration,
    /// How long the predecessor gets the same successor again (PC-13).
    pub refresh_grace: Duration,
    /// PC-03; at most a minute.
    pub leeway: Duration,
    /// How long a machine may stay in one session (PC-17).
    pub session_max: Duration,
    /// A signed-in browser.
    pub sign_in: Duration,
}

impl Tokens {
    /// The longest life of any access token: a server may say up to an hour (PC-12).
    pub const MAX_ACCESS: Duration = Duration::from_hours(1);
}

/// `[registration]`: who may become a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// RFC 7591, open to strangers. What they may reach is policy (`[self_registered]`), nothing by default.
    pub dynamic: bool,
}

/// `[limits]`: bounds of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request body, for tool calls; forms of the authority have a smaller bound of their own.
    pub body: usize,
    /// How many connections at once.
    pub connections: usize,
}
