//! Another secret for an agent or a client, with an end to the old ones (PC-14).

use super::deliver::{self, DeliverError, Pending, Recipient};
use crate::app::App;
use crate::fault::Fault;
use crate::once::{Kept, Once};
use portcullis_domain::audit::{Event, Outcome};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::secret::{ClientSecret, Hashed, Plain};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Recorded, StoredClient, Tx};
use std::path::PathBuf;
use std::time::Duration;

/// How a secret is replaced.
pub(crate) struct Rotation<'a> {
    /// The old secrets go on for so long. Zero is for one that leaked: the tokens that it got end too.
    pub(crate) overlap: Duration,
    /// The client as it was looked at, if only such a one is meant.
    pub(crate) meant: Option<StoredClient>,
    /// Names who asked, and whose secret it is.
    pub(crate) event: Event,
    /// Whether it is asked for under a key.
    pub(crate) once: Once,
    /// What to say when it is done.
    pub(crate) answer: &'a (dyn Fn(Delivery) -> Result<Kept, Fault> + Send + Sync),
}

/// Where the new secret is.
pub(crate) enum Delivery {
    /// Where the fleet file says.
    File(PathBuf),
    /// The fleet file does not say; it is to be shown once.
    Shown(Plain<ClientSecret>),
}

/// Why there is no new secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateError {
    #[error(transparent)]
    Deliver(#[from] DeliverError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("the client is not as it was looked at")]
    Moved,
    #[error("the secret cannot be stored")]
    Store(#[source] Error),
}

/// Names the clash with what the operator looked at, as a constraint.
const LOOKED_AT: &str = "client_as_it_was_looked_at";

impl From<Error> for RotateError {
    fn from(error: Error) -> Self {
        match error {
            Error::Conflict(LOOKED_AT) => Self::Moved,
            Error::Conflict(_) | Error::Corrupt { .. } | Error::Unavailable(_) => Self::Store(error),
        }
    }
}

/// What one transaction writes.
struct Change {
    client: ClientId,
    meant: Option<StoredClient>,
    secret: Hashed<ClientSecret>,
    old_end: Timestamp,
    /// The end of the last token that an old secret got, if those end now.
    tokens_until: Option<Timestamp>,
    event: Event,
}

/// Makes a secret, and the answer that tells of it. `None`: whose it would be was removed or disabled meanwhile.
pub(crate) async fn rotate(
    app: &App,
    recipient: &Recipient,
    rotation: Rotation<'_>,
) -> Result<Option<Kept>, RotateError> {
    let Rotation { overlap, meant, mut event, once, answer } = rotation;
    let _turn = app.deliveries.lock().await;
    let now = app.clock.now();
    // The file first: a secret that is stored but was never written down would be lost.
    let (secret, delivery, pending) = make(app, recipient)?;
    let answer = answer(delivery)?;
    event.client = Some(recipient.client_id.clone());
    let change = Change {
        client: recipient.client_id.clone(),
        meant,
        secret,
        old_end: now + overlap,
        tokens_until: overlap.is_zero().then(|| now + app.config.tokens.revocation_memory()),
        event: event.with("overlap_seconds", overlap.as_secs()),
    };
    let kept = answer.clone();
    let kept = move |done: &bool| done.then(|| kept.clone());
    let written = once.write((app, now), change, |change, tx| Box::pin(write(change, tx)), kept).await;
    if matches!(written, Ok(false)) {
        deliver::discard(&pending);
        return Ok(None);
    }
    let is_stored = deliver::finish(app, &pending, &written).await;
    // After a COMMIT whose answer was lost: if the file could be put in its place, it was done.
    if pending.is_empty() || !is_stored {
        written?;
    }
    app.catch_up().await;
    Ok(Some(answer))
}

/// What is to be stored, where it goes, and the file that waits for it.
type Made = (Hashed<ClientSecret>, Delivery, Vec<Pending>);

fn make(app: &App, recipient: &Recipient) -> Result<Made, DeliverError> {
    let mut rng = app.entropy.rng();
    if let Some(path) = deliver::place(recipient) {
        let pending = Pending::prepare(std::slice::from_ref(recipient), &app.config.issuer, &mut rng)?;
        let secret = pending.first().map(|one| one.secret.clone());
        if let Some(secret) = secret {
            return Ok((secret, Delivery::File(path.to_owned()), pending));
        }
    }
    let secret = Plain::generate(&mut rng);
    Ok((secret.hashed(), Delivery::Shown(secret), Vec::new()))
}

async fn write(change: &Change, tx: &mut Tx) -> Result<Recorded<bool>, Error> {
    if let Some(meant) = &change.meant
        && !tx.client_is(meant).await?
    {
        return Err(Error::Conflict(LOOKED_AT));
    }
    let mut event = change.event.clone();
    let done = tx.rotate_secret(&change.client, &change.secret, change.old_end).await?;
    if !done {
        event.outcome = Outcome::Refused("gone".to_owned());
    } else if let Some(until) = change.tokens_until {
        let target = RevokedTarget::Client(change.client.clone());
        tx.revoke(&Revocation { target, at: tx.now(), until }).await?;
        // The old secret counted until now, which may be later than the moment that this write was given.
        tx.end_sessions_of_client(&change.client, until).await?;
    }
    tx.record(&event, done).await
}
