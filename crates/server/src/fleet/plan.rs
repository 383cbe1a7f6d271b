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
use std::collections::HashSet;

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
        let mut with_secret = HashSet::new();
        let agents = registry.agents.iter().map(|agent| &agent.client_id);
        for id in agents.chain(registry.clients.iter().map(|client| &client.client_id)) {
            let client = handle.reader().client(id, now).await?;
            if client.is_some_and(|client| !client.secrets.is_empty()) {
                with_secret.insert(id.clone());
            }
        }
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
        let servers: Vec<Server> = fleet
            .servers
            .iter()
            .map(|server| {
                let id = same_server(base, server).map(|known| known.id);
                server.clone().with_id(id.unwrap_or_else(|| ServerId::generate(now, rng)))
            })
            .collect();
        let agents: Vec<Agent> = fleet
            .agents
            .iter()
            .filter_map(|agent| {
                let known = base.agents.iter().find(|known| known.name == agent.name);
                let client_id = match known {
                    Some(known) => known.client_id.clone(),
                    None => id::client_id(now, rng).parse().ok()?,
                };
                Some(agent.clone().with_id(client_id))
            })
            .collect();
        let clients: Vec<Client> = fleet
            .clients
            .iter()
            .filter_map(|client| {
                let known = base.clients.iter().find(|known| known.name == client.name);
                let client_id = match known {
                    Some(known) => known.client_id.clone(),
                    None => id::client_id(now, rng).parse().ok()?,
                };
                Some(client.clone().with_id(client_id))
            })
            .collect();
        let is_without = |of: &Recipient| of.deliver.is_some() && !world.with_secret.contains(&of.client_id);
        let recipients = agents.iter().map(Recipient::from).chain(clients.iter().map(Recipient::from));
        let is_new_client =
            |client: &&Client| base.clients.iter().all(|known| known.client_id != client.client_id);
        let is_new = |agent: &&Agent| base.agents.iter().all(|known| known.client_id != agent.client_id);
        Self {
            put_servers: not_in(&servers, &base.servers),
            remove_servers: base
                .servers
                .iter()
                .map(|known| known.id)
                .filter(|id| servers.iter().all(|server| server.id != *id))
                .collect(),
            without_secret: recipients.filter(is_without).collect(),
            new_clients: clients.iter().filter(is_new_client).cloned().collect(),
            put_clients: not_in(&clients, &base.clients),
            remove_clients: base
                .clients
                .iter()
                .map(|known| known.client_id.clone())
                .filter(|id| clients.iter().all(|client| client.client_id != *id))
                .collect(),
            new_agents: agents.iter().filter(is_new).cloned().collect(),
            put_agents: not_in(&agents, &base.agents),
            remove_agents: base
                .agents
                .iter()
                .map(|known| known.client_id.clone())
                .filter(|id| agents.iter().all(|agent| agent.client_id != *id))
                .collect(),
            put_roles: not_in(&fleet.roles, &base.roles),
            remove_roles: base
                .roles
                .iter()
                .map(|known| known.name.clone())
                .filter(|name| fleet.roles.iter().all(|role| role.name != *name))
                .collect(),
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

/// A server is its name and its canonical URI: under another address it is another server, and what was granted or issued
/// for the old one is not inherited.
fn same_server<'a>(base: &'a Registry, server: &Server<()>) -> Option<&'a Server> {
    base.servers.iter().find(|known| known.name == server.name && known.canonical_uri == server.canonical_uri)
}

fn not_in<T: Clone + PartialEq>(wanted: &[T], known: &[T]) -> Vec<T> {
    wanted.iter().filter(|thing| !known.contains(thing)).cloned().collect()
}
