//! `portcullis.toml` exactly as written. The comments here become the reference page and the JSON Schema.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Configuration of a Portcullis deployment. Every key is optional.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// The address under which the world reaches this deployment; it is the issuer of all tokens. https, or http on
    /// loopback; no trailing slash. Default: derived from `listen.address`, which must be loopback then.
    pub public_url: Option<String>,
    /// Where connections are accepted.
    pub listen: Listen,
    /// What we remember.
    pub database: Database,
    /// The key that seals all other keys. It lives outside the database.
    pub master_key: MasterKey,
    /// Lives of what is issued. Durations are written as "30s", "15m", "12h" or "30d".
    pub tokens: Tokens,
    /// Who may become a client without being registered by you.
    pub registration: Registration,
    /// `[command.NAME]`: programs that may be a server's upstream over stdio. Nothing else is ever started.
    pub command: BTreeMap<String, Command>,
    /// Bounds on what strangers may send.
    pub limits: Limits,
    /// For tests: lets `tokens.access` be shorter than a minute. Warned about at every start.
    pub insecure_short_tokens: bool,
}

/// Where connections are accepted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// IP address and port. Default: "127.0.0.1:8080". Beyond loopback, `public_url` must be set (to https).
    pub address: Option<String>,
}

/// What we remember.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// "sqlite:PATH" or "postgres://…". Default: `portcullis.db` in the data folder.
    pub url: Option<String>,
}

/// The key that seals all other keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MasterKey {
    /// "file:PATH" (made at the first start, readable by its owner only) or "env:NAME". Default: `master.key` in the
    /// data folder.
    pub source: Option<String>,
}

/// Lives of what is issued.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// Access tokens, "1m" to "60m"; a server may have its own. Default: "15m".
    pub access: Option<String>,
    /// A refresh token that is not used. Default: "30d".
    pub refresh_idle: Option<String>,
    /// A refresh token and all its successors, used or not. Default: "90d".
    pub refresh_max: Option<String>,
    /// How long a refresh token that was just used gets the same answer again, for clients that lost it. "0s" is strict;
    /// at most "5m". Default: "30s".
    pub refresh_grace: Option<String>,
    /// How far clocks may differ, at most "60s". Default: "30s".
    pub leeway: Option<String>,
    /// How long a machine may stay in one session by renewing. Default: "24h".
    pub session_max: Option<String>,
}

/// Who may become a client without being registered by you.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Dynamic client registration (RFC 7591), open to strangers. What such clients may reach is the fleet file's
    /// `[self_registered]`: nothing, unless you say so. Default: false (true in the demo).
    pub dynamic: Option<bool>,
}

/// A program that may be a server's upstream over stdio.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments.
    pub run: Vec<String>,
    /// Its whole environment; nothing is inherited.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it runs. Default: the folder in which Portcullis runs.
    #[serde(default)]
    pub folder: Option<PathBuf>,
}

/// Bounds on what strangers may send.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest body of a tool call, in bytes. Default: 4194304 (4 MiB).
    pub body: Option<u64>,
    /// Connections at once. Default: 4096.
    pub connections: Option<u64>,
}
