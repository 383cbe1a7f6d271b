//! Gateways that run alone (PC-62): who they are, a one-time enrolment for a new one, and an end to one.

use super::error::Refusal;
use super::input::{BadInput, Input, Missing};
use super::names::moment;
use super::operator::{Operator, Owns, Reads, Writes};
use super::page::{Page, Paging};
use super::path::Named;
use super::shown::Shown;
use super::tag::Tagged;
use crate::app::App;
use crate::fault::Fault;
use crate::gateways::wire;
use crate::once::Kept;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use portcullis_domain::audit::{Kind, Outcome};
use portcullis_domain::builtin;
use portcullis_domain::id::GatewayId;
use portcullis_domain::registry::{Name, Placement};
use portcullis_domain::secret::{self, Plain};
use portcullis_oauth::issuer::Issuer;
use portcullis_store::{NewGateway, StoredGateway};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Long enough to carry a file to another machine.
const GOOD_FOR: Duration = Duration::from_hours(1);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewGateway")]
pub(super) struct Wanted {
    name: String,
    /// The servers that it may serve, by name; without it, all that stand behind a gateway, those of later included.
    servers: Option<Vec<String>>,
}

/// The content of the file with which the gateway comes for its identity, once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GatewayEnrolment")]
pub(super) struct Enrolment {
    #[schemars(with = "String")]
    issuer: Issuer,
    #[schemars(with = "String")]
    gateway: GatewayId,
    name: String,
    /// Shown once.
    #[schemars(with = "String")]
    secret: Shown<secret::Enrolment>,
    expires: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Gateway")]
pub(super) struct Listed {
    name: String,
    id: String,
    state: Standing,
    /// Absent: all that stand behind a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Vec<String>>,
    added: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolled: Option<String>,
    /// Whether it listens to this node of the control room now.
    connected: bool,
}

/// How far it is.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "GatewayState")]
enum Standing {
    /// It has its identity.
    Enrolled,
    /// It did not come for its identity in time: remove it and add it again.
    Expired,
    /// It may come for its identity.
    Waiting,
}

/// `GET /api/v1/gateways`
pub(super) async fn list(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    paging: Paging,
) -> Result<Json<Page<Listed>>, Refusal> {
    operator.everywhere()?;
    let gateways = app.store.read().await?.reader().gateways().await?;
    let gateways = paging.cut(gateways, |gateway| gateway.name.as_str()).into_iter();
    let gateways = gateways.map(|gateway| listed(&app, gateway)).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Json(paging.page(gateways, |gateway| gateway.name.clone())))
}

/// `GET /api/v1/gateways/{name}`
pub(super) async fn show(
    operator: Operator<Reads>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<Tagged<Listed>, Refusal> {
    operator.everywhere()?;
    let gateway = find(&app, &name).await?;
    Ok(Tagged(listed(&app, gateway)?))
}

/// `POST /api/v1/gateways`. For owners: whoever runs a gateway reads the policy, and speaks for anybody to its servers.
pub(super) async fn add(
    operator: Operator<Owns>,
    State(app): State<Arc<App>>,
    Input(wanted): Input<Wanted>,
) -> Result<Kept, Refusal> {
    let name = wanted.name.parse::<Name>().map_err(|error| malformed(&error))?;
    if wire::RESERVED.contains(&name.as_str()) {
        return Err(BadInput::Malformed(format!(
            "{:?} is not a name that a gateway may have",
            name.as_str()
        ))
        .into());
    }
    let servers = wanted.servers.map(|servers| known(&app, &servers)).transpose()?;
    operator.once().or_do(insert(&app, &operator, name, servers)).await
}

async fn insert(
    app: &App,
    operator: &Operator<Owns>,
    name: Name,
    servers: Option<Vec<Name>>,
) -> Result<Kept, Refusal> {
    let now = app.clock.now();
    let mut rng = app.entropy.rng();
    let (id, secret) = (GatewayId::generate(now, &mut rng), Plain::generate(&mut rng));
    let enrol_until = now + GOOD_FOR;
    let gateway = NewGateway { id, name: name.clone(), servers, enrolment: secret.hashed(), enrol_until };
    let answer = Enrolment {
        issuer: app.config.issuer.clone(),
        gateway: id,
        name: name.to_string(),
        secret: Shown(secret),
        expires: moment(enrol_until)?,
    };
    let answer = Kept::json(StatusCode::CREATED, &answer)?;
    let words = gateway.servers.as_ref().map_or_else(
        || "all".to_owned(),
        |names| names.iter().map(Name::as_str).collect::<Vec<_>>().join(" "),
    );
    let event = operator.event(Kind::GatewayAdded, Outcome::Allowed).with("gateway", &name);
    let event = event.with("gateway.id", id).with("servers", words);
    let kept = answer.clone();
    let written = operator.once().write(
        (app, now),
        (gateway, event),
        |(gateway, event), tx| {
            Box::pin(async move {
                let done = tx.insert_gateway(gateway).await?;
                let mut event = event.clone();
                if !done {
                    event.outcome = Outcome::Refused("name_taken".to_owned());
                }
                tx.record(&event, done).await
            })
        },
        move |done| done.then(|| kept.clone()),
    );
    if !written.await? {
        return Err(Refusal::Conflict("there is a gateway of this name: remove it first".to_owned()));
    }
    Ok(answer)
}

/// `DELETE /api/v1/gateways/{name}`: its streams end, its key leaves the published set, and it is told that it is none.
pub(super) async fn remove(
    operator: Operator<Writes>,
    State(app): State<Arc<App>>,
    Named(name): Named,
) -> Result<StatusCode, Refusal> {
    operator.everywhere()?;
    let gateway = find(&app, &name).await?;
    let id = gateway.id;
    operator.means(&listed(&app, gateway)?)?;
    let event = operator.event(Kind::GatewayRemoved, Outcome::Allowed).with("gateway", &name);
    let event = event.with("gateway.id", id);
    let written = app.store.write(app.clock.now(), (id, event), |(id, event), tx| {
        Box::pin(async move {
            let done = tx.remove_gateway(*id).await?;
            let mut event = event.clone();
            if !done {
                event.outcome = Outcome::Refused("gone".to_owned());
            }
            tx.record(&event, done).await
        })
    });
    if !written.await? {
        return Err(Missing::exactly("gateway", &name).into());
    }
    app.catch_up().await;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &App, name: &str) -> Result<StoredGateway, Refusal> {
    let gateways = app.store.read().await?.reader().gateways().await?;
    let known: Vec<String> = gateways.iter().map(|gateway| gateway.name.to_string()).collect();
    let found = gateways.into_iter().find(|gateway| gateway.name.as_str() == name);
    Ok(found.ok_or_else(|| Missing::near("gateway", name, known.iter().map(String::as_str)))?)
}

/// Servers that stand behind a gateway.
fn known(app: &App, names: &[String]) -> Result<Vec<Name>, Refusal> {
    if names.is_empty() {
        let says = "a gateway serves something: name servers, or leave them out for all";
        return Err(BadInput::Malformed(says.to_owned()).into());
    }
    let current = app.current.load_full();
    let mut servers = Vec::new();
    for name in names {
        let all = || current.snapshot.servers.iter().filter(|it| !builtin::is_reserved_server(&it.name));
        let Some(server) = all().find(|server| server.name.as_str() == name) else {
            return Err(Missing::near("server", name, all().map(|server| server.name.as_str())).into());
        };
        match server.placement {
            Placement::Gateway { .. } => servers.push(server.name.clone()),
            Placement::Direct => {
                return Err(Refusal::Conflict(format!(
                    "{name:?} checks its tokens itself: it is behind no gateway"
                )));
            }
        }
    }
    servers.sort_unstable();
    servers.dedup();
    Ok(servers)
}

fn malformed(error: &impl ToString) -> BadInput {
    BadInput::Malformed(error.to_string())
}

fn listed(app: &App, gateway: StoredGateway) -> Result<Listed, Fault> {
    let state = match gateway.enrolled_at {
        Some(_) => Standing::Enrolled,
        None if gateway.enrol_until.has_passed(app.clock.now()) => Standing::Expired,
        None => Standing::Waiting,
    };
    let servers = gateway.servers.map(|names| names.iter().map(ToString::to_string).collect());
    Ok(Listed {
        name: gateway.name.to_string(),
        id: gateway.id.to_string(),
        state,
        servers,
        added: moment(gateway.created_at)?,
        enrolled: gateway.enrolled_at.map(moment).transpose()?,
        connected: app.gateways.has(gateway.id),
    })
}
