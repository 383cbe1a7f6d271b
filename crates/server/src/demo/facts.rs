//! `demo.json`: the same facts as on the screen, for scripts. Readable by its owner only.

use super::{AGENT, DemoError};
use crate::data::write_private;
use portcullis_domain::fleet::Fleet;
use portcullis_domain::registry::Access;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::scope::ScopeSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file's whole content.
#[derive(Serialize, Deserialize)]
pub struct Facts {
    pub(super) issuer: String,
    pub(super) console: String,
    pub(super) admin: Account,
    pub(super) user: Account,
    agent: AgentFacts,
    introspector: Credentials,
    pub(super) servers: Vec<ServerFacts>,
}

/// Somebody who can sign in.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) username: String,
    pub(super) password: String,
}

/// The content of a delivered file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Credentials {
    client_id: String,
    client_secret: String,
}

#[derive(Serialize, Deserialize)]
struct AgentFacts {
    #[serde(flatten)]
    credentials: Credentials,
    access: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ServerFacts {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) tools: BTreeMap<String, Vec<String>>,
}

pub(super) struct People {
    pub(super) admin: Account,
    pub(super) user: Account,
}

pub(super) struct Machines {
    pub(super) agent: Credentials,
    pub(super) introspector: Credentials,
}

impl Facts {
    /// Where the file is.
    pub fn path(data: &Path) -> PathBuf {
        data.join("demo.json")
    }

    /// What an earlier start wrote; `None` if there is nothing usable.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Writes the file.
    pub fn write(&self, data: &Path) -> Result<(), DemoError> {
        let path = Self::path(data);
        serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .and_then(|json| write_private(&path, &json))
            .map_err(|source| DemoError::File { path, source })
    }

    pub(super) fn of(fleet: &Fleet, issuer: &Issuer, people: People, machines: Machines) -> Self {
        let access = fleet.agents.iter().find(|agent| agent.name.as_str() == AGENT);
        Self {
            issuer: issuer.to_string(),
            console: issuer.join("/console"),
            admin: people.admin,
            user: people.user,
            agent: AgentFacts {
                credentials: machines.agent,
                access: access.map(|agent| by_name(&agent.access)).unwrap_or_default(),
            },
            introspector: machines.introspector,
            servers: fleet
                .servers
                .iter()
                .map(|server| ServerFacts {
                    name: server.name.to_string(),
                    url: server.canonical_uri.to_string(),
                    tools: server
                        .rules
                        .iter()
                        .flat_map(|rule| rule.tools.iter().map(|tool| (tool.clone(), words(&rule.scopes))))
                        .collect(),
                })
                .collect(),
        }
    }
}

impl Credentials {
    pub(super) fn read(path: &Path) -> Result<Self, DemoError> {
        std::fs::read(path)
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(std::io::Error::from))
            .map_err(|source| DemoError::File { path: path.to_owned(), source })
    }
}

fn by_name(access: &Access) -> BTreeMap<String, Vec<String>> {
    access.iter().map(|(server, scopes)| (server.to_string(), words(scopes))).collect()
}

fn words(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}
