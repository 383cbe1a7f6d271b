//! What a gateway is told once, at its start, part by part: [`Settings`](crate::Settings) holds them.

use portcullis_domain::registry::SecretPlace;
use portcullis_oauth::time::Timestamp;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The present moment. The one place that reads a clock is the program that runs the gateway.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Reads the secret at a place of this machine; `None` when it cannot be read.
pub type Secrets = Arc<dyn Fn(&SecretPlace) -> Option<String> + Send + Sync>;

/// A program that may be a server's upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Program and arguments; never empty.
    pub run: Vec<String>,
    /// Its whole environment, besides what the gateway tells it about the caller.
    pub env: BTreeMap<String, String>,
    /// More of its environment: secrets, read from their places whenever the program starts.
    pub env_from: BTreeMap<String, SecretPlace>,
    /// Where it runs.
    pub folder: Option<PathBuf>,
}

/// How many messages may come in a minute, all of them at once if need be (PC-53); `None` is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRates {
    /// Of one person or agent, whatever the client.
    pub principal: Option<NonZeroU32>,
    /// By one client, whoever uses it.
    pub client: Option<NonZeroU32>,
    /// To one server.
    pub server: Option<NonZeroU32>,
    /// From one address (IPv6: one /64), strangers included.
    pub address: Option<NonZeroU32>,
}

impl Default for CallRates {
    /// A hundred in a second of one caller, all day long: more than an agent that means well sends. How many people use one
    /// client, one server or one address, only the operator knows.
    fn default() -> Self {
        Self { principal: NonZeroU32::new(6_000), client: None, server: None, address: None }
    }
}

/// How many calls may be under way at once (PC-53); `None` is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtOnce {
    /// Of one person or agent, whatever the client.
    pub principal: u32,
    /// By one client, whoever uses it.
    pub client: Option<NonZeroU32>,
    /// To one server.
    pub server: Option<NonZeroU32>,
    /// From one address (IPv6: one /64).
    pub address: Option<NonZeroU32>,
    /// Streams that one person or agent listens to; they are counted apart from calls.
    pub streams: u32,
}

impl Default for AtOnce {
    /// More than one that means well needs. How many people use one client, one server or one address, only the operator knows.
    fn default() -> Self {
        Self { principal: 256, client: None, server: None, address: None, streams: 64 }
    }
}

/// A tenth of a second of one core at once, then two thousandths of it.
const BAD_SIGNATURES: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");

/// How issuers that are not ours are asked (PC-06).
#[derive(Clone, Debug)]
pub struct IssuerTimes {
    /// The longest that a call waits for one.
    pub patience: Duration,
    /// Keys are fetched anew when they are this old.
    pub refresh: Duration,
    /// And not oftener than this, whatever keys tokens name.
    pub pause: Duration,
    /// The same while there are none, or no answer.
    pub pause_without_keys: Duration,
    /// Keys that could not be fetched anew count no longer than this.
    pub keep: Duration,
    /// How long it is believed that a token is good.
    pub positive: Duration,
    /// How long it is believed that a token is not.
    pub negative: Duration,
}

impl Default for IssuerTimes {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            refresh: Duration::from_mins(10),
            pause: Duration::from_secs(30),
            pause_without_keys: Duration::from_secs(2),
            keep: Duration::from_hours(24),
            positive: Duration::from_secs(30),
            negative: Duration::from_secs(10),
        }
    }
}

/// Bounds of one request, and of what is remembered.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest request body.
    pub body_bytes: usize,
    /// The deepest nesting of a request body.
    pub json_depth: usize,
    /// To connect to an upstream: its name, and the handshake, too.
    pub connect_timeout: Duration,
    /// From the end of the request to the first byte of the upstream's answer, and from there to the end of one that is JSON.
    pub upstream_timeout: Duration,
    /// The longest silence in a streamed answer of an upstream to a request.
    pub upstream_idle: Duration,
    /// To read a request body.
    pub body_timeout: Duration,
    /// The longest JSON answer, list or event of an upstream: these are read whole.
    pub answer_bytes: usize,
    /// Memory for all bodies, answers and events that are long and read whole; a quarter of it is for one caller.
    pub memory: usize,
    /// How many MCP sessions are remembered.
    pub sessions: usize,
    /// How many verified signatures are remembered.
    pub signatures: usize,
    /// How many messages may come in a minute.
    pub calls_per_minute: CallRates,
    /// How many tokens with a bad signature one address may send in a minute, before those of it that were never seen are
    /// refused unchecked.
    pub bad_signatures_per_minute: NonZeroU32,
    /// How many calls may be under way at once.
    pub calls_at_once: AtOnce,
    /// How issuers that are not ours are asked.
    pub issuers: IssuerTimes,
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
            connect_timeout: Duration::from_secs(5),
            upstream_timeout: Duration::from_mins(1),
            upstream_idle: Duration::from_mins(5),
            body_timeout: Duration::from_secs(30),
            answer_bytes: 16 * 1024 * 1024,
            memory: 256 * 1024 * 1024,
            sessions: 100_000,
            signatures: 100_000,
            calls_per_minute: CallRates::default(),
            bad_signatures_per_minute: BAD_SIGNATURES,
            calls_at_once: AtOnce::default(),
            issuers: IssuerTimes::default(),
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
