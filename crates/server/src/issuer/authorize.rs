//! The authorization endpoint (OAuth 2.1 s4.1.1). For strangers it keeps nothing: what they sent travels, sealed, through
//! their own browser. Until client and redirect URI are known good there are only pages; and every client registered
//! itself, so nobody is sent anywhere before they have signed in (AS-AUTHZ-02, -10).

use crate::app::{App, Current};
use crate::extract::{AuthorizationQuery, Now};
use crate::fault::Fault;
use crate::issuer::consent::{self, Asked};
use crate::issuer::today::{ended, may_use, roles_of};
use crate::login::person::{Person, Visitor};
use crate::login::{Destination, password, sign_in};
use crate::pages::error::PageRefusal;
use crate::pages::{ErrorPage, FormTarget, see_other};
use axum::extract::State;
use axum::response::Response;
use portcullis_domain::policy::Asker;
use portcullis_oauth::authorize::{
    Addressed, AuthorizeRequest, AuthorizeResponse, InvalidAuthorizeRequest, Prompt,
};
use portcullis_oauth::client::GrantType;
use portcullis_oauth::error::ErrorCode;
use portcullis_oauth::redirect::RedirectUri;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{StoredClient, StoredGrant};
use std::sync::Arc;

/// Why a client is told no. Each is a redirect with `error`, `state` and `iss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Declined {
    #[error("this client may not use the authorization code grant, or is disabled")]
    ClientMayNot,
    #[error("the user has to be asked")]
    ConsentRequired,
    #[error("the user said no")]
    Denied,
    #[error(transparent)]
    Invalid(#[from] InvalidAuthorizeRequest),
    #[error("the user may not use this server")]
    NotForThisUser,
    #[error("a scope is unknown on this server, or none of them may be had")]
    Scope,
    #[error("resource must be the canonical URI of a registered server")]
    UnknownServer,
}

impl Declined {
    const fn code(self) -> ErrorCode {
        match self {
            Self::ClientMayNot => ErrorCode::UnauthorizedClient,
            Self::ConsentRequired => ErrorCode::ConsentRequired,
            Self::Denied | Self::NotForThisUser => ErrorCode::AccessDenied,
            Self::Invalid(invalid) => invalid.code(),
            Self::Scope => ErrorCode::InvalidScope,
            Self::UnknownServer => ErrorCode::InvalidTarget,
        }
    }
}

/// The way back to a client: an address that was compared with the registered ones, and the client's own state.
pub(crate) struct WayBack<'a> {
    pub(crate) redirect_uri: &'a str,
    pub(crate) state: Option<&'a str>,
}

impl WayBack<'_> {
    /// The answer to the client.
    pub(crate) fn take(&self, app: &App, outcome: Result<&str, Declined>) -> Response {
        let sentence = outcome.err().map(|declined| declined.to_string());
        let sentence = sentence.unwrap_or_default();
        if let Err(declined) = outcome {
            tracing::info!(reason = %declined, "authorization declined");
        }
        let response = AuthorizeResponse {
            redirect_uri: self.redirect_uri,
            state: self.state,
            issuer: &app.config.issuer,
            outcome: outcome.map_err(|declined| (declined.code(), sentence.as_str())),
        };
        see_other(&response.location())
    }
}

/// `GET /oauth/authorize` and `POST /oauth/authorize`
pub(crate) async fn authorize(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Visitor(visitor): Visitor,
    query: AuthorizationQuery,
) -> Result<Response, ErrorPage> {
    let answer = answer(&app, visitor, &query, now).await;
    answer.map_err(|refusal| ErrorPage::new(&app, refusal))
}

async fn answer(
    app: &App,
    visitor: Option<Person>,
    query: &AuthorizationQuery,
    now: Timestamp,
) -> Result<Response, PageRefusal> {
    let addressed = Addressed::read(&query.form).ok_or(PageRefusal::UnknownClient)?;
    let client = find_client(app, &addressed, now).await?;
    let redirect = redirect_of(&client, &addressed)?;
    let request = AuthorizeRequest::read(&query.form);
    let destination =
        Destination::Authorize { query: after_sign_in(&query.text), target: FormTarget::callback(&redirect) };
    let wants_sign_in = request.as_ref().is_ok_and(|request| request.prompt == Prompt::Login);
    let Some(person) = visitor.filter(|_| !wants_sign_in) else {
        return Ok(sign_in::ask(app, &query.headers, destination, now)?);
    };
    if person.user.must_change {
        return Ok(password::ask(app, &person, destination, now)?);
    }
    let back = WayBack { redirect_uri: redirect.as_str(), state: addressed.state.as_deref() };
    let considered = Considered { person: &person, client: &client, now };
    let asked = request.map_err(Declined::from).and_then(|request| {
        let prompt = request.prompt;
        Ok((prompt, consider(app, &considered, &back, request)?))
    });
    match asked {
        Ok((prompt, asked)) => go_on(app, &considered, asked, prompt).await,
        Err(declined) => Ok(back.take(app, Err(declined))),
    }
}

async fn find_client(app: &App, addressed: &Addressed, now: Timestamp) -> Result<StoredClient, PageRefusal> {
    let mut handle = app.store.read().await.map_err(Fault::from)?;
    let client = handle.reader().client(&addressed.client_id, now).await;
    let client = client.map_err(Fault::from)?;
    client.filter(|client| !client.disabled).ok_or(PageRefusal::UnknownClient)
}

/// Where the answer goes: a registered URI, compared as a string; left out only where there is one (AS-AUTHZ-03, -04).
fn redirect_of(client: &StoredClient, addressed: &Addressed) -> Result<RedirectUri, PageRefusal> {
    let refused = PageRefusal::UnregisteredRedirect;
    match (&addressed.unverified_redirect_uri, client.redirect_uris.as_slice()) {
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(refused),
        (Some(unverified), registered) => {
            let admits = |uri: &RedirectUri| uri.admits(unverified);
            if !registered.iter().any(admits) {
                return Err(refused);
            }
            unverified.parse().map_err(|_| refused)
        }
    }
}

/// The request as it is taken up again after signing in: `prompt=login` has been served then, and still wants a page.
fn after_sign_in(query: &str) -> String {
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let served = pairs.map(|(name, value)| match (name.as_ref(), value.as_ref()) {
        ("prompt", "login") => (name, "consent".into()),
        _ => (name, value),
    });
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(served).finish()
}

/// For whom a request is considered, and when.
pub(crate) struct Considered<'a> {
    pub(crate) person: &'a Person,
    pub(crate) client: &'a StoredClient,
    pub(crate) now: Timestamp,
}

/// What may be asked of this person on behalf of this client, by policy (PC-21).
fn consider(
    app: &App,
    considered: &Considered<'_>,
    back: &WayBack<'_>,
    request: AuthorizeRequest,
) -> Result<Asked, Declined> {
    let Considered { person, client, now } = *considered;
    if !client.grant_types.contains(&GrantType::AuthorizationCode) {
        return Err(Declined::ClientMayNot);
    }
    let current: Arc<Current> = app.current.load_full();
    if ended(&client.client_id, &current, now).is_some() {
        return Err(Declined::ClientMayNot);
    }
    let server = current.policy.server_by_uri(request.resource.as_str());
    // Where only tokens of other issuers count, ours are of no use (PC-06).
    let server = server.filter(|server| server.server().issuers.own).ok_or(Declined::UnknownServer)?;
    let roles = roles_of(&person.user, &current);
    let asker = Asker::User { client: &client.client_id, roles: &roles };
    if !may_use(server, asker, now) {
        return Err(Declined::NotForThisUser);
    }
    let scopes = server.issue(asker, request.scope.as_ref(), now);
    Ok(Asked {
        wearer: person.wearer(),
        flow: consent::new_flow(app),
        client_id: client.client_id.clone(),
        redirect_uri: back.redirect_uri.to_owned(),
        state: back.state.map(str::to_owned),
        challenge: request.challenge,
        resource: server.server().canonical_uri.clone(),
        server: server.server().id,
        scopes: scopes.map_err(|_| Declined::Scope)?,
    })
}

/// To the consent page, or past it where consent is remembered.
async fn go_on(
    app: &App,
    considered: &Considered<'_>,
    asked: Asked,
    prompt: Prompt,
) -> Result<Response, PageRefusal> {
    let Considered { person, client, now } = *considered;
    let mut handle = app.store.read().await.map_err(Fault::from)?;
    let grant = handle.reader().grant(person.user.id, &client.client_id, asked.server).await;
    let grant = grant.map_err(Fault::from)?;
    drop(handle);
    let remembered = is_remembered(&asked, client, grant.as_ref());
    match prompt {
        Prompt::None | Prompt::Usual if remembered => consent::approve(app, person, &asked, now).await,
        Prompt::None => Ok(asked.back().take(app, Err(Declined::ConsentRequired))),
        Prompt::Usual | Prompt::Consent | Prompt::Login => {
            let agreed = grant.as_ref().map(|grant| &grant.scopes);
            Ok(consent::show(app, considered, &asked, agreed)?)
        }
    }
}

/// AS-CONS-05: only for what was shown before, and only for clients to whose address nobody else can listen. The page
/// showed one address, and a grant does not say which, so a client with several has to ask each time (UI-07).
fn is_remembered(asked: &Asked, client: &StoredClient, grant: Option<&StoredGrant>) -> bool {
    let covers = |grant: &StoredGrant| !grant.revoked && asked.scopes.is_subset(&grant.scopes);
    let mut origins = client.redirect_uris.iter().map(RedirectUri::csp_source);
    let first = origins.next();
    let has_one_address = origins.all(|other| first.as_ref() == Some(&other));
    asked.redirect_uri.starts_with("https://") && has_one_address && grant.is_some_and(covers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_served_prompt_login_becomes_consent_and_nothing_else_changes() {
        assert_eq!(
            after_sign_in("client_id=c&prompt=login&state=a%26b%3D%23%C3%A9+"),
            "client_id=c&prompt=consent&state=a%26b%3D%23%C3%A9+"
        );
        assert_eq!(after_sign_in("prompt=none&x=login"), "prompt=none&x=login");
    }
}
