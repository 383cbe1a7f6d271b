//! Introspection (RFC 7662): what a token is worth now, for those whom it is meant for. Everything else is inactive, and
//! looks exactly alike.

use crate::app::{App, Current};
use crate::extract::{ClientRequest, Now, Peer};
use crate::fault::Fault;
use crate::issuer::client_auth::{Caller, authenticate};
use crate::issuer::error::Refusal;
use crate::issuer::today::{ended, left_of};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use portcullis_domain::condition::Circumstances;
use portcullis_domain::id::ServerId;
use portcullis_domain::policy::{Asker, ServerPolicy};
use portcullis_domain::principal::{Principal, Subject};
use portcullis_oauth::client::{AuthMethod, ClientId};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwt::{ACCESS_TOKEN_TYPE, AccessClaims, Expected, open};
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use portcullis_store::Reader;
use serde::Serialize;
use std::sync::Arc;

/// What is said of an active token (RFC 7662 s2.2).
#[derive(Serialize)]
struct Description {
    active: bool,
    scope: ScopeSet,
    client_id: ClientId,
    token_type: &'static str,
    exp: Timestamp,
    iat: Timestamp,
    nbf: Timestamp,
    sub: String,
    aud: String,
    iss: Issuer,
    jti: String,
}

#[derive(Serialize)]
struct Inactive {
    active: bool,
}

/// `POST /oauth/introspect`. The hint is not read: every token of ours shows by itself what it is (AS-INT-06).
pub(crate) async fn introspect(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Peer(from): Peer,
    request: ClientRequest,
) -> Result<Response, Refusal> {
    let caller = authenticate(&app, &request, from, now).await?;
    // AS-INT-01: a public client could be anybody.
    if !caller.is_identified() {
        return Err(Refusal::Client(AuthMethod::None));
    }
    if let Some(ended) = ended(caller.id(), &app.current.load(), now) {
        return Err(ended.into());
    }
    let token = request.form.get("token").ok_or(Refusal::TokenMissing)?;
    let active = look(&app, &caller, token, now).await?;
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok(match active {
        Some(active) => (no_store, Json(active)).into_response(),
        None => (no_store, Json(Inactive { active: false })).into_response(),
    })
}

async fn look(app: &App, caller: &Caller, token: &str, now: Timestamp) -> Result<Option<Description>, Fault> {
    let current = app.current.load_full();
    let Some(claims) = verified(app, token, now) else {
        return Ok(None);
    };
    let Some(server) = current.policy.server_by_uri(&claims.aud) else {
        return Ok(None);
    };
    if !may_introspect(caller, server, &current) {
        return Ok(None);
    }
    let Ok(principal) = Principal::try_from(claims.clone()) else {
        return Ok(None);
    };
    let mut handle = app.store.read().await?;
    if !is_believed((&principal, server.server().id), handle.reader(), now).await? {
        return Ok(None);
    }
    let asker = match &principal.subject {
        Subject::Agent(client) => Asker::Agent(client),
        // No token of ours speaks for somebody else's.
        Subject::External { .. } => return Ok(None),
        Subject::User(_) => Asker::User { client: &principal.client_id, roles: &principal.roles },
    };
    // PC-21: what policy leaves today; a token of which nothing is left opens nothing.
    let Some(scopes) = left_of(&claims.scope, asker, server, now) else {
        return Ok(None);
    };
    // PC-24. From where the token is used is not known here, so conditions on addresses refuse.
    let scopes = server.in_force(asker, &scopes, &Circumstances::at(now));
    Ok(scopes.ok().map(|scopes| describe(claims, scopes)))
}

/// Signed by a key that counts, by us, and not past its end. The leeway is for clocks of others, not for ours.
fn verified(app: &App, token: &str, now: Timestamp) -> Option<AccessClaims> {
    let keys = app.keys.load();
    let claims: AccessClaims = open(token, ACCESS_TOKEN_TYPE, &keys.key_set).ok()?.claims;
    let expected = Expected {
        issuer: &app.config.issuer,
        audience: &claims.aud,
        now,
        leeway: app.config.tokens.leeway,
        max_life: crate::config::Tokens::MAX_ACCESS,
    };
    claims.check(&expected).ok()?;
    (!claims.exp.has_passed(now)).then_some(claims)
}

/// AS-INT-04: only agents that the registry names for this server.
fn may_introspect(caller: &Caller, server: &ServerPolicy, current: &Current) -> bool {
    let mut agents = current.snapshot.agents.iter();
    let agent = agents.find(|agent| agent.client_id == *caller.id());
    caller.is_agent() && agent.is_some_and(|agent| agent.introspects.contains(&server.server().name))
}

/// AS-INT-05: nothing that the token, which is for this server, hangs from has ended.
pub(crate) async fn is_believed(
    (principal, server): (&Principal, ServerId),
    mut reader: Reader<'_>,
    now: Timestamp,
) -> Result<bool, portcullis_store::Error> {
    if reader.is_revoked(principal, server, now).await? {
        return Ok(false);
    }
    let session = reader.session(principal.session).await?;
    let client = reader.client(&principal.client_id, now).await?;
    let user_lives = match &principal.subject {
        Subject::Agent(_) => true,
        Subject::External { .. } => false,
        Subject::User(user) => {
            let user = reader.user(*user).await?;
            user.is_some_and(|user| !user.disabled)
        }
    };
    let session_lives = session.is_some_and(|session| !session.revoked);
    Ok(session_lives && user_lives && client.is_some_and(|client| !client.disabled))
}

fn describe(claims: AccessClaims, scope: ScopeSet) -> Description {
    Description {
        active: true,
        scope,
        client_id: claims.client_id,
        token_type: "Bearer",
        exp: claims.exp,
        iat: claims.iat,
        nbf: claims.nbf,
        sub: claims.sub,
        aud: claims.aud,
        iss: claims.iss,
        jti: claims.jti,
    }
}
