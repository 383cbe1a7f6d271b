//! Agents: list, and another secret. Adding and removing is the fleet file's.

use super::error::Refusal;
use super::input::{BadInput, Input, Missing};
use super::operator::LocalOperator;
use super::path::Named;
use crate::app::App;
use crate::fleet::{self, Delivery, RotateError, Rotation};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use portcullis_domain::audit::{Kind, Outcome};
use portcullis_domain::registry::Access;
use portcullis_domain::secret::Plain;
use portcullis_oauth::client::ClientId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Until the old secrets end, if nothing else is asked for.
const OVERLAP: u64 = 24 * 60 * 60;

/// The longest that they may go on.
const MAX_OVERLAP: u64 = 30 * OVERLAP;

#[derive(Serialize)]
pub(super) struct Agents {
    agents: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    client_id: ClientId,
    owner: String,
    access: Access,
    /// Any of them will do.
    live_secrets: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    #[serde(default = "overlap")]
    overlap_seconds: u64,
}

fn overlap() -> u64 {
    OVERLAP
}

/// Exactly one of `delivered_to` and `client_secret`.
#[derive(Serialize)]
struct Rotated<'a> {
    agent: &'a str,
    client_id: &'a ClientId,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_to: Option<PathBuf>,
    /// Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    overlap_seconds: u64,
}

/// `GET /api/v1/agents`
pub(super) async fn list(_: LocalOperator, State(app): State<Arc<App>>) -> Result<Json<Agents>, Refusal> {
    let now = app.clock.now();
    let mut handle = app.store.read().await?;
    let mut agents = Vec::new();
    for agent in handle.reader().registry().await?.agents {
        let client = handle.reader().client(&agent.client_id, now).await?;
        agents.push(Listed {
            name: agent.name.to_string(),
            client_id: agent.client_id,
            owner: agent.owner,
            access: agent.access,
            live_secrets: client.map_or(0, |client| client.secrets.len()),
        });
    }
    Ok(Json(Agents { agents }))
}

/// `POST /api/v1/agents/{name}/rotate`
pub(super) async fn rotate(
    operator: LocalOperator,
    State(app): State<Arc<App>>,
    Named(name): Named,
    Input(wish): Input<Wish>,
) -> Result<Response, Refusal> {
    if wish.overlap_seconds > MAX_OVERLAP {
        return Err(BadInput::Malformed("overlap_seconds is at most 30 days".to_owned()).into());
    }
    let registry = app.store.read().await?.reader().registry().await?;
    let mut agents = registry.agents.into_iter();
    let agent = agents.find(|agent| agent.name.as_str() == name).ok_or(Missing::Agent(name))?;
    let rotation = Rotation {
        overlap: Duration::from_secs(wish.overlap_seconds),
        event: operator.event(Kind::SecretCreated, Outcome::Allowed),
    };
    let Some(delivery) = fleet::rotate(&app, &agent, rotation).await? else {
        return Err(Missing::Agent(agent.name.to_string()).into());
    };
    let (delivered_to, secret) = match delivery {
        Delivery::File(path) => (Some(path), None),
        Delivery::Shown(secret) => (None, Some(secret)),
    };
    let body = Json(Rotated {
        agent: agent.name.as_str(),
        client_id: &agent.client_id,
        delivered_to,
        client_secret: secret.as_ref().map(Plain::reveal),
        overlap_seconds: wish.overlap_seconds,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

impl From<RotateError> for Refusal {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::Deliver(error) => error.into(),
            RotateError::Store(error) => error.into(),
        }
    }
}
