//! The beginning of a connection: who we are to the third party, and what is remembered until the browser comes back.

use super::party::{Client, Party};
use super::sealed::{self, Begun, Registered};
use super::talk::{self, Found};
use super::{DOCUMENT, NotConnected};
use crate::app::App;
use crate::login::person::Person;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::secret::Hashed;
use portcullis_oauth::time::Timestamp;
use portcullis_store::NewConnecting;
use std::time::Duration;

/// A person may be away at the third party for so long.
const LIFE: Duration = Duration::from_mins(10);

/// Remembers that `person` goes to a third party to connect; the address there.
pub(crate) async fn begin(
    app: &App,
    person: &Person,
    (party, found): (&Party, &Found),
    now: Timestamp,
) -> Result<String, NotConnected> {
    let beginning = Beginning { app, person, party, now };
    let (client, registration) = beginning.client(found).await?;
    let (address, begun) = talk::ask(app, party, (found, client)).await?;
    let new = beginning.connecting(&begun)?;
    let issuer = found.authority.issuer.clone();
    let mut event = event(Kind::ConnectionBegun, person, party).with("issuer", &issuer);
    if registration.is_some() {
        event = event.with("registered", "yes");
    }
    let written =
        app.store.write(now, (event, new, registration, issuer), |(event, new, registration, issuer), tx| {
            Box::pin(async move {
                if let Some(registration) = registration {
                    tx.put_upstream_client(new.server, issuer, registration).await?;
                }
                tx.begin_connecting(new).await?;
                tx.record(event, ()).await
            })
        });
    written.await?;
    Ok(address)
}

pub(super) fn event(kind: Kind, person: &Person, party: &Party) -> Event {
    let mut event = Event::new(kind, Outcome::Allowed, Actor::User(person.user.id));
    event.user = Some(person.user.id);
    event.server = Some(party.id);
    event
}

/// Who begins to connect where, and when.
struct Beginning<'a> {
    app: &'a App,
    person: &'a Person,
    party: &'a Party,
    now: Timestamp,
}

impl Beginning<'_> {
    fn connecting(&self, begun: &Begun) -> Result<NewConnecting, NotConnected> {
        let Self { app, person, party, now } = *self;
        Ok(NewConnecting {
            hash: Hashed::of(&begun.state.csrf_token),
            server: party.id,
            user: person.user.id,
            session: person.session.clone(),
            sealed: sealed::seal(app, (party.id, person.user.id), begun)?,
            expires_at: now + LIFE,
        })
    }

    /// As whom we come: as the client that the operator registered, by our metadata document, or registered by ourselves, once
    /// for all people. A new registration comes with its sealed form.
    async fn client(&self, found: &Found) -> Result<(Client, Option<Vec<u8>>), NotConnected> {
        let Self { app, person, party, now } = *self;
        if let Some(client) = party.registered_by_operator()? {
            return Ok((client, None));
        }
        // A metadata document must be https, and reachable for them: ours is if we are.
        if found.authority.takes_documents && app.config.issuer.is_https() {
            return Ok((Client { id: app.config.issuer.join(DOCUMENT), secret: None }, None));
        }
        let place = (party.id, found.authority.issuer.as_str());
        let redirect = talk::redirect(&app.config.issuer);
        let mut handle = app.store.read().await?;
        let known = handle.reader().upstream_client(party.id, place.1).await?;
        // Whoever begins again before having come back probably met somebody who does not know us any more (field 1.5).
        let begins_again = handle.reader().is_connecting(party.id, &person.session, now).await?;
        drop(handle);
        if let Some(known) = known.filter(|_| !begins_again) {
            let known = sealed::open_registration(app, place, &known)?;
            if known.redirect == redirect {
                return Ok((known.client, None));
            }
        }
        let client = talk::register(app, party, found).await?;
        let registered = Registered { redirect, client: client.clone() };
        Ok((client, Some(sealed::seal_registration(app, place, &registered)?)))
    }
}
