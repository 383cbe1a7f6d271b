//! The registry: servers, agents, roles, and what self-registered clients may reach.

use crate::connection::values;
use crate::error::Error;
use crate::feed::ChangeKind;
use crate::reader::Reader;
use crate::row::json;
use crate::sessions;
use crate::statements::statements;
use crate::tx::Tx;
use crate::upstream_connections::Holder;
use portcullis_domain::condition::Forbid;
use portcullis_domain::id::ServerId;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::registry::{Access, Agent, Client, ClientAuth, Name, Role, Server};
use portcullis_oauth::client::{AuthMethod, ClientId};
use portcullis_oauth::time::Timestamp;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Everything that is registered, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The newest change of the feed that is in it.
    pub number: u64,
    /// By name.
    pub servers: Vec<Server>,
    /// By name.
    pub agents: Vec<Agent>,
    /// By name.
    pub clients: Vec<Client>,
    /// By name.
    pub roles: Vec<Role>,
    /// What clients that registered themselves may reach.
    pub self_registered: Access,
    /// By name.
    pub forbids: Vec<Forbid>,
}

/// The setting that holds it.
const SELF_REGISTERED: &str = "registry.self_registered";

/// The setting that holds what is forbidden.
const FORBIDS: &str = "registry.forbids";

statements! {
    SERVERS = "SELECT name, body FROM server";
    AGENTS = "SELECT name, body FROM agent";
    AGENT = "SELECT name, body FROM agent WHERE client_id = $1";
    CLIENTS = "SELECT name, body FROM registered_client";
    ROLES = "SELECT name, body FROM role";
    KNOWN_TOOLS =
        "SELECT server_id, tool FROM pin UNION SELECT server_id, tool FROM sighting";
    PUT_SERVER =
        "INSERT INTO server (id, name, body) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, body = excluded.body WHERE server.body <> excluded.body";
    REMOVE_SERVER =
        "DELETE FROM server WHERE id = $1";
    PUT_AGENT =
        "INSERT INTO agent (client_id, name, body) VALUES ($1, $2, $3)
         ON CONFLICT (client_id) DO UPDATE SET name = excluded.name, body = excluded.body
         WHERE agent.body <> excluded.body";
    RENAME_AGENT_CLIENT =
        "UPDATE client SET agent_name = $2 WHERE id = $1 AND agent_name <> $2";
    REMOVE_AGENT =
        "DELETE FROM agent WHERE client_id = $1";
    PUT_REGISTERED =
        "INSERT INTO registered_client (client_id, name, body) VALUES ($1, $2, $3)
         ON CONFLICT (client_id) DO UPDATE SET name = excluded.name, body = excluded.body
         WHERE registered_client.body <> excluded.body";
    DESCRIBE_CLIENT =
        "UPDATE client SET name = $2, redirect_uris = $3, auth_method = $4 WHERE id = $1";
    REMOVE_REGISTERED =
        "DELETE FROM registered_client WHERE client_id = $1";
    DISABLE_CLIENT =
        "UPDATE client SET disabled = TRUE WHERE id = $1 AND NOT disabled";
    FORGET_SECRETS =
        "DELETE FROM client_secret WHERE client_id = $1";
    PUT_ROLE =
        "INSERT INTO role (name, body) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET body = excluded.body WHERE role.body <> excluded.body";
    REMOVE_ROLE =
        "DELETE FROM role WHERE name = $1";
}

impl Reader<'_> {
    /// Everything that is registered.
    pub async fn registry(&mut self) -> Result<Registry, Error> {
        // The number first: inside of a write on PostgreSQL each statement sees what was committed before it, and a
        // registry may be newer than its number, never older.
        let number = self.latest_change().await?;
        let mut servers: Vec<Server> = self.bodies(SERVERS, "server").await?;
        let mut agents: Vec<Agent> = self.bodies(AGENTS, "agent").await?;
        let mut clients: Vec<Client> = self.bodies(CLIENTS, "registered_client").await?;
        let mut roles: Vec<Role> = self.bodies(ROLES, "role").await?;
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        agents.sort_by(|a, b| a.name.cmp(&b.name));
        clients.sort_by(|a, b| a.name.cmp(&b.name));
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        let self_registered = self.part(SELF_REGISTERED).await?;
        let forbids = self.part(FORBIDS).await?;
        Ok(Registry { number, servers, agents, clients, roles, self_registered, forbids })
    }

    /// One agent.
    pub async fn agent(&mut self, client: &ClientId) -> Result<Option<Agent>, Error> {
        let row = self.connection.row(AGENT, values![client]).await?;
        row.map(|row| row.named("agent", client).json("body")).transpose()
    }

    /// A part of the registry that is one value.
    async fn part<T: Default + DeserializeOwned>(&mut self, setting: &'static str) -> Result<T, Error> {
        let Some(text) = self.setting(setting).await? else {
            return Ok(T::default());
        };
        let corrupt = |_| Error::Corrupt { table: "setting", column: "value", row: setting.to_owned() };
        serde_json::from_str(&text).map_err(corrupt)
    }

    /// Names of the tools that were ever seen, by server.
    pub async fn known_tools(&mut self) -> Result<BTreeMap<ServerId, Vec<String>>, Error> {
        let mut all: BTreeMap<ServerId, Vec<String>> = BTreeMap::new();
        for row in self.connection.rows(KNOWN_TOOLS, values![]).await? {
            let tool = row.text("tool")?;
            all.entry(row.named("pin", &tool).parsed("server_id")?).or_default().push(tool);
        }
        Ok(all)
    }

    async fn bodies<T: DeserializeOwned>(
        &mut self,
        sql: &'static str,
        table: &'static str,
    ) -> Result<Vec<T>, Error> {
        let rows = self.connection.rows(sql, values![]).await?;
        rows.into_iter()
            .map(|row| {
                let name = row.text("name")?;
                row.named(table, name).json("body")
            })
            .collect()
    }
}

impl Tx {
    /// Adds or changes a server; whether anything changed.
    pub async fn put_server(&mut self, server: &Server) -> Result<bool, Error> {
        let values = values![server.id, &server.name, json(server)?];
        let put = self.connection.execute(PUT_SERVER, values).await?;
        Ok(self.registry_changed(put))
    }

    /// Removes a server: its grants, codes and sessions end, and none of its tokens lives past `until`.
    pub async fn remove_server(&mut self, id: ServerId, until: Timestamp) -> Result<bool, Error> {
        let removed = self.connection.execute(REMOVE_SERVER, values![id]).await?;
        if removed == 1 {
            self.revoke_grants_on(id, until).await?;
            self.end_sessions_of(sessions::Of::Server(id), until).await?;
            self.end_connections_of(Holder::Server(id), until).await?;
            self.forget_upstream_clients(id).await?;
        }
        Ok(self.registry_changed(removed))
    }

    /// Adds or changes an agent, whose client exists; whether anything changed.
    pub async fn put_agent(&mut self, agent: &Agent) -> Result<bool, Error> {
        let values = values![&agent.client_id, &agent.name, json(agent)?];
        let put = self.connection.execute(PUT_AGENT, values).await?;
        let values = values![&agent.client_id, &agent.name];
        self.connection.execute(RENAME_AGENT_CLIENT, values).await?;
        if put > 0 {
            self.agent_changed(&agent.client_id);
        }
        Ok(put > 0)
    }

    /// Removes an agent: its client is disabled, its secrets are gone, its sessions end, and none of its tokens lives
    /// past `until`.
    pub async fn remove_agent(&mut self, client: &ClientId, until: Timestamp) -> Result<bool, Error> {
        let removed = self.connection.execute(REMOVE_AGENT, values![client]).await?;
        if removed == 1 {
            self.end_client(client, until).await?;
            self.agent_changed(client);
        }
        Ok(removed > 0)
    }

    /// Adds or changes a registered client, whose client row exists; whether anything changed.
    pub async fn put_registered(&mut self, client: &Client) -> Result<bool, Error> {
        let values = values![&client.client_id, &client.name, json(client)?];
        let put = self.connection.execute(PUT_REGISTERED, values).await?;
        if put == 1 {
            let method = match client.auth {
                ClientAuth::None => AuthMethod::None,
                ClientAuth::Secret => AuthMethod::ClientSecretBasic,
            };
            let uris = json(&client.redirect_uris)?;
            let values = values![&client.client_id, client.title.clone(), uris, json(&method)?];
            self.connection.execute(DESCRIBE_CLIENT, values).await?;
            if client.auth == ClientAuth::None {
                self.connection.execute(FORGET_SECRETS, values![&client.client_id]).await?;
            }
        }
        Ok(self.registry_changed(put))
    }

    /// Removes a registered client: it is disabled, its secrets are gone, what people granted it and its sessions end, and
    /// none of its tokens lives past `until`.
    pub async fn remove_registered(&mut self, client: &ClientId, until: Timestamp) -> Result<bool, Error> {
        let removed = self.connection.execute(REMOVE_REGISTERED, values![client]).await?;
        if removed == 1 {
            self.revoke_grants_of_client(client, until).await?;
            self.end_client(client, until).await?;
        }
        Ok(self.registry_changed(removed))
    }

    async fn end_client(&mut self, client: &ClientId, until: Timestamp) -> Result<(), Error> {
        self.connection.execute(DISABLE_CLIENT, values![client]).await?;
        self.connection.execute(FORGET_SECRETS, values![client]).await?;
        self.end_sessions_of(sessions::Of::Client(client), until).await?;
        let target = RevokedTarget::Client(client.clone());
        self.revoke(&Revocation { target, at: self.now(), until }).await
    }

    /// Adds or changes a role; whether anything changed.
    pub async fn put_role(&mut self, role: &Role) -> Result<bool, Error> {
        let values = values![&role.name, json(role)?];
        let put = self.connection.execute(PUT_ROLE, values).await?;
        Ok(self.registry_changed(put))
    }

    /// Removes a role. Tokens that name it get nothing by it from then on: roles are looked up at each decision.
    pub async fn remove_role(&mut self, name: &Name) -> Result<bool, Error> {
        let removed = self.connection.execute(REMOVE_ROLE, values![name]).await?;
        Ok(self.registry_changed(removed))
    }

    /// Says what self-registered clients may reach; whether that changed anything.
    pub async fn set_self_registered(&mut self, access: &Access) -> Result<bool, Error> {
        let changed = self.put_setting(SELF_REGISTERED, &json(access)?).await?;
        Ok(self.registry_changed(u64::from(changed)))
    }

    /// Says what is forbidden under conditions; whether that changed anything.
    pub async fn set_forbids(&mut self, forbids: &[Forbid]) -> Result<bool, Error> {
        let changed = self.put_setting(FORBIDS, &json(forbids)?).await?;
        Ok(self.registry_changed(u64::from(changed)))
    }

    fn registry_changed(&mut self, rows: u64) -> bool {
        if rows > 0 {
            self.changed(ChangeKind::Registry);
        }
        rows > 0
    }
}
