//! Secrets of agents and clients: made, written where their user reads them, and known to us as a hash only (PC-41, PC-44).

use crate::data::write_private;
use portcullis_domain::registry::{Agent, Client};
use portcullis_domain::secret::{ClientSecret, Hashed, Plain};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::Issuer;
use rand::CryptoRng;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A secret could not be written where it belongs.
#[derive(Debug, thiserror::Error)]
#[error("the secret of {whose} cannot be written to {}", path.display())]
pub struct DeliverError {
    whose: String,
    path: PathBuf,
    source: io::Error,
}

/// Whose secret it is, and where it belongs.
#[derive(Clone, Debug)]
pub(super) struct Recipient {
    pub(super) client_id: ClientId,
    /// `agent NAME` or `client NAME`
    pub(super) whose: String,
    pub(super) deliver: Option<String>,
}

impl From<&Agent> for Recipient {
    fn from(agent: &Agent) -> Self {
        let whose = format!("agent {}", agent.name);
        Self { client_id: agent.client_id.clone(), whose, deliver: agent.deliver.clone() }
    }
}

impl From<&Client> for Recipient {
    fn from(client: &Client) -> Self {
        let whose = format!("client {}", client.name);
        Self { client_id: client.client_id.clone(), whose, deliver: client.deliver.clone() }
    }
}

/// The file of somebody's credentials.
#[derive(Serialize)]
struct Credentials<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    /// Whom the secret may be shown to: a caller that heeds it cannot be sent to another authority.
    issuer: &'a Issuer,
}

/// Makes a secret and writes the file (0600, whole or not at all).
pub(super) fn new_secret(
    recipient: &Recipient,
    issuer: &Issuer,
    rng: &mut impl CryptoRng,
) -> Result<Hashed<ClientSecret>, DeliverError> {
    let path = place(recipient).unwrap_or(Path::new(""));
    let secret = Plain::<ClientSecret>::generate(rng);
    let credentials =
        Credentials { client_id: recipient.client_id.as_str(), client_secret: secret.reveal(), issuer };
    serde_json::to_vec(&credentials)
        .map_err(io::Error::from)
        .map(Zeroizing::new)
        .and_then(|json| write_private(path, &json))
        .map_err(|source| DeliverError { whose: recipient.whose.clone(), path: path.to_owned(), source })?;
    Ok(secret.hashed())
}

/// Whether the file is where it was delivered, or none is asked for.
pub(super) fn is_there(recipient: &Recipient) -> bool {
    place(recipient).is_none_or(Path::exists)
}

/// What is in the file now.
pub(super) fn content(recipient: &Recipient) -> Option<Zeroizing<Vec<u8>>> {
    place(recipient).and_then(|path| std::fs::read(path).ok()).map(Zeroizing::new)
}

/// Undoes a delivery: nobody knows the secret that was written.
pub(super) fn put_back(recipient: &Recipient, before: Option<&Vec<u8>>) {
    let Some(path) = place(recipient) else { return };
    let undone = match before {
        Some(before) => write_private(path, before),
        None => std::fs::remove_file(path),
    };
    if let Err(error) = undone {
        tracing::error!(whose = recipient.whose, %error, "the file of a secret that was not stored is still there");
    }
}

/// `file:PATH`, which the fleet file's check allows only.
pub(super) fn place(recipient: &Recipient) -> Option<&Path> {
    recipient.deliver.as_deref().map(|place| Path::new(place.strip_prefix("file:").unwrap_or(place)))
}
