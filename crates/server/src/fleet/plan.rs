//! What has to change for the registry to be what a fleet says.

use super::deliver::Recipient;
use super::preview::Version;
use crate::app::App;
use portcullis_domain::condition::Forbid;
use portcullis_domain::fleet::Fleet;
use portcullis_domain::id::{self, ServerId};
use portcullis_domain::registry::{Access, Agent, Client, Name, Role, Server};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Registry};
use rand::CryptoRng;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// What there is.
pub(super) struct World {
    registry: Registry,
    /// Agents and clients that can authenticate already.
    with_secret: HashSet<ClientId>,
}

/// The difference.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) base: Registry,
    pub(super) put_servers: Vec<Server>,
    pub(super) remove_servers: Vec<ServerId>,
    pub(super) put_agents: Vec<Agent>,
    /// Those of `put_agents` that have no client yet.
    pub(super) new_agents: Vec<Agent>,
    pub(super) remove_agents: Vec<ClientId>,
    pub(super) put_clients: Vec<Client>,
    /// Those of `put_clients` that are not known yet.
    pub(super) new_clients: Vec<Client>,
    pub(super) remove_clients: Vec<ClientId>,
    pub(super) put_roles: Vec<Role>,
    pub(super) remove_roles: Vec<Name>,
    pub(super) self_registered: Option<Access>,
    pub(super) forbids: Option<Vec<Forbid>>,
    /// Agents and clients that should have a secret and have none.
    pub(super) without_secret: Vec<Recipient>,
}

impl World {
    pub(super) async fn read(app: &App, now: Timestamp) -> Result<Self, Error> {
        let mut handle = app.store.read().await?;
        let registry = handle.reader().registry().await?;
        let with_secret = handle.reader().clients_with_secret(now).await?;
        Ok(Self { registry, with_secret })
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn version(&self) -> Version {
        Version::of(&self.registry)
    }
}

impl Plan {
    pub(super) fn between(world: &World, fleet: &Fleet, now: Timestamp, rng: &mut impl CryptoRng) -> Self {
        let base = &world.registry;
        let known: HashMap<_, _> =
            base.servers.iter().map(|server| ((&server.name, &server.canonical_uri), server.id)).collect();
        let servers = fleet.servers.iter().map(|server| {
            let id = known.get(&(&server.name, &server.canonical_uri)).copied();
            server.clone().with_id(id.unwrap_or_else(|| ServerId::generate(now, rng)))
        });
        let servers: Vec<Server> = servers.collect();
        let known: HashMap<_, _> = base.agents.iter().map(|agent| (&agent.name, &agent.client_id)).collect();
        let agents = fleet.agents.iter().filter_map(|agent| {
            let client_id = client_of(known.get(&agent.name).copied(), now, rng)?;
            Some(agent.clone().with_id(client_id))
        });
        let agents: Vec<Agent> = agents.collect();
        let known: HashMap<_, _> =
            base.clients.iter().map(|client| (&client.name, &client.client_id)).collect();
        let clients = fleet.clients.iter().filter_map(|client| {
            let client_id = client_of(known.get(&client.name).copied(), now, rng)?;
            Some(client.clone().with_id(client_id))
        });
        let clients: Vec<Client> = clients.collect();
        let is_without = |of: &Recipient| of.deliver.is_some() && !world.with_secret.contains(&of.client_id);
        let recipients = agents.iter().map(Recipient::from).chain(clients.iter().map(Recipient::from));
        let without_secret = recipients.filter(is_without).collect();
        let servers = Sides::between(&base.servers, servers, |server| server.id);
        let agents = Sides::between(&base.agents, agents, |agent| agent.client_id.clone());
        let clients = Sides::between(&base.clients, clients, |client| client.client_id.clone());
        let roles = Sides::between(&base.roles, fleet.roles.clone(), |role| role.name.clone());
        Self {
            put_servers: servers.put,
            remove_servers: servers.removed,
            without_secret,
            new_clients: clients.new,
            put_clients: clients.put,
            remove_clients: clients.removed,
            new_agents: agents.new,
            put_agents: agents.put,
            remove_agents: agents.removed,
            put_roles: roles.put,
            remove_roles: roles.removed,
            self_registered: (fleet.self_registered != base.self_registered)
                .then(|| fleet.self_registered.clone()),
            forbids: (fleet.forbids != base.forbids).then(|| fleet.forbids.clone()),
            base: base.clone(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.puts() + self.removals() + self.without_secret.len() == 0
    }

    pub(super) fn puts(&self) -> usize {
        let access = usize::from(self.self_registered.is_some()) + usize::from(self.forbids.is_some());
        let put = self.put_servers.len() + self.put_agents.len() + self.put_clients.len();
        put + self.put_roles.len() + access
    }

    pub(super) fn removals(&self) -> usize {
        let removed = self.remove_servers.len() + self.remove_agents.len() + self.remove_clients.len();
        removed + self.remove_roles.len()
    }

    /// Whether the registry is still the one that this was planned on.
    pub(super) fn was_made_for(&self, registry: &Registry) -> bool {
        let base = &self.base;
        registry.servers == base.servers
            && registry.agents == base.agents
            && registry.clients == base.clients
            && registry.roles == base.roles
            && registry.self_registered == base.self_registered
            && registry.forbids == base.forbids
    }
}

/// The id of the one that is known; a new one.
fn client_of(known: Option<&ClientId>, now: Timestamp, rng: &mut impl CryptoRng) -> Option<ClientId> {
    match known {
        Some(known) => Some(known.clone()),
        None => id::client_id(now, rng).parse().ok(),
    }
}

/// What differs between things that are known and things that are wanted.
struct Sides<T, Key> {
    /// New or not the same.
    put: Vec<T>,
    /// Those of `put` that were not known at all.
    new: Vec<T>,
    removed: Vec<Key>,
}

impl<T: Clone + PartialEq, Key: Eq + Hash> Sides<T, Key> {
    /// A server is its name and its canonical URI, and has its id by them: under another address it is another server, and
    /// what was granted or issued for the old one is not inherited.
    fn between(before: &[T], after: Vec<T>, key: impl Fn(&T) -> Key) -> Self {
        let mut known: HashMap<Key, &T> = before.iter().map(|thing| (key(thing), thing)).collect();
        let (mut put, mut new) = (Vec::new(), Vec::new());
        for thing in after {
            match known.remove(&key(&thing)) {
                Some(same) if *same == thing => {}
                Some(_) => put.push(thing),
                None => {
                    new.push(thing.clone());
                    put.push(thing);
                }
            }
        }
        let removed = before.iter().map(&key).filter(|key| known.contains_key(key)).collect();
        Self { put, new, removed }
    }
}
