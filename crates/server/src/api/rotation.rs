//! Another secret for an agent or for a client of the fleet file, with an end to the old ones (PC-14).

use super::error::Refusal;
use super::input::{BadInput, Missing};
use super::operator::{Operator, Writes};
use super::shown::Shown;
use crate::app::App;
use crate::fault::Fault;
use crate::fleet::{self, Delivery, Recipient, RotateError, Rotation};
use crate::once::Kept;
use http::StatusCode;
use portcullis_domain::audit::{Kind, Outcome};
use portcullis_domain::builtin;
use portcullis_domain::registry::{Access, Agent, Client};
use portcullis_domain::secret::ClientSecret;
use portcullis_oauth::client::ClientId;
use portcullis_store::StoredClient;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Until the old secrets end, if nothing else is asked for.
const OVERLAP: u64 = 24 * 60 * 60;

/// The longest that they may go on.
const MAX_OVERLAP: u64 = 30 * OVERLAP;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rotation")]
pub(super) struct Wish {
    #[serde(default = "overlap")]
    overlap_seconds: u64,
}

fn overlap() -> u64 {
    OVERLAP
}

/// Exactly one of `agent` and `client`, and of `delivered_to` and `client_secret`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Rotated {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[schemars(with = "String")]
    client_id: ClientId,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_to: Option<PathBuf>,
    /// Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    client_secret: Option<Shown<ClientSecret>>,
    overlap_seconds: u64,
}

/// Whose secret it is.
pub(super) enum Whose {
    Agent(Agent),
    Client(Client),
}

impl Whose {
    fn access(&self) -> &Access {
        match self {
            Self::Agent(agent) => &agent.access,
            Self::Client(client) => &client.access,
        }
    }

    fn recipient(&self) -> Recipient {
        match self {
            Self::Agent(agent) => agent.into(),
            Self::Client(client) => client.into(),
        }
    }

    fn client_id(&self) -> &ClientId {
        match self {
            Self::Agent(agent) => &agent.client_id,
            Self::Client(client) => &client.client_id,
        }
    }

    fn word_and_name(&self) -> (&'static str, String) {
        match self {
            Self::Agent(agent) => ("agent", agent.name.to_string()),
            Self::Client(client) => ("client", client.name.to_string()),
        }
    }
}

/// Makes the secret, and answers with where it is. `shown` is what an `If-Match` means.
pub(super) async fn rotate<T: Serialize>(
    (app, operator): (&App, &Operator<Writes>),
    whose: Whose,
    wish: Wish,
    shown: impl Future<Output = Result<T, Refusal>>,
) -> Result<Kept, Refusal> {
    if wish.overlap_seconds > MAX_OVERLAP {
        return Err(BadInput::Malformed("overlap_seconds is at most 30 days".to_owned()).into());
    }
    // ADM-03: whoever gets a secret is whose it was.
    if !builtin::admin_access(whose.access()).is_empty() {
        operator.as_owner("this secret leads to portcullis")?;
    }
    let (word, name) = whose.word_and_name();
    let change = async {
        let meant = meant(app, operator, whose.client_id(), shown).await?;
        let rotation = Rotation {
            overlap: Duration::from_secs(wish.overlap_seconds),
            meant,
            event: operator.event(Kind::SecretCreated, Outcome::Allowed).with(word, &name),
            once: operator.once().clone(),
            answer: &|delivery| rotated(&whose, delivery, wish.overlap_seconds),
        };
        let done = fleet::rotate(app, &whose.recipient(), rotation).await?;
        Ok::<_, Refusal>(done.ok_or_else(|| Missing::exactly(word, &name))?)
    };
    operator.once().or_do(change).await
}

/// The client as the operator means it (RFC 9110 s13.1.1), for the transaction to look again; nothing where it does not matter.
async fn meant<T: Serialize>(
    app: &App,
    operator: &Operator<Writes>,
    client: &ClientId,
    shown: impl Future<Output = Result<T, Refusal>>,
) -> Result<Option<StoredClient>, Refusal> {
    if !operator.is_choosy() {
        return Ok(None);
    }
    // Read before what is shown: what changes from here on is noticed.
    let client = app.store.read().await?.reader().client(client, app.clock.now()).await?;
    operator.means(&shown.await?)?;
    Ok(client)
}

fn rotated(whose: &Whose, delivery: Delivery, overlap_seconds: u64) -> Result<Kept, Fault> {
    let (delivered_to, secret) = match delivery {
        Delivery::File(path) => (Some(path), None),
        Delivery::Shown(secret) => (None, Some(secret)),
    };
    let (agent, client) = match whose {
        Whose::Agent(agent) => (Some(agent.name.to_string()), None),
        Whose::Client(client) => (None, Some(client.name.to_string())),
    };
    let body = Rotated {
        agent,
        client,
        client_id: whose.client_id().clone(),
        delivered_to,
        client_secret: secret.map(Shown),
        overlap_seconds,
    };
    Kept::json(StatusCode::OK, &body)
}

impl From<RotateError> for Refusal {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::Deliver(error) => error.into(),
            RotateError::Fault(fault) => fault.into(),
            RotateError::Moved => Self::Changed,
            RotateError::Store(error) => error.into(),
        }
    }
}
