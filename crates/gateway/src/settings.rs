//! What a gateway is told once, at its start.

use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::time::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The present moment. The one place that reads a clock is the program that runs the gateway.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a gateway needs besides snapshots and its assertion key.
#[derive(Clone)]
pub struct Settings {
    /// Whose tokens count; its origin is also the public origin of the gateway.
    pub issuer: Issuer,
    /// `iss` of our assertions: `ISSUER/assertions`.
    pub assertion_issuer: String,
    /// The machine's own `[command]` table: the only programs that may be upstreams.
    pub programs: BTreeMap<String, Program>,
    /// Sizes and times.
    pub limits: Limits,
    /// Web origins, besides the issuer's own, whose pages may call.
    pub allowed_origins: Vec<String>,
    /// How old the newest update may be before every call is refused.
    pub max_staleness: Duration,
    /// Where decisions are recorded.
    pub spool: SpoolSettings,
    /// The present.
    pub clock: Clock,
}

/// A program that may be a server's upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Program and arguments; never empty.
    pub run: Vec<String>,
    /// Its whole environment, besides what the gateway tells it about the caller.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub folder: Option<PathBuf>,
}

/// Bounds of one request, and of what is remembered.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest request body.
    pub body_bytes: usize,
    /// The deepest nesting of a request body.
    pub json_depth: usize,
    /// From the end of the request to the first byte of the upstream's answer.
    pub upstream_timeout: Duration,
    /// To read a request body.
    pub body_timeout: Duration,
    /// The longest JSON answer, list or event of an upstream: these are read whole.
    pub answer_bytes: usize,
    /// How many MCP sessions are remembered.
    pub sessions: usize,
    /// How many verified signatures are remembered.
    pub signatures: usize,
    /// How many calls of one principal may be under way at once, streams included.
    pub calls_per_principal: usize,
    /// How many programs may run at once.
    pub children: usize,
    /// How long a program without work stays.
    pub child_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 * 1024 * 1024,
            json_depth: 64,
            upstream_timeout: Duration::from_mins(1),
            body_timeout: Duration::from_secs(30),
            answer_bytes: 16 * 1024 * 1024,
            sessions: 100_000,
            signatures: 100_000,
            calls_per_principal: 256,
            children: 256,
            child_idle: Duration::from_mins(5),
        }
    }
}

/// The append-only record of decisions on this machine's disk.
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    /// A folder of its own.
    pub dir: PathBuf,
    /// The most that all segments together may hold; then calls are refused.
    pub max_bytes: u64,
}
