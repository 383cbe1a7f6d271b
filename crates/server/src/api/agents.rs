//! Agents: list, and another secret. Adding and removing is the fleet file's.

use super::error::Refusal;
use super::input::Input;
use super::names::{Names, moment};
use super::operator::{Operator, Reads, Writes};
use super::page::{Page, Paging};
use super::path::Named;
use super::rotation::{self, Whose, Wish};
use super::tag::Tagged;
use crate::app::App;
use crate::once::Kept;
use axum::Json;
use axum::extract::State;
use portcullis_domain::registry::{Access, Agent};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;
use portcullis_store::StoredClient;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Agent")]
pub(super) struct Listed {
    name: String,
    #[schemars(with = "String")]
    client_id: ClientId,
    owner: String,
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    access: Access,
    /// Any of them will do.
    live_secrets: usize,
    /// It is disabled or has expired: it gets nothing.
    ended: bool,
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentWhole")]
pub(super) struct Whole {
    #[serde(flatten)]
    summary: Listed,
    labels: Vec<String>,
    /// Servers whose tokens it may introspect.
    introspects: Vec<String>,
    /// Where its secret is delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver: Option<String>,
    live_sessions: u64,
    /// To the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<String>,
}

/// `GET /api/v1/agents`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging,
) -> Result<Json<Page<Listed>>, Refusal> {
    operator.everywhere()?;
    let now = app.clock.now();
    let mut handle = app.store.read().await?;
    let mut agents = Vec::new();
    let registered = handle.reader().registry().await?.agents;
    for agent in paging.cut(registered, |agent| agent.name.as_str()) {
        let client = handle.reader().client(&agent.client_id, now).await?;
        agents.push(listed(agent, client.as_ref(), now)?);
    }
    Ok(Json(paging.page(agents, |agent| agent.name.clone())))
}

/// `GET /api/v1/agents/{name}`
pub(super) async fn show(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<Tagged<Whole>, Refusal> {
    operator.everywhere()?;
    Ok(Tagged(whole(&app, &name).await?))
}

async fn whole(app: &App, name: &str) -> Result<Whole, Refusal> {
    let now = app.clock.now();
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let agent = names.agent(name)?.clone();
    let client = handle.reader().client(&agent.client_id, now).await?;
    let used = handle.reader().client_used_at(&agent.client_id).await?;
    let live_sessions = handle.reader().live_sessions_of_client(&agent.client_id, now).await?;
    Ok(Whole {
        labels: agent.labels.clone(),
        introspects: agent.introspects.iter().map(ToString::to_string).collect(),
        deliver: agent.deliver.clone(),
        live_sessions,
        used: used.map(moment).transpose()?,
        summary: listed(agent, client.as_ref(), now)?,
    })
}

fn listed(agent: Agent, client: Option<&StoredClient>, now: Timestamp) -> Result<Listed, Refusal> {
    Ok(Listed {
        ended: agent.has_ended(now),
        disabled: agent.disabled,
        expires: agent.expires_at.map(moment).transpose()?,
        name: agent.name.to_string(),
        client_id: agent.client_id,
        owner: agent.owner,
        access: agent.access,
        live_secrets: client.map_or(0, |client| client.secrets.len()),
    })
}

/// `POST /api/v1/agents/{name}/rotate`
pub(super) async fn rotate(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(name): Named,
    Input(wish): Input<Wish>,
) -> Result<Kept, Refusal> {
    operator.everywhere()?;
    let agent = Names::read(&mut app.store.read().await?).await?.agent(&name)?.clone();
    Box::pin(rotation::rotate((&app, &operator), Whose::Agent(agent), wish, whole(&app, &name))).await
}
