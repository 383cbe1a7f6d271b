//! Live sessions: list, and end one (PC-45).

use super::error::Refusal;
use super::input::Missing;
use super::operator::{Operator, Reads, Writes};
use super::page::{Page, Paging};
use super::path::Named;
use crate::app::App;
use crate::fault::Fault;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use portcullis_domain::audit::{Kind, Outcome};
use portcullis_domain::grant::{Session, SessionOwner};
use portcullis_domain::id::SessionId;
use portcullis_domain::registry::Name;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ClientKind, ReadHandle, Registry};
use schemars::JsonSchema;
use serde::Serialize;
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
    started: String,
    ends: String,
}

/// `GET /api/v1/sessions`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging,
) -> Result<Json<Page<Listed>>, Refusal> {
    operator.everywhere()?;
    let now = app.clock.now();
    let after = paging.after()?;
    let mut handle = app.store.read().await?;
    let registry = handle.reader().registry().await?;
    let mut sessions = Vec::new();
    for session in handle.reader().live_sessions(after, paging.one_more(), now).await? {
        sessions.push(listed(session, &registry, &mut handle, now).await?);
    }
    Ok(Json(paging.page(sessions, |session| session.id.to_string())))
}

async fn listed(
    session: Session,
    registry: &Registry,
    handle: &mut ReadHandle,
    now: Timestamp,
) -> Result<Listed, Refusal> {
    let client = handle.reader().client(&session.client_id, now).await?;
    let (kind, client_name) = client.map(|client| (client.kind, client.name)).unzip();
    let agent = match kind {
        Some(ClientKind::Agent { name }) => Some(name),
        Some(ClientKind::SelfRegistered) | None => None,
    };
    let user = match session.owner {
        SessionOwner::Agent => None,
        SessionOwner::User { user, .. } => {
            let stored = handle.reader().user(user).await?;
            Some(stored.map_or_else(|| user.to_string(), |stored| stored.username))
        }
    };
    let server = registry.servers.iter().find(|server| server.id == session.server);
    Ok(Listed {
        id: session.id,
        agent,
        user,
        client_id: session.client_id,
        client_name: client_name.flatten(),
        server: server.map_or_else(|| session.server.to_string(), |server| server.name.to_string()),
        scopes: list_of(&session.scopes),
        started: moment(session.started_at)?,
        ends: moment(session.ends_at)?,
    })
}

fn list_of(scopes: &ScopeSet) -> Vec<Scope> {
    scopes.iter().cloned().collect()
}

/// RFC 3339, in UTC.
fn moment(at: Timestamp) -> Result<String, Fault> {
    let at = jiff::Timestamp::from_second(at.seconds()).map_err(|_| Fault::Shape("a stored time"))?;
    Ok(at.to_string())
}

/// `DELETE /api/v1/sessions/{id}`. When it answers, the gateway here refuses already.
pub(super) async fn revoke(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<StatusCode, Refusal> {
    operator.everywhere()?;
    let Ok(id) = name.parse::<SessionId>() else {
        return Err(Missing::Session(name).into());
    };
    let now = app.clock.now();
    let until = now + app.config.tokens.revocation_memory();
    let mut event = operator.event(Kind::TokenRevoked, Outcome::Allowed);
    event.session = Some(id);
    let written = app.store.write(now, event, move |event, tx| {
        Box::pin(async move {
            let mut event = event.clone();
            let done = tx.revoke_session(id, until).await?;
            if !done {
                event.outcome = Outcome::Refused("no_such_session".to_owned());
            }
            tx.record(&event, done).await
        })
    });
    if !written.await? {
        return Err(Missing::Session(name).into());
    }
    app.catch_up().await;
    Ok(StatusCode::NO_CONTENT)
}
