//! From a snapshot to bits: what a server's policy is made of.

use super::forbids::{CompiledForbid, ForbidHere};
use super::pattern::Patterns;
use super::{AgentCeiling, Bits, CompiledRule, MAX_SCOPES, ServerPolicy, UnusableSnapshot, uri};
use crate::method::nameable;
use crate::registry::{Access, Agent, Client, Name, Role, Server};
use crate::snapshot::{ChangedAgents, Snapshot};
use hashbrown::{HashMap, HashSet};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::{Scope, ScopeSet};
use std::sync::Arc;

/// Who may what, by server: nobody looks through everybody for each server.
pub(super) struct People<'a> {
    here: HashMap<&'a Name, Here<'a>>,
    registered: Arc<HashSet<ClientId>>,
    self_registered: &'a Access,
}

/// Who may something on one server.
#[derive(Default)]
struct Here<'a> {
    agents: Vec<(&'a Agent, &'a ScopeSet)>,
    clients: Vec<(&'a Client, &'a ScopeSet)>,
    roles: Vec<(&'a Role, &'a ScopeSet)>,
}

impl<'a> People<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let mut here: HashMap<&Name, Here<'a>> = HashMap::new();
        for agent in snapshot.agents.iter().filter(|agent| !agent.disabled) {
            for (server, scopes) in &agent.access {
                here.entry(server).or_default().agents.push((agent, scopes));
            }
        }
        for client in snapshot.clients.iter().filter(|client| !client.disabled) {
            for (server, scopes) in &client.access {
                here.entry(server).or_default().clients.push((client, scopes));
            }
        }
        for role in &snapshot.roles {
            for (server, scopes) in &role.access {
                here.entry(server).or_default().roles.push((role, scopes));
            }
        }
        let registered = snapshot.clients.iter().map(|client| client.client_id.clone()).collect();
        Self { here, registered: Arc::new(registered), self_registered: &snapshot.self_registered }
    }
}

impl ServerPolicy {
    pub(super) fn compile(
        server: &Server,
        people: &People<'_>,
        forbids: &[Arc<CompiledForbid>],
    ) -> Result<Self, UnusableSnapshot> {
        let mut policy = Self::without_people(server)?;
        if let Some(Here { agents, clients, roles }) = people.here.get(&server.name) {
            let agents = agents.iter().filter_map(|(agent, scopes)| policy.ceiling_for(agent, scopes));
            let agents = agents.collect();
            let clients =
                clients.iter().map(|(client, scopes)| (client.client_id.clone(), policy.closed_bits(scopes)));
            let clients = clients.collect();
            let roles = roles.iter().map(|(role, scopes)| (role.name.clone(), policy.closed_bits(scopes)));
            let roles = roles.filter(|(_, bits)| *bits != 0).collect();
            (policy.agents, policy.clients, policy.roles) = (agents, clients, roles);
        }
        policy.registered = Arc::clone(&people.registered);
        let self_registered = people.self_registered.get(&server.name);
        policy.self_registered = self_registered.map_or(0, |scopes| policy.closed_bits(scopes));
        let external = server.issuers.external.iter();
        let external = external.map(|trusted| (trusted.issuer.clone(), policy.closed_bits(&trusted.access)));
        policy.external = external.collect();
        policy.forbids = ForbidHere::all(&policy, forbids);
        Ok(policy)
    }

    /// The same with these agents.
    pub(super) fn with_agents(&self, changed: &ChangedAgents) -> Self {
        let mut policy = self.clone();
        policy.agents.retain(|client, _| !changed.concern(client));
        for agent in changed.put.iter().filter(|agent| !agent.disabled) {
            let scopes = agent.access.get(&policy.server.name);
            let ceiling = scopes.and_then(|scopes| policy.ceiling_for(agent, scopes));
            policy.agents.extend(ceiling);
        }
        policy
    }

    /// What an agent may do here; `None`: nothing.
    fn ceiling_for(&self, agent: &Agent, scopes: &ScopeSet) -> Option<(ClientId, AgentCeiling)> {
        let bits = self.closed_bits(scopes);
        (bits != 0).then(|| (agent.client_id.clone(), AgentCeiling { bits, ends: agent.expires_at }))
    }

    /// Scopes and rules, with every ceiling still empty.
    fn without_people(server: &Server) -> Result<Self, UnusableSnapshot> {
        if server.scopes.len() > MAX_SCOPES {
            return Err(UnusableSnapshot::TooManyScopes(server.name.clone()));
        }
        let scopes: Vec<Scope> = server.scopes.keys().cloned().collect();
        let mut policy = Self {
            closures: close(server, &scopes),
            server: Arc::new(server.clone()),
            scopes,
            rules: Vec::new(),
            agents: HashMap::new(),
            clients: HashMap::new(),
            registered: Arc::default(),
            roles: HashMap::new(),
            self_registered: 0,
            external: HashMap::new(),
            forbids: Vec::new(),
        };
        for rule in &server.rules {
            let needs = policy.exact_bits(&rule.scopes).filter(|bits| *bits != 0);
            policy.rules.push(CompiledRule {
                tools: patterns(server, &rule.tools)?,
                prompts: patterns(server, &rule.prompts)?,
                resources: uri::Patterns::new(&rule.resources)
                    .map_err(|pattern| no_pattern(server, pattern))?,
                methods: methods(server, &rule.methods)?,
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

/// Exact names; what a snapshot of another version may have let in is refused here too.
fn methods(server: &Server, methods: &[String]) -> Result<Vec<String>, UnusableSnapshot> {
    match methods.iter().find(|method| nameable(method).is_err()) {
        None => Ok(methods.to_vec()),
        Some(method) => Err(no_pattern(server, method)),
    }
}

fn patterns(server: &Server, patterns: &[String]) -> Result<Patterns, UnusableSnapshot> {
    Patterns::new(patterns).map_err(|pattern| no_pattern(server, pattern))
}

fn no_pattern(server: &Server, pattern: &str) -> UnusableSnapshot {
    UnusableSnapshot::Pattern { server: server.name.clone(), pattern: pattern.to_owned() }
}
