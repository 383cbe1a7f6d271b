//! Configuration, checked: every value here can be used as it is. [`raw`] is the file as written.

mod check;
pub mod environment;
pub mod raw;
pub mod reference;

pub use portcullis_domain::document::Problem;

use crate::listener::forwarded::TrustedProxies;
use crate::telemetry::LogFormat;
use portcullis_gateway::{AtOnce, CallRates, Program};
use portcullis_oauth::issuer::Issuer;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that is read when none is named and it is there.
pub const DEFAULT_FILE: &str = "portcullis.toml";

/// The data folder when none is named.
pub const DEFAULT_DATA: &str = "portcullis-data";

/// Everything that a deployment decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// `public_url`: who signs, and below which address everything lies.
    pub issuer: Issuer,
    /// Where connections are accepted.
    pub listen: SocketAddr,
    /// Certificate and key, where https is served without a proxy in front.
    pub tls: Option<TlsFiles>,
    /// Where health and metrics are served.
    pub ops: Ops,
    /// Whose word about a client's address is believed.
    pub proxies: TrustedProxies,
    /// Web origins, besides our own, whose pages may call servers.
    pub allowed_origins: Vec<String>,
    /// How logs are written.
    pub log: Log,
    /// Where traces and logs go besides.
    pub otlp: Option<Otlp>,
    /// The most that the record of calls may hold on this machine's disk.
    pub spool_bytes: u64,
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
    /// How often the tools of each server are looked at (PC-33); `None` is never.
    pub survey: Option<Duration>,
    /// Programs that may be upstreams on this machine.
    pub commands: BTreeMap<String, Program>,
    /// Bounds.
    pub limits: Limits,
    /// How old the newest news may be before every call is refused.
    pub max_staleness: Duration,
    /// What of the whole this process is.
    pub role: Role,
    /// `serve --demo`
    pub demo: bool,
    /// Switches that lower the guard; said at every start.
    pub warnings: Vec<&'static str>,
}

/// `serve --role`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Authority, control room and gateway.
    #[default]
    All,
    /// Authority and control room; calls go to gateways that run alone.
    Control,
    /// A gateway that runs alone, of the deployment with this issuer. It uses neither database nor master key.
    Gateway(Issuer),
}

/// `listen.tls`: read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `listen.ops`: where health and metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    /// Where the operator says.
    At(SocketAddr),
    /// Nowhere.
    Off,
    /// Where nobody said otherwise; if that is taken, nowhere.
    Usual(SocketAddr),
}

/// `[telemetry]`: logs. What the command line and `RUST_LOG` say wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: Option<LogFormat>,
    /// What is logged.
    pub level: Option<String>,
}

/// `telemetry.otlp`: a collector that takes OTLP over http.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// Where, without `/v1/traces` and a slash at the end.
    pub to: String,
    /// Sent with each delivery; the values are secrets.
    pub headers: BTreeMap<String, SecretSource>,
    /// `service.name`
    pub service_name: String,
    /// How many of the traces that begin here are told, from 0 to 1.
    pub sample_ratio: f64,
}

/// Where a secret is, which no configuration holds itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In the environment, under this name.
    Env(String),
    /// In this file.
    File(PathBuf),
}

impl fmt::Display for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(formatter, "env:{name}"),
            Self::File(path) => write!(formatter, "file:{}", path.display()),
        }
    }
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

    /// How long a revocation is remembered: until no access token made before it can be taken any more.
    pub fn revocation_memory(&self) -> Duration {
        Self::MAX_ACCESS + self.leeway
    }
}

impl Default for Tokens {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self {
            access: Duration::from_mins(15),
            code: Duration::from_mins(1),
            refresh_idle: days(30),
            refresh_max: days(90),
            refresh_grace: Duration::from_secs(30),
            leeway: Duration::from_secs(30),
            session_max: days(1),
            sign_in: Duration::from_hours(12),
        }
    }
}

/// `[registration]`: who may become a client, of us and we of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// RFC 7591, open to strangers. What they may reach is policy (`[self_registered]`), nothing by default.
    pub dynamic: bool,
    /// Hosts that other people's documents may send us to although their addresses are private, in lower case.
    pub internal_hosts: BTreeSet<String>,
    /// A file of certificates that are believed besides the machine's own.
    pub extra_ca: Option<PathBuf>,
}

/// `[limits]`: bounds of what is sent and of what runs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request body, for tool calls; forms of the authority have a smaller bound of their own.
    pub body: usize,
    /// How many connections at once.
    pub connections: usize,
    /// Calls under way at once, and streams.
    pub calls_at_once: AtOnce,
    /// Calls in a minute.
    pub calls_per_minute: CallRates,
    /// Tokens with a bad signature from one address, in a minute.
    pub bad_signatures_per_minute: NonZeroU32,
    /// From the end of a call to the first byte of its answer.
    pub upstream_timeout: Duration,
    /// The longest silence in a streamed answer.
    pub upstream_idle: Duration,
    /// The longest answer of an upstream that is read whole.
    pub answer: usize,
    /// Memory for everything that is long and read whole.
    pub memory: usize,
    /// Programs of stdio servers at once.
    pub programs: usize,
    /// How long a program without work stays.
    pub program_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let gateway = portcullis_gateway::Limits::default();
        Self {
            body: gateway.body_bytes,
            connections: 4096,
            calls_at_once: gateway.calls_at_once,
            calls_per_minute: gateway.calls_per_minute,
            bad_signatures_per_minute: gateway.bad_signatures_per_minute,
            upstream_timeout: gateway.upstream_timeout,
            upstream_idle: gateway.upstream_idle,
            answer: gateway.answer_bytes,
            memory: gateway.memory,
            programs: gateway.children,
            program_idle: gateway.child_idle,
        }
    }
}

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--config`
    pub file: Option<PathBuf>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--demo`
    pub demo: bool,
    /// `--role`
    pub role: Role,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Everything that is wrong, at once.
    #[error("{} is not right:\n{}", culprit(path, problems), listing(problems))]
    Wrong {
        /// Where.
        path: PathBuf,
        /// In the order of the lines.
        problems: Vec<Problem>,
    },
}

/// The file, unless what was typed is all that is wrong.
fn culprit(path: &Path, problems: &[Problem]) -> String {
    if problems.iter().all(|problem| problem.key.starts_with("--")) {
        "the command line".to_owned()
    } else if !path.exists() {
        format!("what holds without a configuration file (there is no {})", path.display())
    } else {
        format!("the configuration {}", path.display())
    }
}

fn listing(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    lines.join("\n")
}

impl Config {
    /// Reads the file, if there is one, and what the command line adds; checks everything.
    pub fn load(options: &Options) -> Result<Self, ConfigError> {
        let path = options.file.clone().unwrap_or_else(|| Path::new(DEFAULT_FILE).to_owned());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if options.file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        Self::parse(&text, options).map_err(|problems| ConfigError::Wrong { path, problems })
    }

    /// Checks a configuration text together with what the command line adds.
    ///
    /// # Errors
    /// Every problem that can be seen.
    pub fn parse(text: &str, options: &Options) -> Result<Self, Vec<Problem>> {
        check::config(text, options)
    }
}
