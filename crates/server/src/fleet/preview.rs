//! What applying a fleet would do, for a person to read first; and the fleet that there is (PC-34).

use super::Beyond;
use super::leavers;
use super::plan::{Plan, World};
use super::remarks::remarks;
use crate::api::By;
use crate::app::App;
use aws_lc_rs::digest;
use portcullis_domain::fleet::{Difference, Fleet};
use portcullis_domain::registry::Agent;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, ReadHandle, Registry};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Which registry it is, by its content. Revocations and keys, which the feed numbers too, do not change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

/// What applying would do.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Preview {
    /// In the words of the fleet file.
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub difference: Difference,
    /// Whether something may be taken from somebody.
    pub takes_away: bool,
    /// Who would get a secret, and a file with it: `agent NAME` or `client NAME`.
    pub secrets: Vec<String>,
    /// Running sessions that would end.
    pub ends: Vec<Ending>,
    /// Running sessions that would go on and may do less, or nothing while their agent or client is disabled or over.
    pub cut: Vec<Ending>,
    /// People who would leave a role: their tokens end, and are renewed without it.
    pub leavers: Vec<String>,
    /// What will not do what its author may expect.
    pub remarks: Vec<String>,
    /// What in it only an administrator may ask for, when whoever asks is none: applying it would be refused.
    pub needs_owner: Vec<String>,
    /// Who would get a secret in a new file of the machine, when whoever asks is elsewhere: applying it would be refused.
    pub needs_machine: Vec<String>,
    /// Of which registry this is said.
    #[serde(skip)]
    pub version: Version,
}

/// Sessions that end with a server or an agent.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ending {
    /// `server NAME` or `agent NAME`. A session of both is counted twice.
    pub with: String,
    /// How many are alive.
    pub sessions: u64,
}

impl Version {
    pub(super) fn of(registry: &Registry) -> Self {
        let Registry { number: _, servers, agents, clients, roles, self_registered, forbids } = registry;
        let text = serde_json::to_vec(&(servers, agents, clients, roles, self_registered, forbids))
            .unwrap_or_default();
        let hash = digest::digest(&digest::SHA256, &text);
        let mut hex = String::with_capacity(32);
        for byte in &hash.as_ref()[..16] {
            let _infallible = write!(hex, "{byte:02x}");
        }
        Self(hex)
    }

    /// As an entity tag (RFC 9110 s8.8.3).
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// What applying would do now, if this operator asks; `None` is whoever starts the process. Nothing is changed.
pub async fn preview(app: &App, fleet: &Fleet, by: Option<&By>) -> Result<Preview, Error> {
    let now = app.clock.now();
    let world = World::read(app, now).await?;
    let plan = Plan::between(&world, fleet, now, &mut app.entropy.rng());
    let mut handle = app.store.read().await?;
    let before = fleet_of(world.registry());
    let difference = Difference::between(&before, fleet, &app.config.issuer);
    let beyond = Beyond::of(by, &before, fleet);
    Ok(Preview {
        takes_away: difference.takes_away(),
        secrets: plan.without_secret.iter().map(|recipient| recipient.whose.clone()).collect(),
        ends: endings(world.registry(), &plan, &mut handle, now).await?,
        cut: cut(&difference, &plan, &mut handle, now).await?,
        leavers: leavers::names(&plan, handle.reader()).await?,
        remarks: remarks(app, fleet).await?,
        needs_owner: beyond.owners_only,
        needs_machine: beyond.new_places,
        version: world.version(),
        difference,
    })
}

/// Sessions of agents and clients that stay and may do less.
async fn cut(
    difference: &Difference,
    plan: &Plan,
    handle: &mut ReadHandle,
    now: Timestamp,
) -> Result<Vec<Ending>, Error> {
    let narrowed: BTreeSet<&str> =
        difference.narrowed.iter().map(|narrowed| narrowed.whose.as_str()).collect();
    let was_over = |agent: &&Agent| {
        let before = plan.base.agents.iter().find(|known| known.client_id == agent.client_id);
        before.is_none_or(|before| before.has_ended(now))
    };
    let mut all = Vec::new();
    // By the registry before: a changed server narrows agents that are not changed themselves.
    for agent in &plan.base.agents {
        all.push((format!("agent {}", agent.name), &agent.client_id));
    }
    for client in &plan.base.clients {
        all.push((format!("client {}", client.name), &client.client_id));
    }
    let over = plan.put_agents.iter().filter(|agent| !was_over(agent) && agent.has_ended(now));
    let over: BTreeSet<String> = over.map(|agent| format!("agent {}", agent.name)).collect();
    all.retain(|(whose, _)| narrowed.contains(whose.as_str()) || over.contains(whose));
    all.sort();
    all.dedup();
    let mut cut = Vec::new();
    for (with, client) in all {
        let sessions = handle.reader().live_sessions_of_client(client, now).await?;
        cut.push(Ending { with, sessions });
    }
    cut.retain(|ending| ending.sessions > 0);
    Ok(cut)
}

async fn endings(
    registry: &Registry,
    plan: &Plan,
    handle: &mut ReadHandle,
    now: Timestamp,
) -> Result<Vec<Ending>, Error> {
    let mut all = Vec::new();
    for server in registry.servers.iter().filter(|server| plan.remove_servers.contains(&server.id)) {
        let sessions = handle.reader().live_sessions_on(server.id, now).await?;
        all.push(Ending { with: format!("server {}", server.name), sessions });
    }
    for agent in registry.agents.iter().filter(|agent| plan.remove_agents.contains(&agent.client_id)) {
        let sessions = handle.reader().live_sessions_of_client(&agent.client_id, now).await?;
        all.push(Ending { with: format!("agent {}", agent.name), sessions });
    }
    for client in registry.clients.iter().filter(|client| plan.remove_clients.contains(&client.client_id)) {
        let sessions = handle.reader().live_sessions_of_client(&client.client_id, now).await?;
        all.push(Ending { with: format!("client {}", client.name), sessions });
    }
    all.retain(|ending| ending.sessions > 0);
    Ok(all)
}

/// The fleet that is registered now, and which registry that is.
pub async fn export(app: &App) -> Result<(Fleet, Version), Error> {
    let registry = app.store.read().await?.reader().registry().await?;
    Ok((fleet_of(&registry), Version::of(&registry)))
}

pub(super) fn fleet_of(registry: &Registry) -> Fleet {
    Fleet {
        servers: registry.servers.iter().cloned().map(|server| server.with_id(())).collect(),
        agents: registry.agents.iter().cloned().map(|agent| agent.with_id(())).collect(),
        clients: registry.clients.iter().cloned().map(|client| client.with_id(())).collect(),
        roles: registry.roles.clone(),
        self_registered: registry.self_registered.clone(),
        forbids: registry.forbids.clone(),
    }
}
