//! OAuth clients of every kind: those of agents, those that the fleet file registers, and those that registered themselves.

use super::error::Refusal;
use super::input::{Input, Missing};
use super::names::{Names, moment};
use super::operator::{Operator, Reads, Writes};
use super::page::{Page, Paging};
use super::path::Named;
use super::revocations::{self, Asked, Ended};
use super::rotation::{self, Whose, Wish};
use super::tag::Tagged;
use crate::app::App;
use crate::fault::Fault;
use crate::once::Kept;
use axum::Json;
use axum::extract::State;
use portcullis_domain::registry::{Client, ClientAuth};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::redirect::RedirectUri;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ClientKind, ClientSort, StoredClient};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Client")]
pub(super) struct Listed {
    id: String,
    kind: Kind,
    /// The agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    /// What it calls itself. Whoever registers chooses that freely.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    redirect_uris: Vec<String>,
    /// It cannot keep a secret.
    public: bool,
    created: String,
    /// To the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<String>,
    removed: bool,
}

/// How it came to be.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ClientKind")]
enum Kind {
    Agent,
    Registered,
    SelfRegistered,
}

/// Which clients.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClientFilter")]
pub(super) struct Wanted {
    /// Of this kind only.
    kind: Option<Kind>,
}

/// `GET /api/v1/clients`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging<Wanted>,
) -> Result<Json<Page<Listed>>, Refusal> {
    operator.everywhere()?;
    let sort = paging.filter.kind.map(|kind| match kind {
        Kind::Agent => ClientSort::Agent,
        Kind::Registered => ClientSort::Registered,
        Kind::SelfRegistered => ClientSort::SelfRegistered,
    });
    let after: Option<ClientId> = paging.after()?;
    let mut handle = app.store.read().await?;
    let found = handle.reader().clients_page(sort, after.as_ref(), paging.one_more()).await?;
    let found = found.into_iter().map(|found| listed(found.client, found.used_at));
    let clients = found.collect::<Result<Vec<_>, Fault>>()?;
    Ok(Json(paging.page(clients, |client| client.id.clone())))
}

/// `GET /api/v1/clients/{id}`
pub(super) async fn show(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<Tagged<Listed>, Refusal> {
    operator.everywhere()?;
    let (client, used) = find(&app, &id).await?;
    Ok(Tagged(listed(client, used)?))
}

async fn find(app: &App, id: &str) -> Result<(StoredClient, Option<Timestamp>), Refusal> {
    let mut handle = app.store.read().await?;
    let named = Names::read(&mut handle).await?.registered(id);
    let client = match named.or_else(|| id.parse().ok()) {
        Some(id) => handle.reader().client(&id, app.clock.now()).await?,
        None => None,
    };
    let client = client.ok_or_else(|| Missing::exactly("client", &id))?;
    let used = handle.reader().client_used_at(&client.client_id).await?;
    Ok((client, used))
}

/// `DELETE /api/v1/clients/{id}`: one that registered itself, with everything of it. When it answers, the gateway here
/// refuses already.
pub(super) async fn remove(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<Json<Ended>, Refusal> {
    operator.everywhere()?;
    let (client, used) = find(&app, &id).await?;
    if client.disabled {
        return Err(Missing::exactly("client", &id).into());
    }
    match client.kind {
        ClientKind::SelfRegistered => {}
        ClientKind::Agent { .. } | ClientKind::Registered => {
            let says = "this client stands in the fleet file: remove it there, or revoke what it has";
            return Err(Refusal::Conflict(says.to_owned()));
        }
    }
    operator.means(&listed(client, used)?)?;
    Ok(Json(revocations::end(&app, &operator, Asked::Removal(id)).await?))
}

/// `POST /api/v1/clients/{id}/rotate`: one of the fleet file, by its name there or by its client id.
pub(super) async fn rotate(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(id): Named,
    Input(wish): Input<Wish>,
) -> Result<Kept, Refusal> {
    operator.everywhere()?;
    let registry = app.store.read().await?.reader().registry().await?;
    let is_asked = |client: &Client| client.name.as_str() == id || client.client_id.as_str() == id;
    let Some(client) = registry.clients.iter().find(|client| is_asked(client)) else {
        return Err(
            Missing::near("client", &id, registry.clients.iter().map(|client| client.name.as_str())).into()
        );
    };
    match client.auth {
        ClientAuth::None => Err(Refusal::Conflict("this client is public: it has no secret".to_owned())),
        ClientAuth::Secret if client.disabled => {
            Err(Refusal::Conflict("this client is disabled: it gets no secret".to_owned()))
        }
        ClientAuth::Secret => {
            let shown = async {
                let (client, used) = find(&app, client.client_id.as_str()).await?;
                Ok(listed(client, used)?)
            };
            Box::pin(rotation::rotate((&app, &operator), Whose::Client(client.clone()), wish, shown)).await
        }
    }
}

fn listed(client: StoredClient, used: Option<Timestamp>) -> Result<Listed, Fault> {
    let (kind, agent) = match client.kind {
        ClientKind::Agent { name } => (Kind::Agent, Some(name.to_string())),
        ClientKind::Registered => (Kind::Registered, None),
        ClientKind::SelfRegistered => (Kind::SelfRegistered, None),
    };
    Ok(Listed {
        id: client.client_id.to_string(),
        kind,
        agent,
        name: client.name,
        uri: client.client_uri,
        redirect_uris: client.redirect_uris.iter().map(RedirectUri::as_str).map(str::to_owned).collect(),
        public: client.auth_method == portcullis_oauth::client::AuthMethod::None,
        created: moment(client.created_at)?,
        used: used.map(moment).transpose()?,
        removed: client.disabled,
    })
}
