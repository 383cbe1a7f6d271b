//! What is decided about: operations, and the outcomes of a decision.

use super::{Forbidden, Unclear};
use crate::registry::Risk;
use portcullis_oauth::scope::ScopeSet;
use serde::{Deserialize, Serialize};

/// What a request wants to do on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// What belongs to being connected at all: initialize, discovery, ping, lists (filtered), notifications.
    Connect,
    /// A method that MCP itself has no meaning for: a rule can name it.
    Method(&'a str),
    /// Get a prompt.
    Prompt(&'a str),
    /// Read a resource, or anything else that names one: by its URI, or by the template of its URI.
    Resource(&'a str),
    /// Call a tool.
    Tool(&'a str),
    /// A method that has no meaning here, and that no rule can give one.
    Unknown,
}

/// The outcome of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Permit(Permit),
    /// Not with this token; asking for these scopes can help.
    StepUp(Shortfall),
    /// Not by asking again.
    Never(Never),
}

/// This call is allowed, by this rule. Only [`ServerPolicy`](super::ServerPolicy) makes one, and forwarding needs one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    pub(super) rule: RuleRef,
    pub(super) used: ScopeSet,
    pub(super) risk: Risk,
    pub(super) observed: Option<Box<Refused>>,
}

impl Permit {
    /// By which rule.
    pub fn rule(&self) -> RuleRef {
        self.rule
    }

    /// The scopes that the operation needed.
    pub fn used(&self) -> &ScopeSet {
        &self.used
    }

    /// How much harm the call can do.
    pub fn risk(&self) -> Risk {
        self.risk
    }

    /// What would have been decided if the server were not observed (PC-36).
    pub fn observed(&self) -> Option<&Refused> {
        self.observed.as_deref()
    }
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleRef {
    /// Being connected needs any scope of the server at all.
    Connect,
    /// The nth `[[server.rule]]`, counted from 1.
    Rule(usize),
    /// None is about it: it goes through because the server is observed.
    None,
}

/// What scopes and rules say against an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Asking again cannot help.
    Never(Never),
    /// Asking for these scopes can help.
    StepUp(Shortfall),
}

/// Scopes that an operation needs and the token lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// All scopes of the operation, not only the missing ones (PC-23).
    pub needs: ScopeSet,
    /// Those that the token lacks.
    pub missing: ScopeSet,
}

/// Why asking again cannot help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Never {
    /// The operation needs scopes above the ceiling of the agent.
    BeyondAgent(Shortfall),
    /// The operation needs scopes above what tokens of the issuer may have here (PC-06).
    BeyondIssuer(Shortfall),
    /// The operation needs scopes above what the client or the user's roles may have.
    BeyondUser(Shortfall),
    /// Conditions that do not depend on scopes (PC-24).
    Forbidden(Forbidden),
    /// Nothing on this server is open to the caller any more.
    NothingLeft,
    /// No rule allows it.
    NoRule,
    /// The URI of the resource is not the same thing to all who may read it, so no rule is asked.
    Unclear(Unclear),
}
