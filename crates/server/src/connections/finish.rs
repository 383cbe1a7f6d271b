//! The end of a sign-in at a third party: the answer counts once, in the browser and for the person that it was begun in and
//! for, and from the issuer that was asked.

use super::NotConnected;
use super::begin::event;
use super::party::Party;
use super::sealed::{self, Begun};
use super::talk::{self, Gone};
use crate::app::App;
use crate::fetch::Fetch;
use crate::login::person::Person;
use crate::pages::error::PageRefusal;
use portcullis_domain::audit::{Event, Kind, Outcome};
use portcullis_domain::id::{ConnectionId, ServerId};
use portcullis_domain::secret::Hashed;
use portcullis_oauth::form::Form;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Connecting, Error, NewConnection};

/// How a sign-in at a third party ended.
pub(crate) enum Finished {
    /// With a connection.
    Connected(Party),
    /// Without one: they said no, or nothing that can be used.
    Without(Party, Without),
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    /// The person, or the third party, said no.
    Denied,
    /// What came back cannot be used.
    Unusable,
}

/// Takes the answer that the browser brings.
pub(crate) async fn finish(
    app: &App,
    person: &Person,
    answer: &Form,
    now: Timestamp,
) -> Result<Finished, PageRefusal> {
    let state = answer.get("state").ok_or(PageRefusal::Malformed)?;
    let returned = take(app, person, state, now).await?;
    let party = Party::by_id(&app.current.load(), returned.server).ok_or(PageRefusal::NotFound)?;
    let whose = (party.id, person.user.id);
    let begun: Begun = sealed::open(app, whose, &returned.sealed)?;
    if begun.bond.upstream != party.upstream {
        // It became another server while the person was away.
        return Err(PageRefusal::Stale);
    }
    let (Some(code), None) = (answer.get("code"), answer.get("error")) else {
        let without = if answer.has("error") { Without::Denied } else { Without::Unusable };
        refused(app, event(Kind::ConnectionMade, person, &party), without, now).await?;
        return Ok(Finished::Without(party, without));
    };
    let issuer = begun.bond.authority.issuer.clone();
    let fetch = Fetch::on_behalf_of(&app.fetcher, &party.upstream);
    match talk::exchange(app, fetch, begun, (code, answer.get("iss"))).await {
        Ok(held) => {
            let scopes = held.scopes.join(" ");
            let id = ConnectionId::generate(now, &mut app.entropy.rng());
            let new = NewConnection {
                id,
                server: party.id,
                user: person.user.id,
                issuer: issuer.clone(),
                scopes: scopes.clone(),
                sealed: sealed::seal(app, whose, &held)?,
            };
            let event = event(Kind::ConnectionMade, person, &party);
            let event = event.with("connection", id).with("issuer", issuer).with("scopes", scopes);
            keep(app, event, new, now).await?;
            Ok(Finished::Connected(party))
        }
        Err((NotConnected::Fault(fault), _)) => Err(fault.into()),
        Err((failure @ (NotConnected::Refused(_) | NotConnected::Unusable(_)), gone)) => {
            tracing::warn!(server = %party.name, why = %failure, "a person could not be connected");
            if gone == Some(Gone::Client) {
                forget_registration(app, (party.id, issuer), now).await?;
            }
            let event = event(Kind::ConnectionMade, person, &party);
            refused(app, event, Without::Unusable, now).await?;
            Ok(Finished::Without(party, Without::Unusable))
        }
    }
}

/// What was begun under this state, once; it stays when another person or browser brings it.
async fn take(app: &App, person: &Person, state: &str, now: Timestamp) -> Result<Connecting, PageRefusal> {
    let mut event = Event::new(
        Kind::ConnectionReturned,
        Outcome::Allowed,
        portcullis_domain::audit::Actor::User(person.user.id),
    );
    event.user = Some(person.user.id);
    let input = (event, Hashed::of(state), person.user.id, person.session.clone());
    let taken = app.store.write(now, input, |(event, state, user, session), tx| {
        Box::pin(async move {
            let taken = tx.take_connecting(state, *user, session).await?;
            let taken = taken.ok_or(Error::Conflict("upstream_connecting_one"))?;
            let mut event = event.clone();
            event.server = Some(taken.server);
            tx.record(&event, taken).await
        })
    });
    match taken.await {
        Ok(taken) => Ok(taken),
        Err(Error::Conflict(_)) => Err(PageRefusal::NotBegun),
        Err(error) => Err(crate::fault::Fault::from(error).into()),
    }
}

async fn keep(app: &App, event: Event, new: NewConnection, now: Timestamp) -> Result<(), PageRefusal> {
    let until = now + app.config.tokens.revocation_memory();
    let written = app.store.write(now, (event, new, until), |(event, new, until), tx| {
        Box::pin(async move {
            tx.connect(new, *until).await?;
            tx.record(event, ()).await
        })
    });
    match written.await {
        Ok(()) => {
            // Copies of what was connected before must be gone when this is answered.
            app.catch_up().await;
            Ok(())
        }
        Err(Error::Conflict("user_alive" | "server_alive")) => Err(PageRefusal::Stale),
        Err(error) => Err(crate::fault::Fault::from(error).into()),
    }
}

async fn refused(app: &App, mut event: Event, why: Without, now: Timestamp) -> Result<(), PageRefusal> {
    let word = match why {
        Without::Denied => "denied",
        Without::Unusable => "unusable",
    };
    event.outcome = Outcome::Refused(word.to_owned());
    let written = app.store.write(now, event, |event, tx| Box::pin(tx.record(event, ())));
    written.await.map_err(|error| crate::fault::Fault::from(error).into())
}

/// The next one to connect registers us anew.
pub(super) async fn forget_registration(
    app: &App,
    (server, issuer): (ServerId, String),
    now: Timestamp,
) -> Result<(), crate::fault::Fault> {
    let mut event = Event::new(
        Kind::ConnectionBegun,
        Outcome::Refused(Gone::Client.word().to_owned()),
        portcullis_domain::audit::Actor::System,
    )
    .with("issuer", &issuer);
    event.server = Some(server);
    let written = app.store.write(now, (event, server, issuer), |(event, server, issuer), tx| {
        Box::pin(async move {
            tx.forget_upstream_client(*server, issuer).await?;
            tx.record(event, ()).await
        })
    });
    Ok(written.await?)
}
