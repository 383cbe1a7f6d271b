//! The one decision (PC-20 to PC-24): who may do what, at issue and at call.
//!
//! A snapshot is compiled once. Within it the scopes of a server are bits, so a decision is a few bit operations.
//! The list filter, the call check, the challenge and the consent page all ask here. There is no second place.

use crate::condition::Circumstances;
use crate::principal::{Principal, Subject};
use crate::registry::{Name, Risk, Server};
use crate::snapshot::{ChangedAgents, Snapshot};
use hashbrown::{HashMap, HashSet};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::ExternalIssuer;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::time::Timestamp;
use std::sync::Arc;

use forbids::ForbidHere;
use pattern::Patterns;
use standpoint::Kind;
use uri::Readings;

mod compile;
mod decision;
mod forbids;
mod issue;
#[cfg(test)]
mod laws;
mod pattern;
mod standpoint;
#[cfg(test)]
mod tests;
mod uri;

pub use decision::{Decision, Never, Operation, Permit, Refused, RuleRef, Shortfall};
pub use forbids::{Forbidden, is_about};
pub use issue::{Asker, IssueRefusal};
pub use pattern::{covers, glob, meet};
pub use standpoint::Standpoint;
pub use uri::{Unclear, is_possible};

/// Scopes of one server within one snapshot.
type Bits = u128;

/// The most scopes a server may declare.
pub const MAX_SCOPES: usize = 128;

/// A snapshot made ready to decide with.
#[derive(Clone, Debug)]
pub struct Policy {
    servers: Vec<Arc<ServerPolicy>>,
    by_name: Arc<HashMap<Name, usize>>,
    by_uri: Arc<HashMap<String, usize>>,
    /// Whether a `[[forbid]]` is about some agents and not about others.
    selects_agents: bool,
}

/// The policy of one server.
#[derive(Clone, Debug)]
pub struct ServerPolicy {
    server: Arc<Server>,
    scopes: Vec<Scope>,
    /// For each scope: itself and everything it implies.
    closures: Vec<Bits>,
    rules: Vec<CompiledRule>,
    agents: HashMap<ClientId, AgentCeiling>,
    /// Clients that the operator registered, and that may something here.
    clients: HashMap<ClientId, Bits>,
    /// Every client that the operator registered: what is not among them registered itself.
    registered: Arc<HashSet<ClientId>>,
    roles: HashMap<Name, Bits>,
    self_registered: Bits,
    /// The most that tokens of other issuers may do.
    external: HashMap<ExternalIssuer, Bits>,
    forbids: Vec<ForbidHere>,
}

/// What somebody holds on a server now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    ceiling: Bits,
    /// What the token carries and implies.
    token: Bits,
    /// Out of use.
    suspended: Bits,
}

impl Held {
    fn effective(&self) -> Bits {
        self.token & self.ceiling & !self.suspended
    }
}

/// What somebody may do on one server now, by one compilation: [`ServerPolicy::effective`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Effective(Bits);

/// The most that an agent may do, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AgentCeiling {
    bits: Bits,
    ends: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct CompiledRule {
    tools: Patterns,
    prompts: Patterns,
    resources: uri::Patterns,
    methods: Vec<String>,
    needs: Bits,
    risk: Risk,
}

/// A snapshot that cannot be used. It was checked before it was stored, so this is a fault of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableSnapshot {
    /// Not a glob.
    #[error("server {server}: {pattern:?} is not a pattern")]
    Pattern {
        /// Whose.
        server: Name,
        /// Which.
        pattern: String,
    },
    /// A rule names a scope that the server does not declare, or none at all.
    #[error("server {0}: a rule needs scopes that are declared, and at least one")]
    RuleScopes(Name),
    /// A `[[forbid]]` with a tool that is no pattern, or with conditions on arguments and no tools.
    #[error("forbid {0:?}: a tool is not a pattern, or arguments are asked for without tools")]
    Forbid(String),
    /// More than [`MAX_SCOPES`].
    #[error("server {0}: too many scopes")]
    TooManyScopes(Name),
}

impl Policy {
    /// Compiles a snapshot.
    pub fn compile(snapshot: &Snapshot) -> Result<Self, UnusableSnapshot> {
        let forbids = forbids::compile(snapshot)?;
        let people = compile::People::of(snapshot);
        let servers = snapshot
            .servers
            .iter()
            .map(|server| ServerPolicy::compile(server, &people, &forbids).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let by_name =
            servers.iter().enumerate().map(|(at, policy)| (policy.server.name.clone(), at)).collect();
        let by_uri = servers
            .iter()
            .enumerate()
            .map(|(at, policy)| (policy.server.canonical_uri.as_str().to_owned(), at))
            .collect();
        let selects_agents = snapshot.forbids.iter().any(forbids::selects_agents);
        Ok(Self { servers, by_name: Arc::new(by_name), by_uri: Arc::new(by_uri), selects_agents })
    }

    /// The same with these agents: what compiling the changed snapshot would give, without the work. `None` where only
    /// that can tell.
    pub fn with_agents(&self, changed: &ChangedAgents) -> Option<Self> {
        if self.selects_agents {
            return None;
        }
        let mut policy = self.clone();
        for server in &mut policy.servers {
            let mut known = changed.removed.iter().chain(changed.put.iter().map(|agent| &agent.client_id));
            let is_named = changed.put.iter().any(|agent| agent.access.contains_key(&server.server.name));
            if is_named || known.any(|client| server.agents.contains_key(client)) {
                *server = Arc::new(server.with_agents(changed));
            }
        }
        Some(policy)
    }

    /// The server of this name.
    pub fn server(&self, name: &str) -> Option<&ServerPolicy> {
        self.by_name.get(name).map(|at| &*self.servers[*at])
    }

    /// The server with this canonical URI.
    pub fn server_by_uri(&self, uri: &str) -> Option<&ServerPolicy> {
        self.by_uri.get(uri).map(|at| &*self.servers[*at])
    }

    /// All servers, in the snapshot's order.
    pub fn servers(&self) -> impl Iterator<Item = &ServerPolicy> {
        self.servers.iter().map(Arc::as_ref)
    }
}

impl ServerPolicy {
    /// The server itself.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Decides whether `principal` may do `operation` here now: what the token carries, cut to today's ceilings (PC-21), unless
    /// the circumstances forbid it (PC-24). A server that is observed lets through what only scopes stand against (PC-36).
    pub fn decide(
        &self,
        principal: &Principal,
        operation: Operation<'_>,
        circumstances: &Circumstances<'_>,
    ) -> Decision {
        let held = self.held(principal, circumstances);
        if let Operation::Connect = operation {
            return self.connect(principal, &held, circumstances);
        }
        let who = principal.into();
        let forbidden = |needs| self.forbidden(who, (operation, needs), circumstances);
        self.judge(principal.into(), &held, operation, forbidden)
    }

    fn held(&self, principal: &Principal, circumstances: &Circumstances<'_>) -> Held {
        Held {
            ceiling: self.ceiling_of(principal, circumstances.now),
            token: self.closed_bits(&principal.scopes),
            suspended: self.suspended(principal.into(), circumstances),
        }
    }

    /// What rules and scopes say of anything but being connected; `forbidden` what conditions say of what needs these scopes.
    fn judge(
        &self,
        kind: Kind,
        held: &Held,
        operation: Operation<'_>,
        forbidden: impl FnOnce(Bits) -> Option<Forbidden>,
    ) -> Decision {
        let found = self.needs_of(operation).ok_or_else(|| without_rule(operation));
        let has_meaning = !matches!(operation, Operation::Method(_) | Operation::Unknown);
        let is_observed = self.server.observe && has_meaning && held.effective() != 0;
        let needs = match &found {
            Ok((_, needs, _)) => *needs,
            // What no rule is about might need anything.
            Err(_) if is_observed => Bits::MAX,
            Err(never) => return Decision::Never(never.clone()),
        };
        if let Some(forbidden) = forbidden(needs) {
            return Decision::Never(Never::Forbidden(forbidden));
        }
        let (permit, refused) = self.by_scopes(kind, held, found);
        match refused {
            None => Decision::Permit(permit),
            Some(refused) if is_observed => {
                Decision::Permit(Permit { observed: Some(Box::new(refused)), ..permit })
            }
            Some(Refused::StepUp(shortfall)) => Decision::StepUp(shortfall),
            Some(Refused::Never(never)) => Decision::Never(never),
        }
    }

    /// Whether anything at all is open.
    fn connect(&self, principal: &Principal, held: &Held, circumstances: &Circumstances<'_>) -> Decision {
        let had = held.token & held.ceiling;
        if had == 0 {
            return Decision::Never(Never::NothingLeft);
        }
        if held.effective() != 0 {
            let (rule, used) = (RuleRef::Connect, ScopeSet::default());
            return Decision::Permit(Permit { rule, used, risk: Risk::Usual, observed: None });
        }
        let by = self.suspended_by(principal.into(), circumstances, had);
        Decision::Never(by.map_or(Never::NothingLeft, Never::Forbidden))
    }

    /// The formula of PC-21: a permit for what `found` needs, and what stands against it.
    fn by_scopes(
        &self,
        kind: Kind,
        held: &Held,
        found: Result<(RuleRef, Bits, Risk), Never>,
    ) -> (Permit, Option<Refused>) {
        let (rule, needs, risk) = match found {
            Ok(found) => found,
            Err(never) => {
                let (rule, used) = (RuleRef::None, ScopeSet::default());
                let permit = Permit { rule, used, risk: Risk::Usual, observed: None };
                return (permit, Some(Refused::Never(never)));
            }
        };
        let permit = Permit { rule, used: self.names(needs), risk, observed: None };
        let missing = needs & !held.effective();
        if missing == 0 {
            return (permit, None);
        }
        let shortfall = Shortfall { needs: self.names(needs), missing: self.names(missing) };
        let refused = match kind {
            _ if needs & !held.ceiling == 0 => Refused::StepUp(shortfall),
            Kind::Agent => Refused::Never(Never::BeyondAgent(shortfall)),
            Kind::External => Refused::Never(Never::BeyondIssuer(shortfall)),
            Kind::User => Refused::Never(Never::BeyondUser(shortfall)),
        };
        (permit, Some(refused))
    }

    /// What `principal` may do here now: what the token carries and implies, cut to today's ceilings (PC-21), without what is
    /// forbidden now. Never more than that, whatever is observed.
    pub fn effective(&self, principal: &Principal, circumstances: &Circumstances<'_>) -> Effective {
        Effective(self.held(principal, circumstances).effective())
    }

    /// The scopes of `effective`, which is of this server as compiled here.
    pub fn names_of(&self, effective: Effective) -> ScopeSet {
        self.names(effective.0)
    }

    /// Everything that `principal` could have here today, whatever its token carries: its ceiling, implied scopes included.
    pub fn ceiling(&self, principal: &Principal, circumstances: &Circumstances<'_>) -> ScopeSet {
        self.names(self.ceiling_of(principal, circumstances.now))
    }

    /// The first rule that is about the thing, and the scopes that all of them need together; `None` when no rule is.
    pub fn needs(&self, operation: Operation<'_>) -> Option<(RuleRef, ScopeSet)> {
        self.needs_of(operation).map(|(rule, needs, _)| (rule, self.names(needs)))
    }

    /// Whether a list shows the thing: what the token permits, and for a person also what one more consent would open (PC-22).
    /// What is forbidden whatever its arguments are is hidden.
    pub fn shows(
        &self,
        principal: &Principal,
        operation: Operation<'_>,
        circumstances: &Circumstances<'_>,
    ) -> bool {
        self.shows_from(&self.standpoint(principal, circumstances), operation)
    }

    /// When `principal` may nothing more here, whatever its token says; of an agent that ends.
    pub fn end_of(&self, principal: &Principal) -> Option<Timestamp> {
        match &principal.subject {
            Subject::Agent(client) => self.agents.get(client)?.ends,
            Subject::External { .. } | Subject::User(_) => None,
        }
    }

    /// What a caller without a token should ask for first: the default scopes, or all there are.
    pub fn advertised_scopes(&self) -> ScopeSet {
        if self.server.default_scopes.is_empty() {
            self.scopes.iter().collect()
        } else {
            self.server.default_scopes.clone()
        }
    }

    fn ceiling_of(&self, principal: &Principal, now: Timestamp) -> Bits {
        match &principal.subject {
            Subject::Agent(client) => self.agent_ceiling(client, now),
            Subject::External { issuer, .. } => self.external.get(issuer).copied().unwrap_or(0),
            Subject::User(_) => self.user_ceiling(&principal.client_id, &principal.roles),
        }
    }

    /// Nothing for an agent that is disabled, and for one that ends from its end on.
    fn agent_ceiling(&self, client: &ClientId, now: Timestamp) -> Bits {
        let is_over = |ends: Timestamp| ends.has_passed(now);
        let ceiling = self.agents.get(client).filter(|ceiling| !ceiling.ends.is_some_and(is_over));
        ceiling.map_or(0, |ceiling| ceiling.bits)
    }

    /// What the client may reach (one that registered itself: what all of those may), cut to what the user's roles may.
    fn user_ceiling(&self, client: &ClientId, roles: &[String]) -> Bits {
        let by_role =
            roles.iter().filter_map(|role| self.roles.get(role.as_str())).fold(0, |all, bits| all | bits);
        let by_client = match self.clients.get(client) {
            Some(bits) => *bits,
            None if self.registered.contains(client) => 0,
            None => self.self_registered,
        };
        by_client & by_role
    }

    /// What every matching rule needs together, and the first of them; `None` when there is none.
    fn needs_of(&self, operation: Operation<'_>) -> Option<(RuleRef, Bits, Risk)> {
        match operation {
            Operation::Tool(name) => self.together(|rule| rule.tools.is_match(name)),
            Operation::Prompt(name) => self.together(|rule| rule.prompts.is_match(name)),
            Operation::Resource(uri) => {
                let uri = Readings::of(uri).ok()?;
                // A rule that only some readers would say is about it asks for its scopes, and opens nothing.
                let is_open = self.rules.iter().any(|rule| rule.resources.open(&uri));
                if is_open { self.together(|rule| rule.resources.concern(&uri)) } else { None }
            }
            Operation::Method(name) => self.together(|rule| rule.methods.iter().any(|method| method == name)),
            Operation::Connect | Operation::Unknown => None,
        }
    }

    fn together(&self, matches: impl Fn(&CompiledRule) -> bool) -> Option<(RuleRef, Bits, Risk)> {
        let mut found: Option<(RuleRef, Bits, Risk)> = None;
        for (at, rule) in self.rules.iter().enumerate().filter(|(_, rule)| matches(rule)) {
            let (first, needs, risk) = found.unwrap_or((RuleRef::Rule(at + 1), 0, Risk::Usual));
            let risk = if rule.risk == Risk::High { Risk::High } else { risk };
            found = Some((first, needs | rule.needs, risk));
        }
        found
    }

    /// Exactly these scopes; `None` if one is not declared.
    fn exact_bits(&self, scopes: &ScopeSet) -> Option<Bits> {
        scopes.iter().try_fold(0, |bits, scope| Some(bits | 1 << self.index(scope)?))
    }

    /// These scopes and what they imply; undeclared ones count for nothing.
    fn closed_bits(&self, scopes: &ScopeSet) -> Bits {
        scopes.iter().filter_map(|scope| self.index(scope)).fold(0, |bits, at| bits | self.closures[at])
    }

    fn index(&self, scope: &Scope) -> Option<usize> {
        self.scopes.binary_search(scope).ok()
    }

    fn names(&self, bits: Bits) -> ScopeSet {
        self.scopes
            .iter()
            .enumerate()
            .filter(|(at, _)| bits & (1 << at) != 0)
            .map(|(_, scope)| scope)
            .collect()
    }
}

/// Why not, where no rule is about it.
fn without_rule(operation: Operation<'_>) -> Never {
    match operation {
        Operation::Resource(uri) => Readings::of(uri).map_or_else(Never::Unclear, |_| Never::NoRule),
        Operation::Connect
        | Operation::Method(_)
        | Operation::Prompt(_)
        | Operation::Tool(_)
        | Operation::Unknown => Never::NoRule,
    }
}

/// These scopes and everything they imply on this server: what a ceiling that names them holds.
pub fn implied<Id>(server: &Server<Id>, scopes: &ScopeSet) -> ScopeSet {
    compile::implied(server, scopes)
}
