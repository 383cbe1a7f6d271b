//! What people call things, and which ids those are.

use super::error::Refusal;
use super::input::Missing;
use super::operator::Operator;
use crate::fault::Fault;
use portcullis_domain::builtin;
use portcullis_domain::id::{ServerId, UserId};
use portcullis_domain::registry::{Agent, Server};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ReadHandle, Registry, StoredUser};

/// No client has this id: ours are longer, and those of metadata documents are URLs.
const NOBODY: &str = "nobody";

/// The registry of one moment, to look names up in.
pub(super) struct Names {
    pub(super) registry: Registry,
}

impl Names {
    pub(super) async fn read(handle: &mut ReadHandle) -> Result<Self, Refusal> {
        Ok(Self { registry: handle.reader().registry().await? })
    }

    /// A server's name, or the id of one that is gone.
    pub(super) fn of_server(&self, id: ServerId) -> String {
        if id == builtin::SERVER_ID {
            return builtin::SERVER.to_owned();
        }
        self.server_by_id(id).map_or_else(|| id.to_string(), |server| server.name.to_string())
    }

    pub(super) fn server_by_id(&self, id: ServerId) -> Option<&Server> {
        self.registry.servers.iter().find(|server| server.id == id)
    }

    /// The server of this name, if the operator administers it; else the words for one that is not there (ADM-02).
    pub(super) fn server<R>(&self, name: &str, operator: &Operator<R>) -> Result<&Server, Refusal> {
        let own = || self.registry.servers.iter().filter(|server| operator.may_touch(&server.name));
        if let Some(server) = own().find(|server| server.name.as_str() == name) {
            return Ok(server);
        }
        Err(Missing::near("server", name, own().map(|server| server.name.as_str())).into())
    }

    /// The agent of this name.
    pub(super) fn agent(&self, name: &str) -> Result<&Agent, Missing> {
        let agents = &self.registry.agents;
        let found = agents.iter().find(|agent| agent.name.as_str() == name);
        found.ok_or_else(|| Missing::near("agent", name, agents.iter().map(|agent| agent.name.as_str())))
    }

    /// The client that the fleet file calls so. What clients call themselves is no name: anybody may choose it.
    pub(super) fn registered(&self, name: &str) -> Option<ClientId> {
        let mut clients = self.registry.clients.iter();
        clients.find(|client| client.name.as_str() == name).map(|client| client.client_id.clone())
    }

    /// The agent that has this client, by name.
    pub(super) fn of_agent(&self, client: &ClientId) -> Option<String> {
        let mut agents = self.registry.agents.iter();
        agents.find(|agent| agent.client_id == *client).map(|agent| agent.name.to_string())
    }

    /// Whether the operator administers the server of something; what hangs from a server that is gone is everybody's
    /// who reaches everything.
    pub(super) fn may_touch<R>(&self, id: ServerId, operator: &Operator<R>) -> bool {
        self.server_by_id(id)
            .map_or_else(|| operator.everywhere().is_ok(), |server| operator.may_touch(&server.name))
    }
}

/// The user of this name.
pub(super) async fn user(handle: &mut ReadHandle, name: &str) -> Result<StoredUser, Refusal> {
    if let Some(user) = handle.reader().user_by_name(name).await? {
        return Ok(user);
    }
    let all = handle.reader().users().await?;
    Err(Missing::near("user", name, all.iter().map(|user| user.username.as_str())).into())
}

/// A filter's client: an agent by name, or any client by id.
pub(super) fn client<R>(
    names: &Names,
    agent: Option<&str>,
    client: Option<&ClientId>,
    operator: &Operator<R>,
) -> Result<Option<ClientId>, Refusal> {
    let Some(name) = agent else { return Ok(client.cloned()) };
    match names.agent(name) {
        Ok(agent) => Ok(Some(agent.client_id.clone())),
        Err(missing) if operator.everywhere().is_ok() => Err(missing.into()),
        // ADM-02: who exists is not theirs to learn. No client is called so, and nothing is found.
        Err(_) => Ok(Some(nobody()?)),
    }
}

/// The id of a client that there is not.
pub(super) fn nobody() -> Result<ClientId, Fault> {
    NOBODY.parse().map_err(|_| Fault::Shape("the client that there is not"))
}

/// A filter's user: a name, or an id as the audit says it.
pub(super) async fn user_id<R>(
    handle: &mut ReadHandle,
    name: Option<&str>,
    operator: &Operator<R>,
) -> Result<Option<UserId>, Refusal> {
    let Some(name) = name else { return Ok(None) };
    if let Ok(id) = name.parse() {
        return Ok(Some(id));
    }
    if operator.everywhere().is_ok() {
        return Ok(Some(user(handle, name).await?.id));
    }
    // ADM-02: as for somebody who never did anything on their servers.
    let found = handle.reader().user_by_name(name).await?;
    Ok(Some(found.map_or(UserId::from_bytes([0; 16]), |user| user.id)))
}

/// A filter's server. Whoever administers some servers only has to name one.
pub(super) fn server_id<R>(
    names: &Names,
    name: Option<&str>,
    operator: &Operator<R>,
) -> Result<Option<ServerId>, Refusal> {
    match name {
        Some(builtin::SERVER) => operator.everywhere().map(|()| Some(builtin::SERVER_ID)),
        Some(name) => Ok(Some(names.server(name, operator)?.id)),
        None => operator.everywhere().map(|()| None),
    }
}

/// RFC 3339, in UTC.
pub(super) fn moment(at: Timestamp) -> Result<String, Fault> {
    let at = jiff::Timestamp::from_second(at.seconds()).map_err(|_| Fault::Shape("a stored time"))?;
    Ok(at.to_string())
}

impl Missing {
    /// There is no such thing, and ids are not mistyped but copied.
    pub(super) fn exactly(what: &'static str, id: &impl ToString) -> Self {
        Self::Named { what, name: id.to_string(), near: None }
    }

    /// There is no such thing; there may be one of nearly this name.
    pub(super) fn near<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let best = known.map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
        let near = best.filter(|(distance, _)| *distance <= 1 + name.len() / 3);
        Self::Named { what, name: name.to_owned(), near: near.map(|(_, near)| near.to_owned()) }
    }
}
