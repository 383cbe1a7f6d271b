//! Secrets of agents and clients: made, written where their user reads them, and known to us as a hash only (PC-41, PC-44).

use crate::app::App;
use crate::data::{sync_folder_of, write_private};
use portcullis_domain::registry::{Agent, Client};
use portcullis_domain::secret::{ClientSecret, Hashed, Plain};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::Issuer;
use portcullis_store::Error;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
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
#[derive(Deserialize, Serialize)]
struct Credentials<'a> {
    client_id: Cow<'a, str>,
    client_secret: Cow<'a, str>,
    /// Whom the secret may be shown to: a caller that heeds it cannot be sent to another authority.
    issuer: Cow<'a, str>,
}

/// A secret that lies beside its place until it is stored: killed at any point, what is in the place counts, or what lies
/// beside it does and is put there at the next start.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) client_id: ClientId,
    whose: String,
    place: PathBuf,
    pub(super) secret: Hashed<ClientSecret>,
}

impl Pending {
    /// Makes a secret and writes it beside its place (0600, whole or not at all).
    pub(super) fn prepare(
        recipient: &Recipient,
        issuer: &Issuer,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, DeliverError> {
        let place = place(recipient).unwrap_or(Path::new("")).to_owned();
        let failed = |source| DeliverError { whose: recipient.whose.clone(), path: place.clone(), source };
        if place.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let secret = Plain::<ClientSecret>::generate(rng);
        let client_id = recipient.client_id.clone();
        let credentials = Credentials {
            client_id: client_id.as_str().into(),
            client_secret: secret.reveal().into(),
            issuer: issuer.as_str().into(),
        };
        serde_json::to_vec(&credentials)
            .map_err(io::Error::from)
            .map(Zeroizing::new)
            .and_then(|json| write_private(&beside(&place), &json))
            .map_err(failed)?;
        let secret = secret.hashed();
        Ok(Self { client_id, whose: recipient.whose.clone(), place, secret })
    }

    /// What lies beside the place of somebody's secret, of an attempt that did not come to its end.
    fn found(recipient: &Recipient) -> Option<Self> {
        let place = place(recipient)?.to_owned();
        let json = Zeroizing::new(std::fs::read(beside(&place)).ok()?);
        let credentials: Credentials<'_> = serde_json::from_slice(&json).ok()?;
        let client_id = recipient.client_id.clone();
        let secret = Hashed::of(&credentials.client_secret);
        (credentials.client_id == client_id.as_str()).then(|| Self {
            client_id,
            whose: recipient.whose.clone(),
            place,
            secret,
        })
    }

    /// The secret is stored: it goes where it belongs.
    fn settle(&self) {
        let settled =
            std::fs::rename(beside(&self.place), &self.place).and_then(|()| sync_folder_of(&self.place));
        if let Err(error) = settled {
            let (whose, path) = (&self.whose, self.place.display());
            tracing::error!(whose, %path, %error, "a secret that counts lies beside its place; it is put there at the next start");
        }
    }

    /// The secret was not stored, and will not be: nobody needs it.
    fn discard(&self) {
        if let Err(error) = std::fs::remove_file(beside(&self.place)) {
            tracing::warn!(whose = self.whose, %error, "the file of a secret that does not count is still there");
        }
    }
}

/// Puts secrets where they belong when they were stored, and away when they were not. Whether they were is looked up when
/// the write does not say so; `true`: all of them count.
pub(super) async fn finish<T>(app: &App, pending: &[Pending], written: &Result<T, Error>) -> bool {
    match written {
        Ok(_) => {
            pending.iter().for_each(Pending::settle);
            true
        }
        Err(Error::Unavailable(_)) => settle_stored(app, pending).await.unwrap_or(false),
        Err(Error::Conflict(_) | Error::Corrupt { .. }) => {
            pending.iter().for_each(Pending::discard);
            false
        }
    }
}

/// What was stored goes where it belongs; the rest stays: a COMMIT that was not answered may still come.
async fn settle_stored(app: &App, pending: &[Pending]) -> Result<bool, Error> {
    let mut handle = app.store.read().await?;
    let mut all = true;
    for one in pending {
        let client = handle.reader().client(&one.client_id, app.clock.now()).await?;
        if client.is_some_and(|client| client.secrets.iter().any(|secret| secret.matches(&one.secret))) {
            one.settle();
        } else {
            all = false;
        }
    }
    Ok(all)
}

/// At the start: what an earlier run stored but did not put where it belongs.
pub async fn resume(app: &App) -> Result<(), Error> {
    let _turn = app.deliveries.lock().await;
    let current = app.current.load_full();
    let snapshot = &current.snapshot;
    let recipients =
        snapshot.agents.iter().map(Recipient::from).chain(snapshot.clients.iter().map(Recipient::from));
    let pending: Vec<Pending> = recipients.filter_map(|recipient| Pending::found(&recipient)).collect();
    if !pending.is_empty() {
        settle_stored(app, &pending).await?;
    }
    Ok(())
}

/// A delivered file, as far as others need to know it.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// Where it should be.
    pub(crate) place: PathBuf,
    /// Whose, and with what secret; `None` if it cannot be read or is something else.
    pub(crate) found: Option<(String, Hashed<ClientSecret>)>,
    /// Its permissions, if it is there.
    pub(crate) mode: Option<u32>,
}

/// Looks at what was delivered to `deliver`, as the fleet file writes it.
pub(crate) fn delivered(deliver: &str) -> Delivered {
    use std::os::unix::fs::PermissionsExt as _;
    let place = PathBuf::from(deliver.strip_prefix("file:").unwrap_or(deliver));
    let mode = std::fs::metadata(&place).ok().map(|file| file.permissions().mode() & 0o777);
    let json = std::fs::read(&place).ok().map(Zeroizing::new);
    let found = json.and_then(|json| {
        let credentials: Credentials<'_> = serde_json::from_slice(&json).ok()?;
        Some((credentials.client_id.into_owned(), Hashed::of(&credentials.client_secret)))
    });
    Delivered { place, found, mode }
}

/// Undoes the preparation of several.
pub(super) fn discard(pending: &[Pending]) {
    pending.iter().for_each(Pending::discard);
}

/// Whether the file is where it was delivered, or none is asked for.
pub(super) fn is_there(recipient: &Recipient) -> bool {
    place(recipient).is_none_or(Path::exists)
}

/// `file:PATH`, which the fleet file's check allows only.
pub(super) fn place(recipient: &Recipient) -> Option<&Path> {
    recipient.deliver.as_deref().map(|place| Path::new(place.strip_prefix("file:").unwrap_or(place)))
}

fn beside(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!(".{name}.pending"))
}
