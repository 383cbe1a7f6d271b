//! From what was decided and committed to the tokens themselves. Nothing here decides.

use crate::app::App;
use crate::fault::Fault;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use portcullis_domain::builtin;
use portcullis_domain::grant::{Session, SessionOwner};
use portcullis_domain::id::{ServerId, TokenId};
use portcullis_domain::refresh::Claimed;
use portcullis_oauth::jwt::{ACCESS_TOKEN_TYPE, AccessClaims};
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use portcullis_oauth::token::TokenResponse;

/// What a token request was given; committed.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    /// The new token's own id.
    pub(crate) token: TokenId,
    /// To which it belongs.
    pub(crate) session: Session,
    /// What it carries.
    pub(crate) scopes: ScopeSet,
    /// Roles of the person; `None` for a machine, which has none.
    pub(crate) roles: Option<Vec<String>>,
    /// When it ends; never after its session.
    pub(crate) expires_at: Timestamp,
    /// Which refresh token goes with it.
    pub(crate) refresh: Option<Claimed>,
    /// How often in a row the same renewal was asked for again.
    pub(crate) repeats: u32,
}

/// A token response: never kept (RFC 6749 s5.1).
pub(crate) struct TokenAnswer(TokenResponse);

impl IntoResponse for TokenAnswer {
    fn into_response(self) -> Response {
        let mut response = Json(self.0).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        response
    }
}

/// Signs the access token and derives the refresh token. The same `issued` gives the same refresh token again.
pub(crate) fn answer(app: &App, issued: Issued, now: Timestamp) -> Result<TokenAnswer, Fault> {
    let keys = app.keys.load();
    let refresh = issued.refresh.map(|claimed| keys.refresh.derive_token(claimed));
    let refresh = refresh.transpose()?;
    let claims = claims(app, &issued, now);
    let access_token = keys.access.sign(ACCESS_TOKEN_TYPE, &claims)?;
    Ok(TokenAnswer(TokenResponse {
        access_token,
        token_type: "Bearer",
        expires_in: issued.expires_at.since(now).as_secs(),
        scope: issued.scopes,
        refresh_token: refresh.map(|token| token.reveal().to_owned()),
        session_id: issued.session.id.to_string(),
    }))
}

/// Whose business it is who administers here: the admin API's, which is us. Policies of other servers never ask for it.
fn roles_for(server: ServerId, roles: &[String]) -> Vec<String> {
    let is_ours = server == builtin::SERVER_ID;
    let told = |role: &&String| is_ours || !builtin::is_reserved_role_name(role);
    roles.iter().filter(told).cloned().collect()
}

fn claims(app: &App, issued: &Issued, now: Timestamp) -> AccessClaims {
    let session = &issued.session;
    let sub = match &session.owner {
        SessionOwner::Agent => session.client_id.to_string(),
        SessionOwner::User { user, .. } => user.to_string(),
    };
    AccessClaims {
        iss: app.config.issuer.clone(),
        aud: session.resource.to_string(),
        sub,
        client_id: session.client_id.clone(),
        scope: issued.scopes.clone(),
        exp: issued.expires_at,
        nbf: now,
        iat: now,
        jti: issued.token.to_string(),
        sid: session.id.to_string(),
        roles: issued.roles.as_ref().map(|roles| roles_for(session.server, roles)),
        cnf: None,
    }
}
