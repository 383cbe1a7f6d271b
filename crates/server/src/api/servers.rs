//! Servers: what is registered, and what is going on there. Adding, changing and removing is the fleet file's.

use super::error::Refusal;
use super::names::{Names, moment};
use super::operator::{Operator, Reads};
use super::page::{Page, Paging};
use super::path::Named;
use super::tag::Tagged;
use crate::app::App;
use crate::fleet::{old_transports, strangers, unguarded};
use axum::Json;
use axum::extract::State;
use portcullis_domain::registry::{
    Access, Name, OtherTransport, Pinning, Placement, Proof, Rule, ScopeMeaning, Server, Upstream,
};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::scope::{Scope, ScopeSet};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ServerSummary")]
pub(super) struct Listed {
    name: String,
    title: String,
    /// The canonical URI: the audience of its tokens.
    address: String,
    /// `gateway`, or `direct` when it checks tokens itself.
    mode: &'static str,
    /// Where the gateway forwards to.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    owners: Vec<String>,
    labels: Vec<String>,
    live_sessions: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Server")]
pub(super) struct Shown {
    #[serde(flatten)]
    summary: Listed,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_seconds: Option<u64>,
    observe: bool,
    #[schemars(with = "String")]
    pinning: Pinning,
    /// How else than by Streamable HTTP it may be spoken to.
    #[schemars(with = "Vec<String>")]
    other_transports: BTreeSet<OtherTransport>,
    /// Whose tokens count.
    issuers: Vec<String>,
    /// What nobody should forget about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
    /// When its tools were last read for comparison, by this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools_read_at: Option<String>,
    /// Why they cannot be read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools_unreadable: Option<String>,
    #[schemars(with = "String")]
    default_scopes: ScopeSet,
    /// What each scope means.
    #[schemars(with = "BTreeMap<String, Value>")]
    scopes: BTreeMap<Scope, ScopeMeaning>,
    /// What needs which scopes.
    #[schemars(with = "Vec<Value>")]
    rules: Vec<Rule>,
    /// Who can get here, with at most which scopes.
    reached_by: ReachedBy,
}

#[derive(Serialize, JsonSchema)]
struct ReachedBy {
    #[schemars(with = "BTreeMap<String, String>")]
    agents: BTreeMap<Name, ScopeSet>,
    #[schemars(with = "BTreeMap<String, String>")]
    clients: BTreeMap<Name, ScopeSet>,
    #[schemars(with = "BTreeMap<String, String>")]
    roles: BTreeMap<Name, ScopeSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    self_registered: Option<ScopeSet>,
}

/// `GET /api/v1/servers`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging,
) -> Result<Json<Page<Listed>>, Refusal> {
    let now = app.clock.now();
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let own = names.registry.servers.iter().filter(|server| operator.may_touch(&server.name));
    let mut servers = Vec::new();
    for server in paging.cut(own, |server| server.name.as_str()) {
        let live = handle.reader().live_sessions_on(server.id, now).await?;
        servers.push(listed(server, live));
    }
    Ok(Json(paging.page(servers, |server| server.name.clone())))
}

/// `GET /api/v1/servers/{name}`
pub(super) async fn show(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<Tagged<Shown>, Refusal> {
    Ok(Tagged(whole(&app, &operator, &name).await?))
}

/// All that is shown of one.
pub(super) async fn whole<R>(app: &App, operator: &Operator<R>, name: &str) -> Result<Shown, Refusal> {
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let server = names.server(name, operator)?;
    let live = handle.reader().live_sessions_on(server.id, app.clock.now()).await?;
    let surveyed = app.surveys.of(server.id);
    let Server { access_seconds, observe, pinning, other_transports, default_scopes, scopes, rules, .. } =
        server.clone();
    Ok(Shown {
        summary: listed(server, live),
        id: server.id.to_string(),
        access_seconds,
        observe,
        pinning,
        other_transports,
        issuers: issuers(server, &app.config.issuer),
        remarks: strangers(server)
            .into_iter()
            .chain(old_transports(server))
            .chain(unguarded(server))
            .collect(),
        tools_read_at: surveyed.at.map(moment).transpose()?,
        tools_unreadable: surveyed.failure.map(|failure| failure.to_string()),
        default_scopes,
        scopes,
        rules,
        reached_by: reached_by(&names, &server.name),
    })
}

fn issuers(server: &Server, own: &Issuer) -> Vec<String> {
    let own = server.issuers.own.then(|| own.to_string());
    let others = server.issuers.external.iter().map(|trusted| {
        let (issuer, access) = (&trusted.issuer, &trusted.access);
        let how = match &trusted.proof {
            Proof::Introspection { .. } => "asked about each token",
            Proof::Jwks { .. } => "by its published keys",
        };
        format!("{issuer} ({how}; at most {access})")
    });
    own.into_iter().chain(others).collect()
}

fn listed(server: &Server, live_sessions: u64) -> Listed {
    let (mode, upstream) = match &server.placement {
        Placement::Direct => ("direct", None),
        Placement::Gateway { upstream, .. } => ("gateway", Some(place(upstream))),
    };
    Listed {
        name: server.name.to_string(),
        title: server.title.clone(),
        address: server.canonical_uri.to_string(),
        mode,
        upstream,
        owners: server.owners.clone(),
        labels: server.labels.clone(),
        live_sessions,
    }
}

fn place(upstream: &Upstream) -> String {
    match upstream {
        Upstream::Command(command) => format!("command {command}"),
        Upstream::Url(url) => url.clone(),
    }
}

fn reached_by(names: &Names, server: &Name) -> ReachedBy {
    let registry = &names.registry;
    let there = |name: &Name, access: &Access| Some((name.clone(), access.get(server)?.clone()));
    ReachedBy {
        agents: registry.agents.iter().filter_map(|agent| there(&agent.name, &agent.access)).collect(),
        clients: registry.clients.iter().filter_map(|client| there(&client.name, &client.access)).collect(),
        roles: registry.roles.iter().filter_map(|role| there(&role.name, &role.access)).collect(),
        self_registered: registry.self_registered.get(server).cloned(),
    }
}
