//! What may be issued: the same ceilings as at call, asked before there is a token.

use super::ServerPolicy;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::time::Timestamp;

/// For whom scopes are asked, at issue.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// A machine.
    Agent(&'a ClientId),
    /// A person with these roles, through a client that is not an agent.
    User {
        /// Through which client.
        client: &'a ClientId,
        /// Names of roles.
        roles: &'a [String],
    },
}

/// Why no scope can be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueRefusal {
    /// The server takes tokens of other issuers only (PC-06).
    #[error("the server takes no tokens of this issuer")]
    NotOurs,
    /// The ceiling holds nothing of what was asked, or nothing at all.
    #[error("none of these scopes may be had")]
    NothingLeft,
    /// The server does not declare one of the scopes.
    #[error("a scope is not declared by the server")]
    Undeclared,
}

impl ServerPolicy {
    /// The effective scope at issue (PC-21, PC-1A): asked, or the defaults; all declared; cut to the ceiling; not empty.
    /// `offline_access` is accepted and means nothing here.
    pub fn issue(
        &self,
        caller: Asker<'_>,
        asked: Option<&ScopeSet>,
        now: Timestamp,
    ) -> Result<ScopeSet, IssueRefusal> {
        if !self.server.issuers.own {
            return Err(IssueRefusal::NotOurs);
        }
        let ceiling = match caller {
            Asker::Agent(client) => self.agent_ceiling(client, now),
            Asker::User { client, roles } => self.user_ceiling(client, roles),
        };
        let means_something = |scope: &&Scope| scope.as_str() != "offline_access";
        let named: ScopeSet =
            asked.map(|asked| asked.iter().filter(means_something).collect()).unwrap_or_default();
        let named = if named.is_empty() { &self.server.default_scopes } else { &named };
        let wanted = self.exact_bits(named).ok_or(IssueRefusal::Undeclared)?;
        match wanted & ceiling {
            0 => Err(IssueRefusal::NothingLeft),
            granted => Ok(self.names(granted)),
        }
    }
}
