//! What a gateway needs to decide: one immutable, numbered, serialisable value, and the updates that bring it.

mod share;

pub use share::Share;

use crate::condition::Forbid;
use crate::id::ServerId;
use crate::pins::Pins;
use crate::principal::Revocation;
use crate::registry::{Access, Agent, Client, Role, Server};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwk::JwkSet;
use portcullis_oauth::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a snapshot can say. Raised with everything new that a gateway must know of to refuse rightly: whoever knows another
/// format than the control room's decides by none of it.
pub const FORMAT: u32 = 1;

/// Registry, policy and public keys at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Position in the feed of changes.
    pub number: u64,
    /// Whose tokens count.
    pub issuer: Issuer,
    /// Keys of access tokens; assertion keys are never among them.
    pub keys: JwkSet,
    /// PC-03, in seconds; at most 60.
    pub leeway_seconds: u64,
    /// The longest life of any access token, in seconds.
    pub max_life_seconds: u64,
    /// Registered servers.
    pub servers: Vec<Server>,
    /// Registered agents with their ceilings.
    pub agents: Vec<Agent>,
    /// Clients that the operator registered, with their ceilings.
    #[serde(default)]
    pub clients: Vec<Client>,
    /// Roles of people with their ceilings.
    pub roles: Vec<Role>,
    /// What clients that registered themselves may reach, for any user.
    pub self_registered: Access,
    /// What is forbidden under conditions, whoever may do it otherwise.
    pub forbids: Vec<Forbid>,
    /// PC-33: how the tools of each server are to look.
    #[serde(default)]
    pub pins: BTreeMap<ServerId, Pins>,
}

/// Agents that are not what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedAgents {
    /// New or changed, as they are now.
    pub put: Vec<Agent>,
    /// Gone.
    pub removed: Vec<ClientId>,
}

impl ChangedAgents {
    /// Whether what is known of this agent no longer counts.
    pub fn concern(&self, client: &ClientId) -> bool {
        self.removed.contains(client) || self.put.iter().any(|agent| agent.client_id == *client)
    }
}

impl Snapshot {
    /// The same with these agents, at this position of the feed; agents stay in the order of their names.
    #[must_use]
    pub fn with_agents(mut self, changed: &ChangedAgents, number: u64) -> Self {
        self.number = number;
        self.agents.retain(|agent| !changed.concern(&agent.client_id));
        self.agents.extend(changed.put.iter().cloned());
        self.agents.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }
}

/// One message of the feed that a gateway follows. Travels as JSON bytes, even within one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "update")]
pub enum Update {
    /// Some of what is no longer believed, ahead of a [`Update::Full`] that leaves it out: there may be very much of it. By it
    /// nobody is believed more, and nothing gets fresher.
    Ahead {
        /// Some of it.
        revocations: Vec<Revocation>,
    },
    /// Nothing changed: the follower was up to date at this moment.
    Fresh {
        /// The number that is still current.
        number: u64,
        /// When that was so.
        as_of: Timestamp,
    },
    /// Everything, anew.
    Full {
        /// The new state.
        snapshot: Box<Snapshot>,
        /// Every revocation that still matters, but for those that came ahead.
        revocations: Vec<Revocation>,
        /// When that was so.
        as_of: Timestamp,
    },
    /// Some agents are new, changed or gone, and nothing else is. Only for whoever has heard of everything up to `after`.
    Agents {
        /// Position in the feed before these.
        after: u64,
        /// Position in the feed after these.
        number: u64,
        /// What became of them.
        agents: ChangedAgents,
        /// What is no longer believed since `after`.
        revocations: Vec<Revocation>,
        /// When that was so.
        as_of: Timestamp,
    },
    /// Some more things are no longer believed.
    Revoked {
        /// Position in the feed after these.
        number: u64,
        /// The new ones.
        revocations: Vec<Revocation>,
        /// When that was so.
        as_of: Timestamp,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::registry::{Members, Placement, Rule, ScopeMeaning, Upstream, UpstreamCredential};
    use portcullis_oauth::scope::ScopeSet;

    fn scopes(text: &str) -> ScopeSet {
        text.parse().unwrap()
    }

    fn rule(tool: &str, needs: &str) -> Rule {
        Rule {
            tools: vec![tool.to_owned()],
            prompts: vec![],
            resources: vec![],
            methods: vec![],
            scopes: scopes(needs),
            risk: crate::registry::Risk::Usual,
        }
    }

    /// One server `notes`, one agent `cli_agent` that may read, one role `engineers` that may write.
    pub(crate) fn snapshot() -> Snapshot {
        let meaning =
            |says: &str, implies: &str| ScopeMeaning { says: says.to_owned(), implies: scopes(implies) };
        let access = |text: &str| BTreeMap::from([("notes".parse().unwrap(), scopes(text))]);
        Snapshot {
            number: 1,
            issuer: "https://as.test".parse().unwrap(),
            keys: JwkSet::default(),
            leeway_seconds: 30,
            max_life_seconds: 3600,
            servers: vec![Server {
                id: ServerId::from_bytes([1; 16]),
                name: "notes".parse().unwrap(),
                title: "Team notes".into(),
                canonical_uri: "https://as.test/mcp/notes".parse().unwrap(),
                placement: Placement::Gateway {
                    upstream: Upstream::Url("http://127.0.0.1:9/mcp".into()),
                    credential: UpstreamCredential::Assertion,
                    tls: crate::registry::UpstreamTls::default(),
                },
                access_seconds: None,
                labels: vec![],
                owners: vec![],
                observe: false,
                pinning: crate::registry::Pinning::default(),
                other_transports: std::collections::BTreeSet::default(),
                limits: crate::registry::ServerLimits::default(),
                issuers: crate::registry::Issuers::default(),
                default_scopes: scopes("notes:read"),
                scopes: BTreeMap::from([
                    ("notes:read".parse().unwrap(), meaning("Read notes", "")),
                    ("notes:write".parse().unwrap(), meaning("Change notes", "notes:read")),
                ]),
                rules: vec![rule("list_notes", "notes:read"), rule("create_note", "notes:write")],
            }],
            agents: vec![Agent {
                client_id: "cli_agent".parse().unwrap(),
                name: "ci-bot".parse().unwrap(),
                owner: "platform".into(),
                labels: vec![],
                disabled: false,
                expires_at: None,
                access: access("notes:read"),
                introspects: vec![],
                deliver: None,
            }],
            clients: vec![],
            roles: vec![Role {
                name: "engineers".parse().unwrap(),
                members: Members { group: Some("eng".into()), users: vec![] },
                access: access("notes:write"),
            }],
            self_registered: access("notes:read notes:write"),
            forbids: vec![],
            pins: BTreeMap::new(),
        }
    }

    #[test]
    fn pc_62_a_snapshot_survives_the_trip_as_bytes() {
        let update = Update::Full {
            snapshot: Box::new(snapshot()),
            revocations: vec![],
            as_of: Timestamp::from_seconds(5),
        };
        let bytes = serde_json::to_vec(&update).unwrap();
        assert_eq!(serde_json::from_slice::<Update>(&bytes).unwrap(), update);
    }
}
