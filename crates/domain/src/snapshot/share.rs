//! As much of a snapshot as a gateway elsewhere needs (PC-62): what it decides and forwards by, and nothing about people.

use super::{ChangedAgents, Snapshot};
use crate::builtin;
use crate::registry::{Access, Agent, Client, Members, Name, Placement, UpstreamCredential};
use std::collections::BTreeSet;

/// Which servers a gateway serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// All that stand behind a gateway.
    Everything,
    /// These; of others it learns nothing.
    Servers(BTreeSet<Name>),
}

impl From<Option<Vec<Name>>> for Share {
    fn from(names: Option<Vec<Name>>) -> Self {
        names.map_or(Self::Everything, |names| Self::Servers(names.into_iter().collect()))
    }
}

impl Share {
    /// Whether it serves this one. Our own API is behind no gateway.
    pub fn holds(&self, name: &Name) -> bool {
        match self {
            Self::Everything => !builtin::is_reserved_server(name),
            Self::Servers(names) => names.contains(name) && !builtin::is_reserved_server(name),
        }
    }

    /// What is left of a snapshot: no server that checks tokens itself, no names of people, no place where a secret is
    /// delivered. Decisions about the servers that are left are the same.
    #[must_use]
    pub fn of_snapshot(&self, mut snapshot: Snapshot) -> Snapshot {
        let is_behind = |placement: &Placement| match placement {
            Placement::Gateway { .. } => true,
            Placement::Direct => false,
        };
        snapshot.servers.retain(|server| is_behind(&server.placement) && self.holds(&server.name));
        for server in &mut snapshot.servers {
            server.owners.clear();
            // Whom we are to a third party, the control room alone shows.
            if let Placement::Gateway { credential: UpstreamCredential::PerUser(asks), .. } =
                &mut server.placement
            {
                asks.client = None;
            }
        }
        let servers: BTreeSet<_> = snapshot.servers.iter().map(|server| server.id).collect();
        snapshot.pins.retain(|server, _| servers.contains(server));
        snapshot.agents = snapshot.agents.into_iter().filter_map(|agent| self.of_agent(agent)).collect();
        // None is left out, however little it may: a client that is not known here would count as one that registered itself.
        snapshot.clients = snapshot.clients.into_iter().map(|client| self.of_client(client)).collect();
        for role in &mut snapshot.roles {
            role.members = Members::default();
            role.access = self.of_access(std::mem::take(&mut role.access));
        }
        snapshot.roles.retain(|role| !role.access.is_empty());
        snapshot.self_registered = self.of_access(snapshot.self_registered);
        snapshot
    }

    /// What is left of changes of agents: one that may do nothing here any more is gone.
    #[must_use]
    pub fn of_agents(&self, changed: ChangedAgents) -> ChangedAgents {
        let ChangedAgents { put, mut removed } = changed;
        let mut left = Vec::new();
        for agent in put {
            let client_id = agent.client_id.clone();
            match self.of_agent(agent) {
                Some(agent) => left.push(agent),
                None => removed.push(client_id),
            }
        }
        ChangedAgents { put: left, removed }
    }

    fn of_access(&self, mut access: Access) -> Access {
        access.retain(|server, _| self.holds(server));
        access
    }

    fn of_agent(&self, agent: Agent) -> Option<Agent> {
        let access = self.of_access(agent.access);
        let left = Agent { owner: String::new(), access, introspects: Vec::new(), deliver: None, ..agent };
        (!left.access.is_empty()).then_some(left)
    }

    fn of_client(&self, client: Client) -> Client {
        Client {
            title: String::new(),
            owner: String::new(),
            redirect_uris: Vec::new(),
            deliver: None,
            access: self.of_access(client.access),
            ..client
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{ClientAuth, Role};
    use crate::snapshot::tests::snapshot;

    fn whole() -> Snapshot {
        let mut whole = builtin::installed(snapshot());
        let mut other = whole.servers[0].clone();
        other.id = crate::id::ServerId::from_bytes([2; 16]);
        other.name = "ops".parse().unwrap();
        other.canonical_uri = "https://as.test/mcp/ops".parse().unwrap();
        whole.servers[0].owners = vec!["alice".into()];
        whole.servers.push(other);
        whole.agents[0].deliver = Some("file:/run/secrets/ci".into());
        let access = Access::from([("ops".parse().unwrap(), "notes:read".parse().unwrap())]);
        whole.agents.push(Agent {
            client_id: "cli_ops".parse().unwrap(),
            name: "ops-bot".parse().unwrap(),
            access: access.clone(),
            ..whole.agents[0].clone()
        });
        whole.roles.push(Role {
            name: "operators".parse().unwrap(),
            members: Members { group: None, users: vec!["bob".into()] },
            access: access.clone(),
        });
        whole.clients.push(Client {
            client_id: "cli_desk".parse().unwrap(),
            name: "desk".parse().unwrap(),
            title: "Desk of alice".into(),
            owner: "alice".into(),
            redirect_uris: vec!["https://desk.test/back".parse().unwrap()],
            auth: ClientAuth::None,
            deliver: None,
            disabled: false,
            access,
        });
        whole
    }

    #[test]
    fn pc_62_a_gateway_learns_of_no_person_and_no_server_that_is_not_its_own() {
        let notes = Share::from(Some(vec!["notes".parse().unwrap()]));
        let left = notes.of_snapshot(whole());
        let text = serde_json::to_string(&left).unwrap();
        for strange in ["alice", "bob", "platform", "/run/secrets", "ops", "desk.test", "/api/v1"] {
            assert!(!text.contains(strange), "{strange}: {text}");
        }
        assert_eq!((left.servers.len(), left.agents.len(), left.roles.len()), (1, 1, 1));
        assert_eq!(left.clients[0].client_id.as_str(), "cli_desk", "known, and may nothing");
        assert!(left.clients[0].access.is_empty());
        let all = Share::Everything.of_snapshot(whole());
        assert_eq!((all.servers.len(), all.agents.len(), all.roles.len()), (2, 2, 2));
        assert!(!serde_json::to_string(&all).unwrap().contains("bob"));
    }

    #[test]
    fn pc_62_an_agent_that_lost_its_access_here_is_gone_here() {
        let notes = Share::from(Some(vec!["notes".parse().unwrap()]));
        let agents = whole().agents;
        let changed = ChangedAgents { put: agents, removed: vec!["cli_gone".parse().unwrap()] };
        let left = notes.of_agents(changed);
        assert_eq!(left.put.len(), 1);
        let removed: Vec<&str> =
            left.removed.iter().map(portcullis_oauth::client::ClientId::as_str).collect();
        assert_eq!(removed, ["cli_gone", "cli_ops"]);
    }
}
