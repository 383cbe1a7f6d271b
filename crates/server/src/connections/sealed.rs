//! What is kept of connections, sealed (PC-44): each value opens for its own server and person only.

use super::party::{Authority, Client};
use crate::app::App;
use crate::fault::Fault;
use portcullis_domain::id::{ServerId, UserId};
use portcullis_domain::seal::{SealingKey, Unsealable};
use portcullis_oauth::time::Timestamp;
use rmcp::transport::auth::StoredAuthorizationState;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A sign-in that is under way.
#[derive(Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) bond: Bond,
    /// Verifier, expected issuer, scopes asked for.
    pub(crate) state: StoredAuthorizationState,
}

/// Between whom tokens are asked and given, and for which address.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Bond {
    pub(crate) upstream: String,
    /// As the server itself names it (RFC 9728), character for character.
    pub(crate) resource: String,
    pub(crate) authority: Authority,
    pub(crate) client: Client,
}

/// What a connection holds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) bond: Bond,
    pub(crate) access: Zeroizing<String>,
    pub(crate) refresh: Option<Zeroizing<String>>,
    pub(crate) scopes: Vec<String>,
    /// When the access token ends, if its issuer said.
    pub(crate) ends: Option<Timestamp>,
}

/// Kinds of sealed values; none opens as another.
pub(crate) trait Sealed: Serialize + DeserializeOwned {
    /// Which kind.
    const KIND: &'static str;
}

impl Sealed for Begun {
    const KIND: &'static str = "connecting";
}

impl Sealed for Held {
    const KIND: &'static str = "connection";
}

/// A registration is nobody's in particular.
#[derive(Serialize, Deserialize)]
pub(crate) struct Registered {
    /// It is good for this way back only.
    pub(crate) redirect: String,
    pub(crate) client: Client,
}

fn key(app: &App) -> Result<SealingKey, Unsealable> {
    app.master.sealing_key("upstream connections")
}

/// Seals what is `user`'s at `server`.
pub(crate) fn seal<T: Sealed>(app: &App, whose: (ServerId, UserId), value: &T) -> Result<Vec<u8>, Fault> {
    seal_as(app, &context::<T>(whose), value)
}

/// Opens what [`seal`] made for the same two.
pub(crate) fn open<T: Sealed>(app: &App, whose: (ServerId, UserId), sealed: &[u8]) -> Result<T, Fault> {
    open_as(app, &context::<T>(whose), sealed)
}

pub(crate) fn seal_registration(
    app: &App,
    (server, issuer): (ServerId, &str),
    registered: &Registered,
) -> Result<Vec<u8>, Fault> {
    seal_as(app, &format!("registration/{server}/{issuer}"), registered)
}

pub(crate) fn open_registration(
    app: &App,
    (server, issuer): (ServerId, &str),
    sealed: &[u8],
) -> Result<Registered, Fault> {
    open_as(app, &format!("registration/{server}/{issuer}"), sealed)
}

fn context<T: Sealed>((server, user): (ServerId, UserId)) -> String {
    format!("{}/{server}/{user}", T::KIND)
}

fn seal_as(app: &App, context: &str, value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let plain = serde_json::to_vec(value).map(Zeroizing::new);
    let plain = plain.map_err(|_| Fault::Shape("what is to be sealed"))?;
    Ok(key(app)?.seal(context, &plain, &mut app.entropy.rng())?)
}

fn open_as<T: DeserializeOwned>(app: &App, context: &str, sealed: &[u8]) -> Result<T, Fault> {
    let plain = key(app)?.open(context, sealed)?;
    serde_json::from_slice(&plain).map_err(|_| Fault::Shape("what was sealed"))
}
