//! What one server is asked for at most, beside what holds for all (PC-53).

use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Bounds of one server behind the gateway; where nothing is said, only those of the deployment hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerLimits {
    /// Calls in a minute, of all callers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_minute: Option<NonZeroU32>,
    /// Calls under way at once, of all callers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_at_once: Option<NonZeroU32>,
    /// The longest body of a call in bytes; the deployment's holds, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<NonZeroU32>,
    /// Seconds from the end of a call to the first byte of the answer, instead of the deployment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_timeout: Option<NonZeroU32>,
}

impl ServerLimits {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
