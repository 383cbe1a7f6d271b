//! A fleet in the shape of its file: what `export` prints, and what differences are told in.

use super::{Fleet, moment};
use issuers::WrittenIssuer;
use upstream::{WrittenUpstream, WrittenUpstreamCredential};
mod issuers;
mod upstream;

use crate::condition::{Forbid, When};
use crate::registry::{
    Access, Agent, Client, ClientAuth, Members, Name, OtherTransport, Pinning, Placement, Risk, Role, Rule,
    ScopeMeaning, Server, ServerLimits,
};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::redirect::RedirectUri;
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::Scope;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

impl Fleet {
    /// The fleet file that says this; reading it under the same issuer gives this fleet again.
    ///
    /// # Errors
    /// None that a fleet can cause: whatever was read from a file can be written to one.
    pub fn to_toml(&self, issuer: &Issuer) -> Result<String, toml::ser::Error> {
        let file = WrittenFleet {
            server: self.servers.iter().map(|server| WrittenServer::of(server, issuer)).collect(),
            agent: self.agents.iter().map(WrittenAgent::of).collect(),
            client: self.clients.iter().map(WrittenClient::of).collect(),
            role: self.roles.iter().map(WrittenRole::of).collect(),
            self_registered: (!self.self_registered.is_empty())
                .then(|| WrittenSelfRegistered { access: written(&self.self_registered) }),
            forbid: self.forbids.iter().map(WrittenForbid::of).collect(),
        };
        toml::to_string(&file)
    }
}

pub(super) type WrittenAccess<'a> = BTreeMap<&'a Name, Vec<&'a Scope>>;

pub(super) fn written(access: &Access) -> WrittenAccess<'_> {
    access.iter().map(|(server, scopes)| (server, scopes.iter().collect())).collect()
}

#[derive(Serialize)]
struct WrittenFleet<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    server: Vec<WrittenServer<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    agent: Vec<WrittenAgent<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    client: Vec<WrittenClient<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    role: Vec<WrittenRole<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_registered: Option<WrittenSelfRegistered<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forbid: Vec<WrittenForbid<'a>>,
}

#[derive(Serialize)]
struct WrittenSelfRegistered<'a> {
    access: WrittenAccess<'a>,
}

#[derive(Serialize)]
pub(super) struct WrittenServer<'a> {
    name: &'a Name,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    canonical_uri: Option<&'a ResourceUri>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<WrittenUpstream<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<WrittenUpstreamCredential<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    labels: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    owners: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    observe: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinning: Option<Pinning>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    other_transports: &'a BTreeSet<OtherTransport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuers: Option<Vec<WrittenIssuer<'a>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    default_scopes: Vec<&'a Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<WrittenLimits>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    scopes: BTreeMap<&'a Scope, WrittenScope<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rule: Vec<WrittenRule<'a>>,
}

impl<'a> WrittenServer<'a> {
    /// An address that is the default is left out.
    pub(super) fn of<Id>(server: &'a Server<Id>, issuer: &Issuer) -> Self {
        let default_uri = issuer.join(&format!("/mcp/{}", server.name)).parse::<ResourceUri>();
        let is_default = default_uri.as_ref() == Ok(&server.canonical_uri);
        let (mode, upstream, credential) = match &server.placement {
            Placement::Direct => (Some("direct"), None, None),
            Placement::Gateway { upstream, credential, tls } => {
                let shown = WrittenUpstreamCredential::of(credential, tls, upstream);
                (None, Some(WrittenUpstream::of(upstream, tls)), shown)
            }
        };
        Self {
            name: &server.name,
            title: &server.title,
            canonical_uri: (!is_default).then_some(&server.canonical_uri),
            mode,
            upstream,
            credential,
            // A file says whole minutes only.
            access: server.access_seconds.map(|seconds| format!("{}m", seconds / 60)),
            labels: &server.labels,
            owners: &server.owners,
            observe: server.observe,
            pinning: (server.pinning != Pinning::default()).then_some(server.pinning),
            other_transports: &server.other_transports,
            issuers: WrittenIssuer::all(&server.issuers),
            limits: WrittenLimits::of(&server.limits),
            default_scopes: server.default_scopes.iter().collect(),
            scopes: server.scopes.iter().map(|(scope, meaning)| (scope, WrittenScope::of(meaning))).collect(),
            rule: server.rules.iter().map(WrittenRule::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct WrittenLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    calls_per_minute: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls_at_once: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_timeout: Option<String>,
}

impl WrittenLimits {
    fn of(limits: &ServerLimits) -> Option<Self> {
        let ServerLimits { calls_per_minute, calls_at_once, body, upstream_timeout } = *limits;
        let upstream_timeout = upstream_timeout.map(|seconds| format!("{seconds}s"));
        (!limits.is_empty()).then_some(Self { calls_per_minute, calls_at_once, body, upstream_timeout })
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum WrittenScope<'a> {
    Says(&'a str),
    Full { says: &'a str, implies: Vec<&'a Scope> },
}

impl<'a> WrittenScope<'a> {
    fn of(meaning: &'a ScopeMeaning) -> Self {
        if meaning.implies.is_empty() {
            Self::Says(&meaning.says)
        } else {
            Self::Full { says: &meaning.says, implies: meaning.implies.iter().collect() }
        }
    }
}

#[derive(Serialize)]
struct WrittenRule<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tools: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    prompts: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    resources: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    methods: &'a [String],
    scopes: Vec<&'a Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    risk: Option<Risk>,
}

impl<'a> WrittenRule<'a> {
    fn of(rule: &'a Rule) -> Self {
        Self {
            tools: &rule.tools,
            prompts: &rule.prompts,
            resources: &rule.resources,
            methods: &rule.methods,
            scopes: rule.scopes.iter().collect(),
            risk: (rule.risk != Risk::default()).then_some(rule.risk),
        }
    }
}

#[derive(Serialize)]
pub(super) struct WrittenAgent<'a> {
    name: &'a Name,
    owner: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    labels: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "<[Name]>::is_empty")]
    introspects: &'a [Name],
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<WrittenCredential<'a>>,
    access: WrittenAccess<'a>,
}

#[derive(Serialize)]
struct WrittenCredential<'a> {
    secret: WrittenSecret<'a>,
}

#[derive(Serialize)]
struct WrittenSecret<'a> {
    deliver: &'a str,
}

impl<'a> WrittenCredential<'a> {
    fn of(deliver: &'a str) -> Self {
        Self { secret: WrittenSecret { deliver } }
    }
}

#[derive(Serialize)]
pub(super) struct WrittenClient<'a> {
    name: &'a Name,
    title: &'a str,
    owner: &'a str,
    redirect_uris: &'a [RedirectUri],
    auth: ClientAuth,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<WrittenCredential<'a>>,
    access: WrittenAccess<'a>,
}

impl<'a> WrittenClient<'a> {
    pub(super) fn of<Id>(client: &'a Client<Id>) -> Self {
        Self {
            name: &client.name,
            title: &client.title,
            owner: &client.owner,
            redirect_uris: &client.redirect_uris,
            auth: client.auth,
            disabled: client.disabled,
            credential: client.deliver.as_deref().map(WrittenCredential::of),
            access: written(&client.access),
        }
    }
}

impl<'a> WrittenAgent<'a> {
    pub(super) fn of<Id>(agent: &'a Agent<Id>) -> Self {
        Self {
            name: &agent.name,
            owner: &agent.owner,
            labels: &agent.labels,
            disabled: agent.disabled,
            expires: agent.expires_at.map(moment::written),
            introspects: &agent.introspects,
            credential: agent.deliver.as_deref().map(WrittenCredential::of),
            access: written(&agent.access),
        }
    }
}

#[derive(Serialize)]
pub(super) struct WrittenRole<'a> {
    name: &'a Name,
    members: &'a Members,
    access: WrittenAccess<'a>,
}

impl<'a> WrittenRole<'a> {
    pub(super) fn of(role: &'a Role) -> Self {
        Self { name: &role.name, members: &role.members, access: written(&role.access) }
    }
}

#[derive(Serialize)]
pub(super) struct WrittenForbid<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "<[Name]>::is_empty")]
    servers: &'a [Name],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    labels: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<&'a Scope>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tools: &'a [String],
    #[serde(skip_serializing_if = "<[Name]>::is_empty")]
    agents: &'a [Name],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    agent_labels: &'a [String],
    #[serde(skip_serializing_if = "<[Name]>::is_empty")]
    roles: &'a [Name],
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<&'a When>,
}

impl<'a> WrittenForbid<'a> {
    fn of(forbid: &'a Forbid) -> Self {
        Self {
            name: &forbid.name,
            servers: &forbid.servers,
            labels: &forbid.labels,
            scopes: forbid.scopes.iter().collect(),
            tools: &forbid.tools,
            agents: &forbid.agents,
            agent_labels: &forbid.agent_labels,
            roles: &forbid.roles,
            when: (forbid.when != When::default()).then_some(&forbid.when),
        }
    }

    /// For the difference, in which each has its name.
    pub(super) fn by_name(forbids: &'a [Forbid]) -> BTreeMap<String, Self> {
        let named = |forbid: &'a Forbid| (format!("forbid {}", forbid.name), Self::of(forbid));
        forbids.iter().map(named).collect()
    }
}
