//! Connections: accounts at third-party servers that people connected, and an end to them (PC-45).

use super::error::Refusal;
use super::input::Missing;
use super::names::{self, Names, moment};
use super::operator::{Operator, Reads, Writes};
use super::page::{Page, Paging};
use super::path::Named;
use super::tag::Tagged;
use crate::app::App;
use crate::connections::revoke;
use crate::fault::Fault;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use portcullis_domain::audit::{Kind, Outcome};
use portcullis_domain::id::ConnectionId;
use portcullis_store::{ConnectionFilter, ConnectionState, ReadHandle, StoredConnection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Connection")]
pub(super) struct Listed {
    id: String,
    user: String,
    server: String,
    /// Where they signed in.
    issuer: String,
    /// What that gave them, in its words.
    scopes: Vec<String>,
    /// When they connected.
    since: String,
    /// When the tokens were renewed last.
    refreshed: String,
    state: Usable,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ConnectionState")]
enum Usable {
    Connected,
    /// The issuer does not know it any more: its person has to connect again.
    Expired,
}

/// Which connections.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConnectionFilter")]
pub(super) struct Wanted {
    /// Of this user.
    user: Option<String>,
    /// To this server.
    server: Option<String>,
}

/// `GET /api/v1/connections`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging<Wanted>,
) -> Result<Json<Page<Listed>>, Refusal> {
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let wanted = &paging.filter;
    let filter = ConnectionFilter {
        server: names::server_id(&names, wanted.server.as_deref(), &operator)?,
        user: names::user_id(&mut handle, wanted.user.as_deref(), &operator).await?,
        after: paging.after()?,
    };
    let found = handle.reader().connections(filter, paging.one_more()).await?;
    let mut connections = Vec::new();
    for connection in found {
        connections.push(listed(connection, &names, &mut handle).await?);
    }
    Ok(Json(paging.page(connections, |connection: &Listed| connection.id.clone())))
}

/// `GET /api/v1/connections/{id}`
pub(super) async fn show(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<Tagged<Listed>, Refusal> {
    Ok(Tagged(whole(&app, &operator, &id).await?.1))
}

async fn whole<R>(
    app: &App,
    operator: &Operator<R>,
    id: &str,
) -> Result<(StoredConnection, Listed), Refusal> {
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let found = match id.parse::<ConnectionId>() {
        Ok(id) => handle.reader().upstream_connection(id).await?,
        Err(_) => None,
    };
    let found = found
        .filter(|found| found.state != ConnectionState::Ending && names.may_touch(found.server, operator));
    let found = found.ok_or_else(|| Missing::exactly("connection", &id))?;
    let listed = listed(found.clone(), &names, &mut handle).await?;
    Ok((found, listed))
}

/// `DELETE /api/v1/connections/{id}`. When it answers, the gateway here uses it no more; its issuer is told soon.
pub(super) async fn revoke(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<StatusCode, Refusal> {
    let (found, shown) = whole(&app, &operator, &id).await?;
    operator.means(&shown)?;
    let event = operator.event(Kind::ConnectionEnded, Outcome::Allowed);
    let mut event = event.with("connection", found.id).with("issuer", found.issuer);
    event.user = Some(found.user);
    event.server = Some(found.server);
    if !revoke::end(&app, found.id, event, app.clock.now()).await? {
        return Err(Missing::exactly("connection", &id).into());
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn listed(
    connection: StoredConnection,
    names: &Names,
    handle: &mut ReadHandle,
) -> Result<Listed, Refusal> {
    let user = handle.reader().user(connection.user).await?;
    Ok(Listed {
        id: connection.id.to_string(),
        user: user.map_or_else(|| connection.user.to_string(), |user| user.username),
        server: names.of_server(connection.server),
        issuer: connection.issuer,
        scopes: connection.scopes.split_whitespace().map(str::to_owned).collect(),
        since: moment(connection.connected_at)?,
        refreshed: moment(connection.refreshed_at)?,
        state: match connection.state {
            ConnectionState::Connected => Usable::Connected,
            ConnectionState::Expired => Usable::Expired,
            // Such are not listed.
            ConnectionState::Ending => return Err(Fault::Shape("a connection").into()),
        },
    })
}
