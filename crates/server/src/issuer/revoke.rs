//! Revocation (RFC 7009): a client gives back what it has no more use for.

use crate::app::App;
use crate::extract::{ClientRequest, Now, Peer};
use crate::fault::Fault;
use crate::issuer::client_auth::{Caller, authenticate};
use crate::issuer::error::Refusal;
use crate::issuer::token::all_dead_by;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{StatusCode, header};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::id::SessionId;
use portcullis_domain::principal::{Principal, Revocation, RevokedTarget};
use portcullis_oauth::jwt::{ACCESS_TOKEN_TYPE, AccessClaims, open};
use portcullis_oauth::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// What a presented token turned out to be.
enum Found {
    /// An access token of ours that still lives.
    Access(Principal),
    /// Neither; RFC 7009 s2.2: nothing to do, and no error.
    Nothing,
    /// The refresh token of a session.
    Session(SessionId),
}

/// `POST /oauth/revoke`. The hint is not read (REVO-02).
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Peer(from): Peer,
    request: ClientRequest,
) -> Result<impl IntoResponse, Refusal> {
    let caller = authenticate(&app, &request, from, now).await?;
    let token = request.form.get("token").ok_or(Refusal::TokenMissing)?;
    match find(&app, &caller, token, now).await? {
        Found::Nothing => {}
        Found::Session(session) => end_session(&app, &caller, session, now).await?,
        Found::Access(principal) => end_token(&app, &caller, principal, now).await?,
    }
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]))
}

async fn find(app: &App, caller: &Caller, token: &str, now: Timestamp) -> Result<Found, Refusal> {
    let claimed = app.keys.load().refresh.verify(token);
    if let Some(claimed) = claimed {
        let mut handle = app.store.read().await.map_err(Fault::from)?;
        let family = handle.reader().family(claimed.family).await.map_err(Fault::from)?;
        return match family {
            None => Ok(Found::Nothing),
            Some((family, session)) if family.client_id == *caller.id() => Ok(Found::Session(session)),
            Some(_) => Err(Refusal::TokenOfAnother),
        };
    }
    let Some(principal) = living(app, token, now) else {
        return Ok(Found::Nothing);
    };
    if principal.client_id == *caller.id() {
        Ok(Found::Access(principal))
    } else {
        Err(Refusal::TokenOfAnother)
    }
}

/// An access token of ours that somebody might still accept.
fn living(app: &App, token: &str, now: Timestamp) -> Option<Principal> {
    let keys = app.keys.load();
    let claims: AccessClaims = open(token, ACCESS_TOKEN_TYPE, &keys.key_set).ok()?.claims;
    let is_ours = claims.iss == app.config.issuer;
    let is_over = (claims.exp + MAX_LEEWAY).has_passed(now);
    if !is_ours || is_over {
        return None;
    }
    Principal::try_from(claims).ok()
}

/// PC-03: nobody allows more.
const MAX_LEEWAY: Duration = Duration::from_mins(1);

/// AS-REV-04: a refresh token ends with everything of its session.
async fn end_session(app: &App, caller: &Caller, session: SessionId, now: Timestamp) -> Result<(), Fault> {
    let mut event = event(caller);
    event.session = Some(session);
    let written = app.store.write(now, event, move |event, tx| {
        Box::pin(async move {
            tx.revoke_session(session, all_dead_by(tx.now())).await?;
            tx.record(event, ()).await
        })
    });
    written.await?;
    app.catch_up().await;
    Ok(())
}

async fn end_token(app: &App, caller: &Caller, principal: Principal, now: Timestamp) -> Result<(), Fault> {
    let mut event = event(caller);
    event.session = Some(principal.session);
    let revocation = Revocation {
        target: RevokedTarget::Token(principal.token),
        at: now,
        until: principal.expires_at + MAX_LEEWAY,
    };
    let event = event.with("token.id", principal.token);
    let written = app.store.write(now, (event, revocation), |(event, revocation), tx| {
        Box::pin(async move {
            tx.revoke(revocation).await?;
            tx.record(event, ()).await
        })
    });
    written.await?;
    app.catch_up().await;
    Ok(())
}

fn event(caller: &Caller) -> Event {
    let actor = Actor::Client(caller.id().clone());
    let mut event = Event::new(Kind::TokenRevoked, Outcome::Allowed, actor);
    event.client = Some(caller.id().clone());
    event
}
