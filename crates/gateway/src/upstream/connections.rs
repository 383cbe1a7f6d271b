//! Copies of the tokens of people's connections to third-party servers (PC-05). Whoever keeps the connections renews them and
//! is asked for a copy, which is used until it ends, until the upstream does not take it, or until the connection ends.
//!
//! The question and the answer are plain data, so that a gateway that runs alone can ask over the network.

use crate::decide::refusal::{Ask, Refusal};
use crate::known::caller::Caller;
use crate::known::state::Knowledge;
use crate::message::answer::UpstreamFailure;
use crate::message::events::BrokenOff;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use portcullis_domain::id::{ConnectionId, ServerId, UserId};
use portcullis_domain::principal::Subject;
use portcullis_guard::bounded::BoundedMap;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// How many copies are kept.
const KEPT: usize = 10_000;

/// The longest that a call waits for a copy.
const PATIENCE: Duration = Duration::from_secs(25);

/// Who keeps people's connections.
pub trait Connections: Send + Sync {
    /// A copy of the token for what is wanted, renewed if need be.
    fn copy(&self, wanted: Wanted) -> BoxFuture<'_, Result<TokenCopy, NoCopy>>;
}

/// Whose token is wanted, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wanted {
    /// For calls to this server.
    pub server: ServerId,
    /// Of this person, as the access token of the call says that was verified.
    pub user: UserId,
    /// Where it will be sent. A token is given for the address only that it was made for.
    pub upstream: String,
    /// The copy that the upstream did not take: another one is wanted.
    #[serde(default)]
    pub refused: Option<CopyId>,
}

/// Which copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopyId {
    /// Of which connection.
    pub connection: ConnectionId,
    /// After how many renewals.
    pub version: u64,
}

/// A copy of a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCopy {
    /// Which.
    pub id: CopyId,
    /// The token.
    pub token: Zeroizing<String>,
    /// From then on another one is asked for.
    pub until: Timestamp,
}

impl fmt::Debug for TokenCopy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TokenCopy({:?})", self.id)
    }
}

/// Why there is no copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NoCopy {
    /// The person has to connect, for the first time or again.
    #[error("not connected")]
    NotConnected,
    /// It cannot be said now.
    #[error("the connection cannot be used at the moment")]
    Unavailable,
}

/// The copies that this gateway keeps, each for one server, person and address.
pub(crate) struct Copies {
    issuer: Issuer,
    keeper: Option<Arc<dyn Connections>>,
    kept: Mutex<BoundedMap<Key, Arc<Place>>>,
}

type Key = (ServerId, UserId, String);

/// Taken while it is asked: of many calls one asks, and the others get what it got.
type Place = tokio::sync::Mutex<Option<TokenCopy>>;

impl Copies {
    pub(crate) fn new(issuer: Issuer, keeper: Option<Arc<dyn Connections>>) -> Self {
        Self { issuer, keeper, kept: Mutex::new(BoundedMap::new(KEPT)) }
    }

    /// The caller has to connect first, and where.
    pub(crate) fn not_connected(&self, caller: &Caller) -> Refusal {
        let place = self.issuer.join(&format!("/connect/{}", caller.door.server.name));
        Refusal::NotConnected { place, ask: Ask::Words }
    }

    /// The token of the caller's own connection, to be sent to `upstream`. Another than `refused`.
    pub(crate) async fn of(
        &self,
        (caller, knowledge): (&Caller, &Knowledge),
        upstream: &str,
        refused: Option<CopyId>,
    ) -> Result<TokenCopy, Refusal> {
        // UPS-06: of whom our own issuer says that it is them, and of nobody else.
        let user = match &caller.principal.subject {
            Subject::User(user) => *user,
            Subject::Agent(_) | Subject::External { .. } => return Err(Refusal::NotAPerson),
        };
        let server = caller.door.server.id;
        let place = self.place((server, user, upstream.to_owned()));
        let wanted = Wanted { server, user, upstream: upstream.to_owned(), refused };
        let asked = tokio::time::timeout(PATIENCE, self.look(&place, wanted, (knowledge, caller.now)));
        match asked.await {
            Ok(Ok(copy)) => Ok(copy),
            Ok(Err(NoCopy::NotConnected)) => Err(self.not_connected(caller)),
            Ok(Err(NoCopy::Unavailable)) | Err(_) => Err(Refusal::Upstream(UpstreamFailure::Connection)),
        }
    }

    async fn look(
        &self,
        place: &Place,
        wanted: Wanted,
        (knowledge, now): (&Knowledge, Timestamp),
    ) -> Result<TokenCopy, NoCopy> {
        let mut kept = place.lock().await;
        let counts = |copy: &&TokenCopy| {
            now < copy.until && Some(copy.id) != wanted.refused && !knowledge.has_ended(copy.id.connection)
        };
        if let Some(copy) = kept.as_ref().filter(counts) {
            return Ok(copy.clone());
        }
        *kept = None;
        let keeper = self.keeper.as_ref().ok_or(NoCopy::Unavailable)?;
        let copy = keeper.copy(wanted).await?;
        // It may have ended while it was on its way.
        if knowledge.has_ended(copy.id.connection) {
            return Err(NoCopy::NotConnected);
        }
        *kept = Some(copy.clone());
        Ok(copy)
    }

    fn place(&self, key: Key) -> Arc<Place> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = kept.get(&key) {
            return Arc::clone(place);
        }
        let place = Arc::new(Place::default());
        kept.insert(key, Arc::clone(&place));
        place
    }
}

/// The same events, broken off when the connection ends by which they come (PC-45).
pub(crate) fn until_it_ends(
    events: BoxStream<'static, Result<Bytes, BrokenOff>>,
    knowledge: Arc<Knowledge>,
    connection: ConnectionId,
) -> BoxStream<'static, Result<Bytes, BrokenOff>> {
    let changes = knowledge.changes();
    let state = Some((events, changes));
    stream::unfold(state, move |state| {
        let knowledge = Arc::clone(&knowledge);
        async move {
            let (mut events, mut news) = state?;
            loop {
                news.mark_unchanged();
                if knowledge.has_ended(connection) {
                    return Some((Err(BrokenOff), None));
                }
                tokio::select! {
                    came = events.next() => return came.map(|event| (event, Some((events, news)))),
                    told = news.changed() => if told.is_err() { return None },
                }
            }
        }
    })
    .boxed()
}
