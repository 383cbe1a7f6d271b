//! Sessions: list, show, and end one (PC-45).

use super::error::Refusal;
use super::input::{BadInput, Missing};
use super::names::{self, Names, moment};
use super::operator::{Operator, Reads, Writes};
use super::page::{Page, Paging};
use super::path::Named;
use super::revocations::{self, Asked};
use super::tag::Tagged;
use crate::app::App;
use crate::fault::Fault;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use portcullis_domain::grant::SessionOwner;
use portcullis_domain::id::{GrantId, SessionId};
use portcullis_domain::registry::Name;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::Scope;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ListedSession, SessionFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Exactly one of `agent` and `user`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub(super) struct Listed {
    #[schemars(with = "String")]
    id: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    agent: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[schemars(with = "String")]
    client_id: ClientId,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    server: String,
    #[schemars(with = "Vec<String>")]
    scopes: Vec<Scope>,
    /// What the user agreed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    grant: Option<GrantId>,
    started: String,
    ends: String,
    state: Condition,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SessionState")]
enum Condition {
    Live,
    Over,
    Revoked,
}

/// Which sessions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SessionFilter")]
pub(super) struct Wanted {
    /// Of this agent.
    agent: Option<String>,
    /// Through this client.
    #[schemars(with = "Option<String>")]
    client: Option<ClientId>,
    /// Of this user.
    user: Option<String>,
    /// On this server.
    server: Option<String>,
    /// Those that are over or were revoked too.
    #[serde(default)]
    ended: bool,
}

/// `GET /api/v1/sessions`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging<Wanted>,
) -> Result<Json<Page<Listed>>, Refusal> {
    let now = app.clock.now();
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let wanted = &paging.filter;
    if wanted.agent.is_some() && wanted.client.is_some() {
        return Err(BadInput::Malformed("either agent or client".to_owned()).into());
    }
    let filter = SessionFilter {
        server: names::server_id(&names, wanted.server.as_deref(), &operator)?,
        client: names::client(&names, wanted.agent.as_deref(), wanted.client.as_ref(), &operator)?,
        user: names::user_id(&mut handle, wanted.user.as_deref(), &operator).await?,
        alive_at: (!wanted.ended).then_some(now),
    };
    let found = handle.reader().sessions_page(&filter, paging.after()?, paging.one_more()).await?;
    let sessions = found.into_iter().map(|found| listed(found, &names, now));
    let sessions = sessions.collect::<Result<Vec<_>, Fault>>()?;
    Ok(Json(paging.page(sessions, |session| session.id.to_string())))
}

/// `GET /api/v1/sessions/{id}`
pub(super) async fn show(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<Tagged<Listed>, Refusal> {
    Ok(Tagged(whole(&app, &operator, &id).await?))
}

async fn whole<R>(app: &App, operator: &Operator<R>, id: &str) -> Result<Listed, Refusal> {
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let found = match id.parse::<SessionId>() {
        Ok(id) => handle.reader().listed_session(id).await?,
        Err(_) => None,
    };
    let found = found.filter(|found| names.may_touch(found.session.server, operator));
    let found = found.ok_or_else(|| Missing::exactly("session", &id))?;
    Ok(listed(found, &names, app.clock.now())?)
}

fn listed(found: ListedSession, names: &Names, now: Timestamp) -> Result<Listed, Fault> {
    let ListedSession { session, agent, username, client_name } = found;
    let (user, grant) = match session.owner {
        SessionOwner::Agent => (None, None),
        SessionOwner::User { user, grant } => {
            (Some(username.unwrap_or_else(|| user.to_string())), Some(grant))
        }
    };
    let state = if session.revoked {
        Condition::Revoked
    } else if session.ends_at.has_passed(now) {
        Condition::Over
    } else {
        Condition::Live
    };
    Ok(Listed {
        id: session.id,
        agent,
        user,
        client_id: session.client_id,
        client_name,
        server: names.of_server(session.server),
        scopes: session.scopes.iter().cloned().collect(),
        grant,
        started: moment(session.started_at)?,
        ends: moment(session.ends_at)?,
        state,
    })
}

/// `DELETE /api/v1/sessions/{id}`. When it answers, the gateway here refuses already.
pub(super) async fn revoke(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<StatusCode, Refusal> {
    if operator.is_choosy() {
        operator.means(&whole(&app, &operator, &id).await?)?;
    }
    revocations::end(&app, &operator, Asked::Session(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
