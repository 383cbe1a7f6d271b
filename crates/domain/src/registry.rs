//! Registered servers, agents and roles: what the fleet file declares, with the ids that we gave.

mod issuers;
mod limits;
mod place;
mod upstream;

pub use issuers::{Issuers, LONGEST_EXTERNAL_LIFE, Proof, ScopeClaim, TokenType, TrustedIssuer};
pub use limits::ServerLimits;
pub use place::{InvalidSecretPlace, SecretPlace};
pub use upstream::{
    ClientCertificate, ClientCredentials, PerUser, PerUserClient, Placement, TokenEndpoint, Upstream,
    UpstreamCredential, UpstreamTls, is_never_dialled,
};

use crate::id::ServerId;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::redirect::RedirectUri;
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The name of a server, agent or role: 1 to 63 of `a-z 0-9 -`, beginning with a letter or digit. It stands in paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 63 characters of a-z, 0-9 and -, beginning with a letter or digit")]
pub struct InvalidName;

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=63).contains(&text.len()) && text.bytes().all(legal) && !text.starts_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The most that somebody may ever get, by server.
pub type Access = BTreeMap<Name, ScopeSet>;

/// A registered MCP server; `Server<()>` is one that was declared and has no id yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server<Id = ServerId> {
    /// Ours; grants and sessions hang from it.
    pub id: Id,
    /// Unique; part of the default address.
    pub name: Name,
    /// For people.
    pub title: String,
    /// The audience of its tokens.
    pub canonical_uri: ResourceUri,
    /// Behind the gateway, or on its own.
    pub placement: Placement,
    /// Life of its access tokens in seconds; `None` means the deployment's.
    pub access_seconds: Option<u64>,
    /// Words for conditions and people.
    pub labels: Vec<String>,
    /// User names of those who answer for it and may administer it, and nothing else.
    #[serde(default)]
    pub owners: Vec<String>,
    /// PC-36: what it would refuse for want of scope is recorded and let through, to try a new rule set. Identity and
    /// audience are always enforced.
    #[serde(default)]
    pub observe: bool,
    /// How its tool definitions are held (PC-33).
    #[serde(default)]
    pub pinning: Pinning,
    /// How else than by Streamable HTTP it may be spoken to (PC-01).
    #[serde(default)]
    pub other_transports: BTreeSet<OtherTransport>,
    /// Whose tokens count (PC-06).
    #[serde(default)]
    pub issuers: Issuers,
    /// What it is asked for at most (PC-53).
    #[serde(default, skip_serializing_if = "ServerLimits::is_empty")]
    pub limits: ServerLimits,
    /// What a request without `scope` means (PC-1A).
    pub default_scopes: ScopeSet,
    /// Every scope there is on this server.
    pub scopes: BTreeMap<Scope, ScopeMeaning>,
    /// What needs which scopes. No rule means no call (PC-07).
    pub rules: Vec<Rule>,
}

impl<Id> Server<Id> {
    /// The same server under another id.
    pub fn with_id<New>(self, id: New) -> Server<New> {
        Server {
            id,
            name: self.name,
            title: self.title,
            canonical_uri: self.canonical_uri,
            placement: self.placement,
            access_seconds: self.access_seconds,
            labels: self.labels,
            owners: self.owners,
            observe: self.observe,
            pinning: self.pinning,
            other_transports: self.other_transports,
            issuers: self.issuers,
            limits: self.limits,
            default_scopes: self.default_scopes,
            scopes: self.scopes,
            rules: self.rules,
        }
    }
}

impl<Id> Agent<Id> {
    /// The same agent under another client id.
    pub fn with_id<New>(self, client_id: New) -> Agent<New> {
        Agent {
            client_id,
            name: self.name,
            owner: self.owner,
            labels: self.labels,
            disabled: self.disabled,
            expires_at: self.expires_at,
            access: self.access,
            introspects: self.introspects,
            deliver: self.deliver,
        }
    }
}

/// What a scope means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeMeaning {
    /// A sentence that a person understands, for the consent page.
    pub says: String,
    /// Scopes that this one includes.
    pub implies: ScopeSet,
}

/// How a server's tool definitions are held (PC-33): a definition that is not the pinned one is not callable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pinning {
    /// Nothing is callable before a person approved it.
    Approved,
    /// What is seen first is pinned; whatever changes or comes later waits for a person.
    #[default]
    FirstSight,
    /// Definitions may change at any time; posture says so.
    Off,
}

/// How else than by Streamable HTTP, which is always served, a server behind the gateway may be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherTransport {
    /// The pair of 2024-11-05: a GET stream at `/sse` below the server's address, and POSTs to an address that it names.
    HttpSse,
    /// WebSocket at `/ws` below the server's address.
    Websocket,
}

/// What needs which scopes. Patterns are exact names or globs, where `*` is any run of characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Tools.
    pub tools: Vec<String>,
    /// Prompts.
    pub prompts: Vec<String>,
    /// Resource URIs.
    pub resources: Vec<String>,
    /// Methods that MCP itself has no meaning for, by their exact names.
    #[serde(default)]
    pub methods: Vec<String>,
    /// All of these are needed; never empty.
    pub scopes: ScopeSet,
    /// Marked on the consent page; audited strictly.
    pub risk: Risk,
}

/// How much harm a call can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Think twice.
    High,
    /// As any other.
    #[default]
    Usual,
}

/// A registered non-human identity; `Agent<()>` is one that was declared and has no client id yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent<Id = ClientId> {
    /// Ours; it authenticates with this and is the subject of its tokens.
    pub client_id: Id,
    /// Unique.
    pub name: Name,
    /// Who answers for it.
    pub owner: String,
    /// Words for conditions and people.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Gets no token, and none of its tokens counts.
    #[serde(default)]
    pub disabled: bool,
    /// From then on as if it were disabled.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Its ceiling.
    pub access: Access,
    /// Servers whose tokens it may introspect (RFC 7662).
    pub introspects: Vec<Name>,
    /// Where its secret is delivered: `file:PATH`. `None`: it has no secret yet.
    pub deliver: Option<String>,
}

impl<Id> Agent<Id> {
    /// Whether it may get nothing and do nothing any more.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.disabled || self.expires_at.is_some_and(|end| end.has_passed(now))
    }
}

/// OAuth client software that the operator registered; `Client<()>` is one that was declared and has no client id yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client<Id = ClientId> {
    /// Ours; it names itself with this.
    pub client_id: Id,
    /// Unique among clients.
    pub name: Name,
    /// For people: it stands on the consent page.
    pub title: String,
    /// Who answers for it.
    pub owner: String,
    /// Where answers may go; compared as RFC 8252 s7 and OAuth 2.1 s8.4 say. Never empty.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it proves itself.
    pub auth: ClientAuth,
    /// Where its secret is delivered: `file:PATH`. Public clients have none.
    pub deliver: Option<String>,
    /// Gets no token, and none of its tokens counts.
    pub disabled: bool,
    /// The most that anybody may do through it.
    pub access: Access,
}

/// How a registered client proves itself at the token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// It cannot keep a secret: PKCE is all it has.
    #[default]
    None,
    /// By a secret that we make.
    Secret,
}

impl<Id> Client<Id> {
    /// The same client under another client id.
    pub fn with_id<New>(self, client_id: New) -> Client<New> {
        Client {
            client_id,
            name: self.name,
            title: self.title,
            owner: self.owner,
            redirect_uris: self.redirect_uris,
            auth: self.auth,
            deliver: self.deliver,
            disabled: self.disabled,
            access: self.access,
        }
    }
}

/// What people may do, by group or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Unique; tokens name it.
    pub name: Name,
    /// Whose role it is.
    pub members: Members,
    /// The ceiling.
    pub access: Access,
}

/// Whose role it is: everyone in the group, and the users named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// A group that the sign-in names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// User names of local accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}

impl Members {
    /// Whether a person with this name and these groups is among them.
    pub fn include(&self, username: &str, groups: &[String]) -> bool {
        self.users.iter().any(|user| user == username)
            || self.group.as_ref().is_some_and(|group| groups.contains(group))
    }
}
