//! From a snapshot to bits: what a server's policy is made of.

use super::forbids::{CompiledForbid, ForbidHere};
use super::{AgentCeiling, Bits, CompiledRule, MAX_SCOPES, ServerPolicy, UnusableSnapshot, glob};
use crate::registry::{Access, Server};
use crate::snapshot::Snapshot;
use globset::{GlobSet, GlobSetBuilder};
use portcullis_oauth::scope::{Scope, ScopeSet};
use std::collections::HashMap;
use std::sync::Arc;

impl ServerPolicy {
    pub(super) fn compile(
        server: &Server,
        snapshot: &Snapshot,
        forbids: &[Arc<CompiledForbid>],
    ) -> Result<Self, UnusableSnapshot> {
        let mut policy = Self::without_people(server)?;
        let ceiling = |access: &Access| {
            let scopes = access.get(&server.name);
            scopes.map_or(0, |scopes| policy.closed_bits(scopes))
        };
        let enabled = snapshot.agents.iter().filter(|agent| !agent.disabled).map(|agent| {
            let ceiling = AgentCeiling { bits: ceiling(&agent.access), ends: agent.expires_at };
            (agent.client_id.clone(), ceiling)
        });
        let agents = enabled.filter(|(_, ceiling)| ceiling.bits != 0).collect();
        let clients = snapshot.clients.iter().map(|client| {
            let bits = if client.disabled { 0 } else { ceiling(&client.access) };
            (client.client_id.clone(), bits)
        });
        let clients = clients.collect();
        let roles = snapshot.roles.iter().map(|role| (role.name.clone(), ceiling(&role.access)));
        let roles = roles.filter(|(_, bits)| *bits != 0).collect();
        policy.self_registered = ceiling(&snapshot.self_registered);
        policy.agents = agents;
        policy.clients = clients;
        policy.roles = roles;
        policy.forbids = ForbidHere::all(&policy, forbids);
        Ok(policy)
    }

    /// Scopes and rules, with every ceiling still empty.
    fn without_people(server: &Server) -> Result<Self, UnusableSnapshot> {
        if server.scopes.len() > MAX_SCOPES {
            return Err(UnusableSnapshot::TooManyScopes(server.name.clone()));
        }
        let scopes: Vec<Scope> = server.scopes.keys().cloned().collect();
        let mut policy = Self {
            closures: close(server, &scopes),
            server: server.clone(),
            scopes,
            rules: Vec::new(),
            agents: HashMap::new(),
            clients: HashMap::new(),
            roles: HashMap::new(),
            self_registered: 0,
            forbids: Vec::new(),
        };
        for rule in &server.rules {
            let needs = policy.exact_bits(&rule.scopes).filter(|bits| *bits != 0);
            policy.rules.push(CompiledRule {
                tools: globs(server, &rule.tools)?,
                prompts: globs(server, &rule.prompts)?,
                resources: globs(server, &rule.resources)?,
                needs: needs.ok_or_else(|| UnusableSnapshot::RuleScopes(server.name.clone()))?,
                risk: rule.risk,
            });
        }
        Ok(policy)
    }
}

/// These scopes and everything they imply on this server; undeclared ones count for nothing. For telling people what a
/// ceiling holds; decisions use the compiled form of the same.
pub(super) fn implied<Id>(server: &Server<Id>, scopes: &ScopeSet) -> ScopeSet {
    let declared: Vec<Scope> = server.scopes.keys().take(MAX_SCOPES).cloned().collect();
    let closures = close(server, &declared);
    let held = declared.iter().zip(&closures).filter(|(scope, _)| scopes.contains(scope));
    let all = held.fold(0, |all, (_, closure)| all | closure);
    declared.iter().enumerate().filter(|(at, _)| all & (1 << at) != 0).map(|(_, scope)| scope).collect()
}

/// For each scope, itself and everything it implies, however many steps away.
fn close<Id>(server: &Server<Id>, scopes: &[Scope]) -> Vec<Bits> {
    let index = |scope: &Scope| scopes.binary_search(scope).ok();
    let mut closures: Vec<Bits> = (0..scopes.len()).map(|at| 1 << at).collect();
    loop {
        let before = closures.clone();
        for (at, meaning) in server.scopes.values().enumerate() {
            for implied in meaning.implies.iter().filter_map(index) {
                closures[at] |= before[implied];
            }
        }
        if closures == before {
            return closures;
        }
    }
}

fn globs(server: &Server, patterns: &[String]) -> Result<GlobSet, UnusableSnapshot> {
    let unusable = |pattern: &str| UnusableSnapshot::Pattern {
        server: server.name.clone(),
        pattern: pattern.to_owned(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern).map_err(|_| unusable(pattern))?);
    }
    set.build().map_err(|_| unusable(""))
}
