//! Keeps connections in use: hands out copies of their tokens, and renews them, one node at a time (field 1.4). What a renewal
//! brings is stored before anybody uses it; what the issuer does not know any more is final; what cannot be had now is tried
//! again.

use super::finish::forget_registration;
use super::party::Party;
use super::sealed::{self, Held};
use super::talk::{self, Gone, NotRenewed};
use crate::app::App;
use crate::fault::Fault;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::id::ConnectionId;
use portcullis_gateway::{Connections, CopyId, NoCopy, TokenCopy, Wanted};
use portcullis_guard::bounded::BoundedMap;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ConnectionState, Renewal, StoredConnection};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// A token that ends sooner is renewed first: a call takes its time. Of one that lives for a short while, a quarter of its life.
const MARGIN: Duration = Duration::from_secs(30);

/// A copy is used for no longer.
const COPY: Duration = Duration::from_mins(15);

/// What is this young is not renewed because the upstream refuses it: the next would be refused as well.
const YOUNG: Duration = Duration::from_secs(10);

/// One node has the right to renew for so long: longer than any third party is waited for.
const LEASE: Duration = Duration::from_secs(40);

/// How often it is looked whether another node has renewed.
const GLANCE: Duration = Duration::from_millis(100);

/// Then the call goes without.
const PATIENCE: Duration = Duration::from_secs(22);

/// A third party that does not answer is left alone for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// What was given must not be lost for a database that is away for a moment.
const ATTEMPTS_TO_STORE: u32 = 5;

/// Hands out copies. It is made before the app that it works for.
#[derive(Default)]
pub(crate) struct Keeper {
    app: OnceLock<Weak<App>>,
}

/// Third parties that did not answer, and when they may be asked again.
pub(crate) struct Pauses(Mutex<BoundedMap<ConnectionId, Timestamp>>);

impl Default for Pauses {
    fn default() -> Self {
        Self(Mutex::new(BoundedMap::new(10_000)))
    }
}

impl Pauses {
    fn is_paused(&self, id: ConnectionId, now: Timestamp) -> bool {
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.get(&id).is_some_and(|until| now < *until)
    }

    fn pause(&self, id: ConnectionId, until: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, until);
    }
}

/// What the gateway is told.
type Asked = Result<TokenCopy, NoCopy>;

/// What is being got: whoever wants the same waits for the same.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<Wanted, Shared<BoxFuture<'static, Asked>>>>);

impl Flights {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Wanted, Shared<BoxFuture<'static, Asked>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that has ended, however it did, is waited for by nobody else.
struct Flight {
    app: Arc<App>,
    wanted: Wanted,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.app.flights.under_way().remove(&self.wanted);
    }
}

impl Keeper {
    /// From now on it works.
    pub(crate) fn works_for(&self, app: &Arc<App>) {
        let _it_does_already = self.app.set(Arc::downgrade(app));
    }
}

impl Connections for Keeper {
    fn copy(&self, wanted: Wanted) -> BoxFuture<'_, Result<TokenCopy, NoCopy>> {
        Box::pin(async move {
            let app = self.app.get().and_then(Weak::upgrade).ok_or(NoCopy::Unavailable)?;
            shared(&app, wanted).await
        })
    }
}

/// In a task of its own: whoever asks may go away, and what was given must be stored nevertheless. One task, however many
/// ask and go away (DOS-02).
fn shared(app: &Arc<App>, wanted: Wanted) -> Shared<BoxFuture<'static, Asked>> {
    let (tell, told) = oneshot::channel();
    let shared = {
        let mut under_way = app.flights.under_way();
        if let Some(shared) = under_way.get(&wanted) {
            return shared.clone();
        }
        let told = told.map(|told| told.unwrap_or(Err(NoCopy::Unavailable)));
        let shared = told.boxed().shared();
        under_way.insert(wanted.clone(), shared.clone());
        shared
    };
    let flight = Flight { app: Arc::clone(app), wanted };
    tokio::spawn(async move {
        let asked = copy(&flight.app, &flight.wanted).await.map_err(Missing::said);
        drop(flight);
        let _nobody_waits_any_more = tell.send(asked);
    });
    shared
}

/// Why there is no copy.
enum Missing {
    No(NoCopy),
    Fault(Fault),
}

impl Missing {
    fn said(self) -> NoCopy {
        match self {
            Self::No(why) => why,
            Self::Fault(fault) => {
                fault.log();
                NoCopy::Unavailable
            }
        }
    }
}

impl<E: Into<Fault>> From<E> for Missing {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// What there is to do about a connection.
enum Next {
    Give(TokenCopy),
    Renew(Box<Held>),
}

async fn copy(app: &App, wanted: &Wanted) -> Result<TokenCopy, Missing> {
    let started = tokio::time::Instant::now();
    while started.elapsed() < PATIENCE {
        let party = Party::by_id(&app.current.load(), wanted.server);
        let party = party.filter(|party| party.upstream == wanted.upstream);
        let party = party.ok_or(Missing::No(NoCopy::Unavailable))?;
        let now = app.clock.now();
        let mut handle = app.store.read().await?;
        let found = handle.reader().connection_of(wanted.server, wanted.user).await?;
        drop(handle);
        let found = found.filter(|found| found.state == ConnectionState::Connected);
        let found = found.ok_or(Missing::No(NoCopy::NotConnected))?;
        match next(app, wanted, &found, now)? {
            Next::Give(copy) => return Ok(copy),
            Next::Renew(held) => {
                if let Some(copy) = renew(app, &party, (&found, &held), (wanted, now)).await? {
                    return Ok(copy);
                }
            }
        }
        tokio::time::sleep(GLANCE).await;
    }
    Err(Missing::No(NoCopy::Unavailable))
}

fn next(app: &App, wanted: &Wanted, found: &StoredConnection, now: Timestamp) -> Result<Next, Missing> {
    let held: Held = sealed::open(app, (wanted.server, wanted.user), &found.sealed)?;
    // Its server stands elsewhere now: what was given for there is not shown here.
    if held.bond.upstream != wanted.upstream {
        return Err(Missing::No(NoCopy::NotConnected));
    }
    let is_refused = wanted.refused == Some(id_of(found));
    // Field 1.14: as if the new one had been refused as well.
    if is_refused && is_young(found, now) {
        return Err(Missing::No(NoCopy::NotConnected));
    }
    let ends_soon = held.ends.is_some_and(|ends| ends.has_passed(now + margin(found, &held, ends)));
    if is_refused || ends_soon {
        return Ok(Next::Renew(Box::new(held)));
    }
    Ok(Next::Give(given(found, &held, now)))
}

/// Not when the clock was set back: then its age is not known.
fn is_young(found: &StoredConnection, now: Timestamp) -> bool {
    found.refreshed_at <= now && now.since(found.refreshed_at) < YOUNG
}

fn id_of(found: &StoredConnection) -> CopyId {
    CopyId { connection: found.id, version: found.version }
}

/// How long before its end a token is renewed. What cannot be renewed serves to its end.
fn margin(found: &StoredConnection, held: &Held, ends: Timestamp) -> Duration {
    if held.refresh.is_none() {
        return Duration::ZERO;
    }
    MARGIN.min(ends.since(found.refreshed_at) / 4)
}

fn given(found: &StoredConnection, held: &Held, now: Timestamp) -> TokenCopy {
    let soon = now + COPY;
    let until = held.ends.map_or(soon, |ends| soon.min(ends - margin(found, held, ends)));
    TokenCopy { id: id_of(found), token: held.access.clone(), until }
}

/// Renews, if no other node does; `None`: look again.
async fn renew(
    app: &App,
    party: &Party,
    (found, held): (&StoredConnection, &Held),
    (wanted, now): (&Wanted, Timestamp),
) -> Result<Option<TokenCopy>, Missing> {
    if app.pauses.is_paused(found.id, now) {
        return still_good((found, held), wanted, now).map(Some);
    }
    // Another node renews: looking costs less than trying to.
    if found.lease_until.is_some_and(|until| !until.has_passed(now)) {
        return Ok(None);
    }
    let renewal = Renewal { id: found.id, version: found.version, lease: app.entropy.unique_text() };
    let event = |kind, outcome| {
        let mut event = Event::new(kind, outcome, Actor::System).with("connection", found.id);
        event.user = Some(wanted.user);
        event.server = Some(wanted.server);
        event
    };
    if !lease(app, &renewal, event(Kind::ConnectionRenewing, Outcome::Allowed), now).await? {
        return Ok(None);
    }
    let before = with_secret_of_today(party, held);
    let outcome = match &before {
        Some(before) => talk::renew(app, party.fetch(app), before).await,
        None => Err(NotRenewed::Later),
    };
    let refreshed = |outcome| event(Kind::ConnectionRefreshed, outcome);
    match outcome {
        Ok(held) => {
            let sealed = sealed::seal(app, (wanted.server, wanted.user), &held)?;
            let kept = (sealed, held.scopes.join(" "));
            if !store(app, &renewal, kept, refreshed(Outcome::Allowed)).await? {
                // It ended while it was renewed.
                return Ok(None);
            }
            let now = app.clock.now();
            let version = found.version + 1;
            let renewed = StoredConnection { version, refreshed_at: now, lease_until: None, ..found.clone() };
            Ok(Some(given(&renewed, &held, now)))
        }
        Err(NotRenewed::Gone(gone)) => {
            expire(app, &renewal, refreshed(Outcome::Refused(gone.word().to_owned()))).await?;
            if gone == Gone::Client {
                let issuer = held.bond.authority.issuer.clone();
                forget_registration(app, (party.id, issuer), app.clock.now()).await?;
            }
            Err(Missing::No(NoCopy::NotConnected))
        }
        Err(NotRenewed::Later) => {
            app.pauses.pause(found.id, app.clock.now() + PAUSE);
            give_back(app, &renewal, refreshed(Outcome::Refused("unavailable".to_owned()))).await?;
            still_good((found, held), wanted, app.clock.now()).map(Some)
        }
    }
}

/// While there is no other, the token of before serves to its end.
fn still_good(
    (found, held): (&StoredConnection, &Held),
    wanted: &Wanted,
    now: Timestamp,
) -> Result<TokenCopy, Missing> {
    let is_refused = wanted.refused == Some(id_of(found));
    match held.ends {
        Some(ends) if !is_refused && !ends.has_passed(now) => {
            let until = ends.min(now + PAUSE);
            Ok(TokenCopy { until, ..given(found, held, now) })
        }
        Some(_) | None => Err(Missing::No(NoCopy::Unavailable)),
    }
}

/// The operator's client may have got another secret since the person connected; `None`: it cannot be read.
fn with_secret_of_today(party: &Party, held: &Held) -> Option<Held> {
    let mut held = held.clone();
    match party.registered_by_operator() {
        Ok(Some(client)) if client.id == held.bond.client.id => held.bond.client = client,
        Ok(_) => {}
        Err(error) => {
            tracing::error!(server = %party.name, why = %error, "tokens of a connection cannot be renewed");
            return None;
        }
    }
    Some(held)
}

async fn lease(app: &App, renewal: &Renewal, event: Event, now: Timestamp) -> Result<bool, Fault> {
    let written = app.store.write(now, (event, renewal.clone()), |(event, renewal), tx| {
        Box::pin(async move {
            let until = tx.now() + LEASE;
            if !tx.lease(renewal, until).await? {
                return Err(portcullis_store::Error::Conflict("upstream_connection_lease"));
            }
            tx.record(event, ()).await
        })
    });
    match written.await {
        Ok(()) => Ok(true),
        Err(portcullis_store::Error::Conflict(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Stored before it is used. The same statement again finds that it was done, should an answer have been lost.
async fn store(
    app: &App,
    renewal: &Renewal,
    (sealed, scopes): (Vec<u8>, String),
    event: Event,
) -> Result<bool, Fault> {
    let input = Arc::new((event, renewal.clone(), sealed, scopes));
    let mut failure = None;
    for attempt in 0..ATTEMPTS_TO_STORE {
        let written = app.store.write(app.clock.now(), Arc::clone(&input), |input, tx| {
            Box::pin(async move {
                let (event, renewal, sealed, scopes) = &**input;
                let kept = tx.renewed(renewal, (sealed.as_slice(), scopes.as_str())).await?;
                let mut event = event.clone();
                if !kept {
                    event.outcome = Outcome::Refused("ended".to_owned());
                }
                tx.record(&event, kept).await
            })
        });
        match written.await {
            Ok(kept) => return Ok(kept),
            Err(error) => failure = Some(error),
        }
        tokio::time::sleep(GLANCE * 2u32.pow(attempt)).await;
    }
    Err(failure.map_or(Fault::Shape("a renewal"), Fault::from))
}

async fn expire(app: &App, renewal: &Renewal, event: Event) -> Result<(), Fault> {
    let now = app.clock.now();
    let until = now + app.config.tokens.revocation_memory();
    let written = app.store.write(now, (event, renewal.clone(), until), |(event, renewal, until), tx| {
        Box::pin(async move {
            tx.expire(renewal, *until).await?;
            tx.record(event, ()).await
        })
    });
    written.await?;
    app.catch_up().await;
    Ok(())
}

async fn give_back(app: &App, renewal: &Renewal, event: Event) -> Result<(), Fault> {
    let written = app.store.write(app.clock.now(), (event, renewal.clone()), |(event, renewal), tx| {
        Box::pin(async move {
            tx.give_back(renewal).await?;
            tx.record(event, ()).await
        })
    });
    Ok(written.await?)
}
