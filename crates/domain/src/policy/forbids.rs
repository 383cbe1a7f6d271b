//! `[[forbid]]` within the decision (PC-24): compiled once for a snapshot, and kept only at the servers that it is about.
//!
//! One that names no tools is about scopes: while it holds they are out of use, at issue, at call, and in what the upstream is
//! told. One that names tools waits for the call.

use super::pattern::Patterns;
use super::{Asker, Bits, Operation, ServerPolicy, UnusableSnapshot};
use crate::condition::{Circumstances, Forbid};
use crate::principal::{Principal, Subject};
use crate::registry::Server;
use crate::snapshot::Snapshot;
use hashbrown::HashSet;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::ScopeSet;
use std::sync::Arc;

/// One of a snapshot.
#[derive(Debug)]
pub(super) struct CompiledForbid {
    forbid: Forbid,
    /// `None`: of whatever kind.
    agents: Option<HashSet<ClientId>>,
    /// `None`: whatever is done.
    tools: Option<Patterns>,
}

/// One that is about a server.
#[derive(Clone, Debug)]
pub(super) struct ForbidHere {
    what: Arc<CompiledForbid>,
    /// Scopes that are among the named ones or imply one; all bits where none is named.
    scopes: Bits,
    names_scopes: bool,
}

/// Whether conditions on arguments count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// They do; unknown ones forbid.
    Call,
    /// They wait for the call.
    Before,
}

/// Whom it may be about.
#[derive(Clone, Copy)]
pub(super) struct Who<'a> {
    agent: Option<&'a ClientId>,
    roles: &'a [String],
}

impl<'a> From<&'a Principal> for Who<'a> {
    fn from(principal: &'a Principal) -> Self {
        match &principal.subject {
            Subject::Agent(client) => Self { agent: Some(client), roles: &[] },
            // None of our agents, and in none of our roles.
            Subject::External { .. } => Self { agent: None, roles: &[] },
            Subject::User(_) => Self { agent: None, roles: &principal.roles },
        }
    }
}

impl<'a> From<Asker<'a>> for Who<'a> {
    fn from(asker: Asker<'a>) -> Self {
        match asker {
            Asker::Agent(client) => Self { agent: Some(client), roles: &[] },
            Asker::User { client: _, roles } => Self { agent: None, roles },
        }
    }
}

/// Nothing of what was asked may be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("forbidden by {by:?}")]
pub struct Forbidden {
    /// The name of the `[[forbid]]`.
    pub by: String,
}

/// All of a snapshot.
pub(super) fn compile(snapshot: &Snapshot) -> Result<Vec<Arc<CompiledForbid>>, UnusableSnapshot> {
    let agents_of = |forbid: &Forbid| {
        let agents = snapshot.agents.iter().filter(|agent| {
            (forbid.agents.is_empty() || forbid.agents.contains(&agent.name))
                && (forbid.agent_labels.is_empty()
                    || forbid.agent_labels.iter().any(|label| agent.labels.contains(label)))
        });
        selects_agents(forbid).then(|| agents.map(|agent| agent.client_id.clone()).collect())
    };
    let compiled = snapshot.forbids.iter().map(|forbid| {
        let (agents, tools) = (agents_of(forbid), tools_of(forbid)?);
        Ok(Arc::new(CompiledForbid { forbid: forbid.clone(), agents, tools }))
    });
    compiled.collect()
}

/// Whether it is about some agents and not about others.
pub(super) fn selects_agents(forbid: &Forbid) -> bool {
    !forbid.agents.is_empty() || !forbid.agent_labels.is_empty()
}

fn tools_of(forbid: &Forbid) -> Result<Option<Patterns>, UnusableSnapshot> {
    let unusable = || UnusableSnapshot::Forbid(forbid.name.clone());
    if forbid.tools.is_empty() {
        // Only calls of tools have arguments that can be looked at.
        return if forbid.when.asks_for_arguments() { Err(unusable()) } else { Ok(None) };
    }
    Patterns::new(&forbid.tools).map(Some).map_err(|_| unusable())
}

/// Whether it is about the server at all, by name and labels.
pub fn is_about<Id>(forbid: &Forbid, server: &Server<Id>) -> bool {
    (forbid.servers.is_empty() || forbid.servers.contains(&server.name))
        && (forbid.labels.is_empty() || forbid.labels.iter().any(|label| server.labels.contains(label)))
        && (forbid.scopes.is_empty() || forbid.scopes.iter().any(|scope| server.scopes.contains_key(scope)))
}

impl ForbidHere {
    /// Those of a snapshot that are about this server.
    pub(super) fn all(policy: &ServerPolicy, forbids: &[Arc<CompiledForbid>]) -> Vec<Self> {
        let about = forbids.iter().filter(|what| is_about(&what.forbid, &policy.server));
        about.map(|what| Self::on(policy, Arc::clone(what))).collect()
    }

    fn on(policy: &ServerPolicy, what: Arc<CompiledForbid>) -> Self {
        let named = policy.closures.iter().enumerate().filter(|(_, closure)| {
            let scopes = what.forbid.scopes.iter().filter_map(|scope| policy.index(scope));
            scopes.fold(0, |bits, at| bits | 1 << at) & **closure != 0
        });
        let scopes = named.fold(0, |bits, (at, _)| bits | 1 << at);
        let names_scopes = !what.forbid.scopes.is_empty();
        Self { scopes: if names_scopes { scopes } else { Bits::MAX }, names_scopes, what }
    }

    fn holds_for(&self, who: Who<'_>, circumstances: &Circumstances<'_>, moment: Moment) -> bool {
        let CompiledForbid { forbid, agents, .. } = &*self.what;
        let concerns =
            agents.as_ref().is_none_or(|agents| who.agent.is_some_and(|agent| agents.contains(agent)))
                && (forbid.roles.is_empty()
                    || who.roles.iter().any(|role| forbid.roles.iter().any(|named| named.as_str() == role)));
        let waits = moment == Moment::Before && forbid.when.asks_for_arguments();
        concerns && !waits && forbid.when.holds(circumstances)
    }

    fn is_about(&self, operation: Operation<'_>, needs: Bits) -> bool {
        let tool_is_named = match (&self.what.tools, operation) {
            (None, _) => true,
            (Some(tools), Operation::Tool(name)) => tools.is_match(name),
            (
                Some(_),
                Operation::Connect
                | Operation::Method(_)
                | Operation::Prompt(_)
                | Operation::Resource(_)
                | Operation::Unknown,
            ) => false,
        };
        tool_is_named && (!self.names_scopes || needs & self.scopes != 0)
    }
}

impl ServerPolicy {
    /// The first that forbids the operation, which needs these scopes.
    pub(super) fn forbidden(
        &self,
        who: Who<'_>,
        (operation, needs): (Operation<'_>, Bits),
        circumstances: &Circumstances<'_>,
    ) -> Option<Forbidden> {
        let first = self
            .forbids
            .iter()
            .find(|here| here.is_about(operation, needs) && here.holds_for(who, circumstances, Moment::Call));
        first.map(|here| Forbidden { by: here.what.forbid.name.clone() })
    }

    /// Those that hold before a call, whatever its arguments will be.
    pub(super) fn holding(&self, who: Who<'_>, circumstances: &Circumstances<'_>) -> Vec<usize> {
        let holds = |here: &ForbidHere| here.holds_for(who, circumstances, Moment::Before);
        self.forbids.iter().enumerate().filter(|(_, here)| holds(here)).map(|(at, _)| at).collect()
    }

    /// The first of these that is about the operation, which needs these scopes.
    pub(super) fn forbidden_by(
        &self,
        holding: &[usize],
        (operation, needs): (Operation<'_>, Bits),
    ) -> Option<Forbidden> {
        let mut holding = holding.iter().filter_map(|at| self.forbids.get(*at));
        let first = holding.find(|here| here.is_about(operation, needs));
        first.map(|here| Forbidden { by: here.what.forbid.name.clone() })
    }

    /// Scopes that are out of use now, whatever is done with them.
    pub(super) fn suspended(&self, who: Who<'_>, circumstances: &Circumstances<'_>) -> Bits {
        self.suspending(who, circumstances).fold(0, |bits, here| bits | here.scopes)
    }

    /// The first that takes one of these scopes out of use.
    pub(super) fn suspended_by(
        &self,
        who: Who<'_>,
        circumstances: &Circumstances<'_>,
        scopes: Bits,
    ) -> Option<Forbidden> {
        let first = self.suspending(who, circumstances).find(|here| here.scopes & scopes != 0);
        first.map(|here| Forbidden { by: here.what.forbid.name.clone() })
    }

    fn suspending<'a>(
        &'a self,
        who: Who<'a>,
        circumstances: &'a Circumstances<'_>,
    ) -> impl Iterator<Item = &'a ForbidHere> {
        let of_scopes = self.forbids.iter().filter(|here| here.what.tools.is_none());
        of_scopes.filter(move |here| here.holds_for(who, circumstances, Moment::Call))
    }

    /// What of these scopes may be issued now. A scope that may not gives way to what it implies and may.
    pub fn in_force(
        &self,
        asker: Asker<'_>,
        scopes: &ScopeSet,
        circumstances: &Circumstances<'_>,
    ) -> Result<ScopeSet, Forbidden> {
        let who = Who::from(asker);
        let suspended = self.suspended(who, circumstances);
        if suspended == 0 {
            return Ok(scopes.clone());
        }
        let named = scopes.iter().filter_map(|scope| self.index(scope)).fold(0, |bits, at| bits | 1 << at);
        let kept = named & !suspended;
        let instead = self.closed_bits(&self.names(named & suspended)) & !suspended;
        match kept | instead {
            0 => match self.suspended_by(who, circumstances, named) {
                Some(forbidden) => Err(forbidden),
                None => Ok(scopes.clone()),
            },
            left => Ok(self.names(left)),
        }
    }

    /// Whether a condition looks at the arguments of some call.
    pub fn asks_for_arguments(&self) -> bool {
        self.forbids.iter().any(|here| here.what.forbid.when.asks_for_arguments())
    }

    /// What may forbid the operation to `principal` by its arguments, if nothing else does.
    pub fn waiting_for_arguments(
        &self,
        principal: &Principal,
        operation: Operation<'_>,
        circumstances: &Circumstances<'_>,
    ) -> Vec<&Forbid> {
        let needs = self.needs_of(operation).map_or(Bits::MAX, |(_, needs, _)| needs);
        let waiting = self.forbids.iter().filter(|here| here.what.forbid.when.asks_for_arguments());
        let about = waiting.filter(|here| {
            here.is_about(operation, needs) && here.holds_for(principal.into(), circumstances, Moment::Call)
        });
        about.map(|here| &here.what.forbid).collect()
    }
}
