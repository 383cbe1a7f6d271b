//! Grants: what people agreed to, and an end to it (PC-45).

use super::error::Refusal;
use super::input::Missing;
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
use portcullis_domain::id::GrantId;
use portcullis_oauth::client::ClientId;
use portcullis_store::{GrantFilter, ListedGrant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Grant")]
pub(super) struct Listed {
    id: String,
    user: String,
    client_id: String,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    server: String,
    scopes: Vec<String>,
    /// When they agreed first.
    since: String,
    /// When that changed last.
    changed: String,
    revoked: bool,
}

/// Which grants.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GrantFilter")]
pub(super) struct Wanted {
    /// Of this user.
    user: Option<String>,
    /// To this client.
    #[schemars(with = "Option<String>")]
    client: Option<ClientId>,
    /// On this server.
    server: Option<String>,
    /// Those that were revoked too.
    #[serde(default)]
    revoked: bool,
}

/// `GET /api/v1/grants`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging<Wanted>,
) -> Result<Json<Page<Listed>>, Refusal> {
    let mut handle = app.store.read().await?;
    let names = Names::read(&mut handle).await?;
    let wanted = &paging.filter;
    let filter = GrantFilter {
        server: names::server_id(&names, wanted.server.as_deref(), &operator)?,
        user: names::user_id(&mut handle, wanted.user.as_deref(), &operator).await?,
        client: wanted.client.clone(),
        revoked_too: wanted.revoked,
    };
    let found = handle.reader().grants_page(&filter, paging.after()?, paging.one_more()).await?;
    let grants = found.into_iter().map(|grant| listed(grant, &names)).collect::<Result<_, Fault>>()?;
    Ok(Json(paging.page(grants, |grant: &Listed| grant.id.clone())))
}

/// `GET /api/v1/grants/{id}`
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
    let grant = match id.parse::<GrantId>() {
        Ok(id) => handle.reader().listed_grant(id).await?,
        Err(_) => None,
    };
    let grant = grant.filter(|grant| names.may_touch(grant.server, operator));
    let grant = grant.ok_or_else(|| Missing::exactly("grant", &id))?;
    Ok(listed(grant, &names)?)
}

/// `DELETE /api/v1/grants/{id}`. When it answers, the gateway here refuses already.
pub(super) async fn revoke(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<StatusCode, Refusal> {
    if operator.is_choosy() {
        operator.means(&whole(&app, &operator, &id).await?)?;
    }
    revocations::end(&app, &operator, Asked::Grant(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn listed(grant: ListedGrant, names: &Names) -> Result<Listed, Fault> {
    Ok(Listed {
        id: grant.id.to_string(),
        user: grant.username,
        client_id: grant.client.to_string(),
        client_name: grant.client_name,
        server: names.of_server(grant.server),
        scopes: grant.scopes.iter().map(ToString::to_string).collect(),
        since: moment(grant.created_at)?,
        changed: moment(grant.updated_at)?,
        revoked: grant.revoked,
    })
}
