//! The record of calls, read back (PC-50): what the gateway of this machine decided, and what gateways that run alone brought
//! here, newest first, from the segments of their spools. Closed segments and the open one are read alike, in pieces; a line that was cut off is counted, not believed.

mod backward;
mod search;
mod sources;

pub use backward::{Newest, Read};
pub(crate) use search::each;
pub use search::{Filter, Found, search};
pub use sources::{Cursor, Source, Sources};

use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The folder of the record, in the data folder.
pub fn folder(data: &Path) -> PathBuf {
    data.join("spool")
}

/// One line.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind")]
pub enum Line {
    /// What was decided.
    #[serde(rename = "call.decided")]
    Decided(Box<Call>),
    /// How it ended.
    #[serde(rename = "call.ended")]
    Ended(Ended),
}

/// What was decided about one call. The names of the fields are documented for those who read the files themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// Seconds since 1970.
    #[schemars(with = "i64")]
    pub at: Timestamp,
    /// Joins decision and outcome.
    pub call: String,
    /// The gateway that runs alone and decided it; absent for the one of this machine. No line says it: it is known by whom
    /// the line was brought.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// `allowed` or `refused`.
    pub outcome: String,
    /// Why it was refused, a stable word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For whom: the id of a user, or of an agent's client.
    pub subject: String,
    /// Through which client.
    pub client: String,
    /// The agent, by the name that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The user's roles, as the token named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// In which session.
    pub session: String,
    /// By which token.
    pub token: String,
    /// The server's id.
    pub server: String,
    /// The server, by the name that it had.
    pub server_name: String,
    /// Of the message, or the verb of HTTP.
    pub method: String,
    /// Name or URI, cut after 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// `tool`, `prompt`, `resource`; `resources` when there were several, of which `object` is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_kind: Option<String>,
    /// The first rules that allowed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<serde_json::Value>,
    /// What the token carried.
    #[serde(default)]
    #[schemars(with = "String")]
    pub granted: ScopeSet,
    /// What the call needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub needed: Option<ScopeSet>,
    /// The number of the snapshot that it was decided by.
    #[serde(default)]
    pub policy: u64,
    /// Where it came from, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The `[[forbid]]` that refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What would have refused it if the server were not observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<serde_json::Value>,
    /// How it ended; absent for what was refused, is under way, or was ended by force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// How an allowed call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// Of the decision.
    #[serde(skip_serializing)]
    pub call: String,
    /// Seconds since 1970.
    #[schemars(with = "i64")]
    pub at: Timestamp,
    /// The HTTP status of the answer.
    pub status: u16,
    /// `answered`, or why there was no answer.
    pub how: String,
    /// Until the answer began.
    #[serde(default)]
    pub milliseconds: u64,
    /// What came after that, if the answer was a stream; `at` is when it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Streamed>,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Streamed {
    /// `complete`, `caller_left`, `token_expired`, `revoked`, `not_allowed`, `going_down`, `issuer_away`, `stale`, or what the
    /// upstream did: `upstream_broke_off`, `upstream_never_answered`.
    pub how: String,
    /// Since it began.
    #[serde(default)]
    pub milliseconds: u64,
    /// Passed on.
    #[serde(default)]
    pub events: u64,
    /// Passed on.
    #[serde(default)]
    pub bytes: u64,
    /// Events of the upstream that were not the caller's to hear.
    #[serde(default)]
    pub left_out: u64,
}

impl Call {
    /// The tool, if it called one.
    pub fn tool(&self) -> Option<&str> {
        self.object.as_deref().filter(|_| self.object_kind.as_deref() == Some("tool"))
    }

    /// Whether it was refused.
    pub fn is_refused(&self) -> bool {
        self.outcome == "refused"
    }
}

/// Where a line begins. Later lines are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Byte.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.segment, self.offset)
    }
}

/// Not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (segment, offset) = text.split_once('-').ok_or(InvalidPosition)?;
        let number = |text: &str| text.parse().map_err(|_| InvalidPosition);
        Ok(Self { segment: number(segment)?, offset: number(offset)? })
    }
}
