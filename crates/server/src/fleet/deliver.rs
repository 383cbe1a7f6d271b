//! Secrets of agents and clients: made, written where their user reads them, and known to us as a hash only (PC-41, PC-44).

use crate::app::App;
use crate::data::{sync_folder_of, write_private_one_of_many};
use portcullis_domain::registry::{Agent, Client};
use portcullis_domain::secret::{ClientSecret, Hashed, Plain};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::Issuer;
use portcullis_store::Error;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
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
pub(crate) struct Recipient {
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

/// A secret that is not written down yet.
struct Draft {
    pending: Pending,
    json: Zeroizing<Vec<u8>>,
    is_written: AtomicBool,
}

impl Draft {
    fn new(recipient: &Recipient, issuer: &Issuer, rng: &mut impl CryptoRng) -> Result<Self, DeliverError> {
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
        let json = serde_json::to_vec(&credentials).map_err(io::Error::from).map(Zeroizing::new);
        let json = json.map_err(failed)?;
        let (whose, secret) = (recipient.whose.clone(), secret.hashed());
        Ok(Self {
            pending: Pending { client_id, whose, place, secret },
            json,
            is_written: AtomicBool::new(false),
        })
    }

    /// Beside its place, for its owner only, whole or not at all; the folder waits.
    fn write(&self) -> Result<(), DeliverError> {
        write_private_one_of_many(&beside(&self.pending.place), &self.json)
            .map_err(|source| self.pending.failed(source))?;
        self.is_written.store(true, Ordering::Release);
        Ok(())
    }
}

impl Pending {
    /// Makes secrets and writes them beside their places (0600): all of them, or none.
    pub(super) fn prepare(
        recipients: &[Recipient],
        issuer: &Issuer,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Self>, DeliverError> {
        let drafts = recipients.iter().map(|recipient| Draft::new(recipient, issuer, rng));
        let drafts: Vec<Draft> = drafts.collect::<Result<_, _>>()?;
        let written =
            write_all(&drafts).and_then(|()| sync_folders(drafts.iter().map(|draft| &draft.pending)));
        if let Err(error) = written {
            let written = drafts.iter().filter(|draft| draft.is_written.load(Ordering::Acquire));
            written.for_each(|draft| draft.pending.discard());
            return Err(error);
        }
        Ok(drafts.into_iter().map(|draft| draft.pending).collect())
    }

    fn failed(&self, source: io::Error) -> DeliverError {
        DeliverError { whose: self.whose.clone(), path: self.place.clone(), source }
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
        let moved = std::fs::rename(beside(&self.place), &self.place).map_err(|source| self.failed(source));
        if let Err(error) = moved.and_then(|()| sync_folders([self])) {
            error.tell();
        }
    }

    /// The secret was not stored, and will not be: nobody needs it.
    fn discard(&self) {
        if let Err(error) = std::fs::remove_file(beside(&self.place))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(whose = self.whose, %error, "the file of a secret that does not count is still there");
        }
    }
}

impl DeliverError {
    fn tell(&self) {
        let (whose, path, error) = (&self.whose, self.path.display(), &self.source);
        tracing::error!(whose, %path, %error, "a secret that counts lies beside its place; it is put there at the next start");
    }
}

/// Each file is synced by itself, which is waiting more than work: several at a time.
fn write_all(drafts: &[Draft]) -> Result<(), DeliverError> {
    const AT_A_TIME: usize = 16;
    let share = drafts.len().div_ceil(AT_A_TIME).max(1);
    std::thread::scope(|scope| {
        let threads = drafts.chunks(share).map(|some| scope.spawn(|| some.iter().try_for_each(Draft::write)));
        let threads: Vec<_> = threads.collect();
        let ends = threads.into_iter().zip(drafts.chunks(share)).map(|(thread, some)| match thread.join() {
            Ok(end) => end,
            Err(_panic) => Err(some[0].pending.failed(io::Error::other("writing it failed"))),
        });
        // All of them are waited for.
        ends.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Each folder once: then the names in it last.
fn sync_folders<'a>(pending: impl IntoIterator<Item = &'a Pending>) -> Result<(), DeliverError> {
    let folders: BTreeMap<_, _> = pending.into_iter().map(|one| (one.place.parent(), one)).collect();
    folders.into_values().try_for_each(|one| sync_folder_of(&one.place).map_err(|source| one.failed(source)))
}

/// The same as settling each.
fn settle_all(pending: &[Pending]) {
    for one in pending {
        if let Err(error) = std::fs::rename(beside(&one.place), &one.place) {
            one.failed(error).tell();
        }
    }
    if let Err(error) = sync_folders(pending) {
        error.tell();
    }
}

/// Puts secrets where they belong when they were stored, and away when they were not. Whether they were is looked up when
/// the write does not say so; `true`: all of them count.
pub(super) async fn finish<T>(app: &App, pending: &[Pending], written: &Result<T, Error>) -> bool {
    match written {
        Ok(_) => {
            settle_all(pending);
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
