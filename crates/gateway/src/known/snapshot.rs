//! One snapshot, made ready to serve with: the policy, who is believed, what stands at which path.

use crate::known::door::Door;
use crate::known::external::{self, Here, Trusts};
use crate::known::feed_error::FeedError;
use crate::reach::means;
use crate::reach::target::Targets;
use hashbrown::HashMap;
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::PinnedTools;
use portcullis_domain::policy::{Policy, ServerPolicy};
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::{Name, OtherTransport, Server};
use portcullis_domain::snapshot::{ChangedAgents, Snapshot};
use portcullis_guard::verifier::Verifier;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// PC-03: no snapshot may ask for more.
const MAX_LEEWAY_SECONDS: u64 = 60;

/// An open stream asks this often about a token of another issuer.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// What is needed to serve with a snapshot.
pub(crate) struct Means {
    /// To ask issuers about tokens.
    pub(crate) issuers: external::Means,
    /// To reach upstreams.
    pub(crate) upstreams: means::Means,
}

/// What stands at a path. In this order, where several of one host do.
#[derive(Clone)]
pub(crate) enum Place {
    /// A server's MCP endpoint.
    Endpoint(Arc<Door>),
    /// Where a server takes another transport.
    Line(Arc<Door>, OtherTransport),
    /// A server's metadata.
    Metadata(Arc<Door>),
}

impl Place {
    pub(crate) fn door(&self) -> &Arc<Door> {
        match self {
            Self::Endpoint(door) | Self::Line(door, _) | Self::Metadata(door) => door,
        }
    }

    fn order(&self) -> u8 {
        match self {
            Self::Endpoint(_) => 0,
            Self::Line(..) => 1,
            Self::Metadata(_) => 2,
        }
    }
}

/// One snapshot, made ready to serve with.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) number: u64,
    /// Another for each compilation; unlike `number` it never comes again.
    pub(crate) edition: u64,
    policy: Policy,
    pinned: Arc<HashMap<ServerId, PinnedTools>>,
    agents: HashMap<ClientId, Name>,
    pub(super) issuer: Issuer,
    pub(super) leeway: Duration,
    pub(super) max_life: Duration,
    pub(super) verifier: Arc<Verifier>,
    pub(super) trusts: Arc<Trusts>,
    targets: Arc<Targets>,
    by_path: Arc<HashMap<String, Vec<Place>>>,
}

impl Known {
    pub(super) fn new(
        (snapshot, edition): (&Snapshot, u64),
        before: Option<&Known>,
        means: &Means,
    ) -> Result<Self, FeedError> {
        if snapshot.leeway_seconds > MAX_LEEWAY_SECONDS {
            return Err(FeedError::Leeway);
        }
        let verifier = match before {
            Some(before) if before.verifier.is_for(&snapshot.keys) => Arc::clone(&before.verifier),
            _ => Arc::new(Verifier::new(&snapshot.keys, means.issuers.capacity)?),
        };
        let policy = Policy::compile(snapshot)?;
        let targets = Targets::of(&snapshot.servers, before.map(|before| &*before.targets), &means.upstreams);
        let doors = policy.servers().filter_map(|policy| Door::of(policy, &targets)).map(Arc::new);
        let by_path = by_path(doors)?;
        let mut names: Vec<_> = policy.servers().map(|entry| &entry.server().name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(FeedError::SharedAddress);
        }
        let pinned = |server: &Server| PinnedTools::new(server.pinning, snapshot.pins.get(&server.id));
        Ok(Self {
            number: snapshot.number,
            edition,
            pinned: Arc::new(snapshot.servers.iter().map(|server| (server.id, pinned(server))).collect()),
            agents: snapshot
                .agents
                .iter()
                .map(|agent| (agent.client_id.clone(), agent.name.clone()))
                .collect(),
            issuer: snapshot.issuer.clone(),
            leeway: Duration::from_secs(snapshot.leeway_seconds),
            max_life: Duration::from_secs(snapshot.max_life_seconds),
            verifier,
            trusts: Arc::new(Trusts::of(
                &snapshot.servers,
                before.map(|before| &*before.trusts),
                &means.issuers,
            )),
            targets: Arc::new(targets),
            by_path: Arc::new(by_path),
            policy,
        })
    }

    /// The same with these agents; `None` where only a full update can tell.
    pub(super) fn with_agents(&self, changed: &ChangedAgents, number: u64) -> Option<Self> {
        let policy = self.policy.with_agents(changed)?;
        let mut known = Self { number, policy, ..self.clone() };
        known.agents.retain(|client, _| !changed.concern(client));
        let put = changed.put.iter().map(|agent| (agent.client_id.clone(), agent.name.clone()));
        known.agents.extend(put);
        Some(known)
    }

    /// What stands at exactly this path, under whatever host.
    pub(crate) fn places_at(&self, path: &str) -> &[Place] {
        self.by_path.get(path).map_or(&[], Vec::as_slice)
    }

    /// The policy of a server, if it still is behind this gateway.
    pub(crate) fn policy_of(&self, door: &Door) -> Option<&ServerPolicy> {
        let policy = self.policy.server(door.server.name.as_str())?;
        let (known, here) = (policy.server(), &door.server);
        // A server removed and made anew under its name is another one.
        let is_it = Arc::ptr_eq(known, here)
            || (known.id == here.id
                && known.canonical_uri == here.canonical_uri
                && known.placement == here.placement);
        is_it.then_some(policy)
    }

    /// What an agent is called, for the record.
    pub(crate) fn agent_name(&self, principal: &Principal) -> Option<&Name> {
        match &principal.subject {
            Subject::Agent(client) => self.agents.get(client),
            Subject::External { .. } | Subject::User(_) => None,
        }
    }

    /// The pinned tools of a server.
    pub(crate) fn pinned_tools(&self, server: ServerId) -> Option<&PinnedTools> {
        self.pinned.get(&server)
    }

    /// Every door.
    pub(crate) fn doors(&self) -> impl Iterator<Item = &Arc<Door>> {
        self.by_path.values().flatten().filter_map(|place| match place {
            Place::Endpoint(door) => Some(door),
            Place::Line(..) | Place::Metadata(_) => None,
        })
    }

    /// The door of a server.
    pub(crate) fn door_of(&self, server: ServerId) -> Option<&Arc<Door>> {
        self.doors().find(|door| door.server.id == server)
    }

    pub(super) fn here<'a>(&'a self, door: &'a Door, now: Timestamp) -> Here<'a> {
        let audience = door.server.canonical_uri.as_str();
        Here { own: &self.issuer, audience, now, leeway: self.leeway }
    }

    /// When it has to be asked again about a token at this door, whatever the token says.
    pub(crate) fn ask_again(&self, door: &Door, now: Timestamp) -> Option<Timestamp> {
        self.trusts.at(door.server.id).map(|_| now + ASK_AGAIN)
    }

    /// How long after its `exp` a token still counts.
    pub(crate) fn leeway(&self) -> Duration {
        self.leeway
    }
}

/// Everything that stands at some path. Endpoints that share one have different hosts.
fn by_path(doors: impl Iterator<Item = Arc<Door>>) -> Result<HashMap<String, Vec<Place>>, FeedError> {
    let mut by_path: HashMap<String, Vec<Place>> = HashMap::new();
    for door in doors {
        let at_its_own = by_path.entry(door.path().to_owned()).or_default();
        let is_another =
            |place: &Place| matches!(place, Place::Endpoint(other) if other.authority == door.authority);
        if at_its_own.iter().any(is_another) {
            return Err(FeedError::SharedAddress);
        }
        at_its_own.push(Place::Endpoint(Arc::clone(&door)));
        for (path, transport) in door.line_paths() {
            by_path.entry(path).or_default().push(Place::Line(Arc::clone(&door), transport));
        }
        by_path.entry(door.metadata_path.clone()).or_default().push(Place::Metadata(door));
    }
    for places in by_path.values_mut() {
        places.sort_by_key(Place::order);
        places.shrink_to_fit();
    }
    Ok(by_path)
}
