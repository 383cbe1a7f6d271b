//! Ending a connection: here at once, and at its issuer by RFC 7009, as soon as that answers (PC-45).

use super::NotConnected;
use super::sealed::{self, Held};
use crate::app::App;
use crate::fault::Fault;
use crate::fetch::Fetch;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, StatusCode, header};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::id::ConnectionId;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Ending, Error};
use std::time::Duration;

/// How often an issuer is told before that is given up.
const ATTEMPTS: u32 = 10;

/// Between two attempts; doubled each time.
const PAUSE: Duration = Duration::from_secs(30);

/// As many are told in one round.
const AT_ONCE: u32 = 50;

/// What came of telling an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It knows.
    Yes,
    /// It offers no way to be told.
    NotOffered,
    /// It was told often enough, or says that it will not.
    GivenUp,
    /// Once more, later.
    Later,
}

/// Ends a connection; false when it had ended. When this returns, the gateway here uses no copy any more.
pub(crate) async fn end(
    app: &App,
    id: ConnectionId,
    mut event: Event,
    now: Timestamp,
) -> Result<bool, Fault> {
    event.kind = Kind::ConnectionEnded;
    let until = now + app.config.tokens.revocation_memory();
    let written = app.store.write(now, (event, id, until), |(event, id, until), tx| {
        Box::pin(async move {
            if !tx.end_connection(*id, *until).await? {
                return Err(Error::Conflict("upstream_connection_live"));
            }
            tx.record(event, ()).await
        })
    });
    match written.await {
        Ok(()) => {
            app.catch_up().await;
            Ok(true)
        }
        Err(Error::Conflict(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Tells the issuers of connections that ended; how many were told, or given up.
pub(crate) async fn tell(app: &App) -> Result<u32, Fault> {
    let now = app.clock.now();
    let mut handle = app.store.read().await?;
    let due = handle.reader().due_endings(now, AT_ONCE).await?;
    drop(handle);
    let mut done = 0;
    for ending in due {
        if attempt(app, &ending, now).await? {
            done += u32::from(tell_one(app, ending).await?);
        }
    }
    Ok(done)
}

/// Takes the attempt, so that no other node makes it and the next one is later.
async fn attempt(app: &App, ending: &Ending, now: Timestamp) -> Result<bool, Fault> {
    let next = now + PAUSE * 2u32.pow(ending.attempts.min(ATTEMPTS));
    let event = event(ending, Kind::ConnectionRevoking, Outcome::Allowed);
    let input = (event, ending.id, ending.attempts, next);
    let written = app.store.write(now, input, |(event, id, attempts, next), tx| {
        Box::pin(async move {
            if !tx.try_ending(*id, *attempts, *next).await? {
                return Err(Error::Conflict("upstream_connection_attempt"));
            }
            tx.record(event, ()).await
        })
    });
    match written.await {
        Ok(()) => Ok(true),
        Err(Error::Conflict(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn event(ending: &Ending, kind: Kind, outcome: Outcome) -> Event {
    let mut event = Event::new(kind, outcome, Actor::System).with("connection", ending.id);
    event.user = Some(ending.user);
    event.server = Some(ending.server);
    event
}

/// Whether the connection is forgotten.
async fn tell_one(app: &App, ending: Ending) -> Result<bool, Fault> {
    let held: Held = sealed::open(app, (ending.server, ending.user), &ending.sealed)?;
    let is_last = ending.attempts + 1 >= ATTEMPTS;
    let outcome = match told(app, &held).await {
        Told::Later if !is_last => return Ok(false),
        Told::Later | Told::GivenUp => Outcome::Refused("not_told".to_owned()),
        Told::NotOffered => Outcome::Refused("not_offered".to_owned()),
        Told::Yes => Outcome::Allowed,
    };
    let event = event(&ending, Kind::ConnectionRevoked, outcome).with("issuer", &held.bond.authority.issuer);
    let written = app.store.write(app.clock.now(), (event, ending.id), |(event, id), tx| {
        Box::pin(async move {
            tx.forget_connection(*id).await?;
            tx.record(event, ()).await
        })
    });
    written.await?;
    Ok(true)
}

/// RFC 7009 s2.1: the refresh token first, with which most issuers end everything.
async fn told(app: &App, held: &Held) -> Told {
    let Some(endpoint) = &held.bond.authority.revocation_endpoint else { return Told::NotOffered };
    let fetch = Fetch::on_behalf_of(&app.fetcher, &held.bond.upstream);
    if let Some(refresh) = &held.refresh {
        let told = one(&fetch, endpoint, held, (refresh, "refresh_token")).await;
        if told != Told::Yes {
            return told;
        }
    }
    match one(&fetch, endpoint, held, (&held.access, "access_token")).await {
        // RFC 7009 s2.2.1: some end access tokens with the refresh token only.
        Told::GivenUp if held.refresh.is_some() => Told::Yes,
        told @ (Told::GivenUp | Told::Later | Told::NotOffered | Told::Yes) => told,
    }
}

async fn one(fetch: &Fetch, endpoint: &str, held: &Held, (token, kind): (&str, &str)) -> Told {
    let Ok(request) = request(endpoint, held, (token, kind)) else { return Told::GivenUp };
    match fetch.send(request).await {
        Ok(answer) => match answer.status() {
            StatusCode::OK | StatusCode::NO_CONTENT => Told::Yes,
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => Told::GivenUp,
            _ => Told::Later,
        },
        Err(error) => {
            tracing::warn!(why = %error, "the issuer of a connection that ended cannot be told");
            Told::Later
        }
    }
}

fn request(
    endpoint: &str,
    held: &Held,
    (token, kind): (&str, &str),
) -> Result<Request<Vec<u8>>, NotConnected> {
    let client = &held.bond.client;
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token).append_pair("token_type_hint", kind);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(endpoint)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    match &client.secret {
        Some(secret) if !held.bond.authority.secret_in_form => {
            // RFC 6749 s2.3.1: form-encoded first.
            let encode =
                |part: &str| -> String { url::form_urlencoded::byte_serialize(part.as_bytes()).collect() };
            let pair = STANDARD.encode(format!("{}:{}", encode(&client.id), encode(secret)));
            request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
        }
        Some(secret) => {
            form.append_pair("client_id", &client.id).append_pair("client_secret", secret);
        }
        None => {
            form.append_pair("client_id", &client.id);
        }
    }
    let request = request.body(form.finish().into_bytes());
    Ok(request.map_err(|_| Fault::Shape("a revocation"))?)
}
