//! Tools of a server, as they are pinned and as they were seen (PC-33); and their approval, by whoever administers the server.

use super::error::Refusal;
use super::input::{Input, Missing};
use super::names::{Names, moment};
use super::operator::{Operator, Reads, Writes};
use super::page::{Page, Paging};
use super::path::{Named, NamedPart};
use super::servers;
use crate::app::App;
use crate::once::Kept;
use crate::pins::{self, ApproveError, Known};
use axum::Json;
use axum::extract::State;
use portcullis_domain::audit::{Kind, Outcome};
use portcullis_domain::pins::{Change, Digest, difference};
use portcullis_domain::registry::{Pinning, Server};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Serialize, JsonSchema)]
pub(super) struct Tools {
    server: String,
    #[schemars(with = "String")]
    pinning: Pinning,
    /// When this node last read the server's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    surveyed_at: Option<String>,
    /// Why it could not be read since.
    #[serde(skip_serializing_if = "Option::is_none")]
    survey_failure: Option<String>,
    #[serde(flatten)]
    page: Page<Tool>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Tool {
    name: String,
    state: ToolState,
    /// Of the approved definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pinned: Option<Digest>,
    /// Of the newest other definition that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    seen: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<String>,
}

/// How a tool stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ToolState {
    /// Another definition was seen since it was approved: it is not called.
    Changed,
    /// It is approved, and the server does not list it any more.
    Gone,
    /// Nobody approved it: it is not called.
    New,
    /// It is as it was approved.
    Pinned,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Compared {
    #[serde(flatten)]
    tool: Tool,
    /// A definition that is too long to be pinned cannot be approved.
    can_be_approved: bool,
    /// What is different in what was seen; nothing where nothing else was seen.
    #[schemars(with = "Vec<Value>")]
    changes: Vec<Change>,
    /// The newest definition that is known, whole.
    definition: Value,
}

/// Exactly what was looked at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Approval {
    /// The digest of the definition of each tool that is approved: the one seen, or once more the one pinned.
    #[schemars(with = "BTreeMap<String, String>")]
    digests: BTreeMap<String, Digest>,
}

/// `GET /api/v1/servers/{name}/tools`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Named(name): Named,
    paging: Paging,
) -> Result<Json<Tools>, Refusal> {
    let server = server(&app, &name, &operator).await?;
    let known = Known::read(&app, server.id).await?;
    let surveyed = app.surveys.of(server.id);
    let names: BTreeSet<&String> = known.pinned.keys().chain(known.sighted.keys()).collect();
    let tools = paging.cut(names, |name| name.as_str());
    let tools = tools.into_iter().map(|name| tool(&known, surveyed.names.as_ref(), name));
    let tools = tools.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    Ok(Json(Tools {
        server: server.name.to_string(),
        pinning: server.pinning,
        surveyed_at: surveyed.at.map(moment).transpose()?,
        survey_failure: surveyed.failure.map(|failure| failure.to_string()),
        page: paging.page(tools, |tool| tool.name.clone()),
    }))
}

/// `GET /api/v1/servers/{name}/tools/{tool}/diff`
pub(super) async fn diff(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    NamedPart(name, of): NamedPart,
) -> Result<Json<Compared>, Refusal> {
    let server = server(&app, &name, &operator).await?;
    let known = Known::read(&app, server.id).await?;
    let surveyed = app.surveys.of(server.id);
    let missing = || {
        let names: BTreeSet<&str> =
            known.pinned.keys().chain(known.sighted.keys()).map(String::as_str).collect();
        Missing::near("tool", &of, names.into_iter())
    };
    let tool = tool(&known, surveyed.names.as_ref(), &of)?.ok_or_else(missing)?;
    let pinned = known.pinned.get(&of).map(|pinned| pinned.definition.value());
    let seen = known.sighted.get(&of).map(|sighted| &sighted.definition);
    let can_be_approved = seen.is_none_or(|seen| !seen.is_unreadable());
    let seen = seen.map(portcullis_domain::pins::Definition::value);
    let changes = seen.as_ref().map(|seen| difference(pinned.as_ref(), Some(seen))).unwrap_or_default();
    let definition = seen.or(pinned).unwrap_or_default();
    Ok(Json(Compared { tool, can_be_approved, changes, definition }))
}

/// `POST /api/v1/servers/{name}/approve`
pub(super) async fn approve(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(name): Named,
    Input(approval): Input<Approval>,
) -> Result<Kept, Refusal> {
    let server = server(&app, &name, &operator).await?;
    let change = async {
        if operator.is_choosy() {
            operator.means(&servers::whole(&app, &operator, &name).await?)?;
        }
        if !approval.digests.is_empty() {
            let event = operator.event(Kind::ToolPinned, Outcome::Allowed);
            pins::approve(&app, &server, approval.digests, (event, operator.once())).await?;
        }
        Ok::<_, Refusal>(Kept::nothing())
    };
    Box::pin(operator.once().or_do(change)).await
}

async fn server<R>(app: &App, name: &str, operator: &Operator<R>) -> Result<Server, Refusal> {
    let mut handle = app.store.read().await?;
    Ok(Names::read(&mut handle).await?.server(name, operator)?.clone())
}

fn tool(known: &Known, listed: Option<&BTreeSet<String>>, name: &str) -> Result<Option<Tool>, Refusal> {
    let (pinned, sighted) = (known.pinned.get(name), known.sighted.get(name));
    let state = match (pinned, sighted) {
        (None, None) => return Ok(None),
        (None, Some(_)) => ToolState::New,
        (Some(_), Some(_)) => ToolState::Changed,
        (Some(_), None) if listed.is_some_and(|listed| !listed.contains(name)) => ToolState::Gone,
        (Some(_), None) => ToolState::Pinned,
    };
    Ok(Some(Tool {
        name: name.to_owned(),
        state,
        pinned: pinned.map(|pinned| pinned.definition.digest()),
        seen: sighted.map(|sighted| sighted.definition.digest()),
        seen_at: sighted.map(|sighted| moment(sighted.seen_at)).transpose()?,
        approved_at: pinned.map(|pinned| moment(pinned.approved_at)).transpose()?,
        approved_by: pinned.map(|pinned| pinned.approved_by.clone()),
    }))
}

impl From<ApproveError> for Refusal {
    fn from(error: ApproveError) -> Self {
        match error {
            ApproveError::Moved => Self::ToolMoved,
            ApproveError::Store(error) => error.into(),
        }
    }
}
