//! Consent (AS-CONS, UI-04 to UI-15): the page asks exactly what its sealed field says, and the answer counts once, from
//! the browser and the person it was shown to.

use crate::app::App;
use crate::extract::{Now, PageRequest};
use crate::fault::Fault;
use crate::flow::{self, Flow};
use crate::issuer::authorize::{Considered, Declined, WayBack};
use crate::issuer::today::{left_of, roles_of};
use crate::login::person::{Person, Visitor, Wearer, Worn, open_worn};
use crate::pages::consent::{ConsentPage, scope_lines};
use crate::pages::error::PageRefusal;
use crate::pages::{ErrorPage, FormTarget, page as html};
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::grant::IssuedCode;
use portcullis_domain::id::{GrantId, ServerId};
use portcullis_domain::policy::Asker;
use portcullis_domain::secret::{AuthorizationCode, Hashed, Plain};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::pkce::Challenge;
use portcullis_oauth::redirect::RedirectUri;
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ClientKind, Error, NewGrant, Recorded, Tx};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a person is asked: every parameter of the request that matters, checked and frozen (AS-AUTHZ-12).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) wearer: Wearer,
    /// Unique for this asking; a code can be issued for it once (UI-15).
    pub(crate) flow: String,
    pub(crate) client_id: ClientId,
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    pub(crate) challenge: Challenge,
    pub(crate) resource: ResourceUri,
    pub(crate) server: ServerId,
    pub(crate) scopes: ScopeSet,
}

impl Flow for Asked {
    const CONTEXT: &'static str = "consent";
}

impl Worn for Asked {
    fn wearer(&self) -> &Wearer {
        &self.wearer
    }
}

impl Asked {
    /// The way back to the client that asks.
    pub(crate) fn back(&self) -> WayBack<'_> {
        WayBack { redirect_uri: &self.redirect_uri, state: self.state.as_deref() }
    }

    fn event(&self, person: &Person, outcome: Outcome) -> Event {
        let actor = Actor::User(person.user.id);
        let mut event = Event::new(Kind::ConsentDecided, outcome, actor);
        event.client = Some(self.client_id.clone());
        event.user = Some(person.user.id);
        event.server = Some(self.server);
        event.asked = Some(self.scopes.clone());
        event
    }
}

/// A new [`Asked::flow`].
pub(crate) fn new_flow(app: &App) -> String {
    let mut random = [0; 16];
    app.entropy.rng().fill_bytes(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}

/// The consent page. `agreed` is what this person has agreed to before for this client and server.
pub(crate) fn show(
    app: &App,
    considered: &Considered<'_>,
    asked: &Asked,
    agreed: Option<&ScopeSet>,
) -> Result<Response, Fault> {
    let Considered { person, client, now } = *considered;
    let redirect: RedirectUri = asked.redirect_uri.parse().map_err(|_| Fault::Shape("a redirect URI"))?;
    let current = app.current.load();
    let server = current.policy.server_by_uri(asked.resource.as_str());
    let server = server.ok_or(Fault::Shape("a server"))?.server();
    let sealed = flow::seal(app, asked, now)?;
    let template = ConsentPage {
        base: app.config.issuer.path(),
        flow: &sealed,
        username: &person.user.username,
        client: client.name.as_deref().unwrap_or_else(|| client.client_id.as_str()),
        is_registered: client.kind == ClientKind::Registered,
        callback_host: &redirect.display_host(),
        is_on_this_computer: redirect.is_loopback(),
        server_title: &server.title,
        server_uri: server.canonical_uri.as_str(),
        scopes: scope_lines(server, &asked.scopes, agreed),
    };
    Ok(html(StatusCode::OK, &template, &FormTarget::callback(&redirect)))
}

/// `POST /consent`
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Visitor(visitor): Visitor,
    request: PageRequest,
) -> Result<Response, ErrorPage> {
    let outcome = match visitor {
        None => Err(PageRefusal::NotYours),
        Some(person) => answer(&app, &person, &request, now).await,
    };
    outcome.map_err(|refusal| ErrorPage::new(&app, refusal))
}

async fn answer(
    app: &App,
    person: &Person,
    request: &PageRequest,
    now: Timestamp,
) -> Result<Response, PageRefusal> {
    let asked = open_worn::<Asked>(app, person, &request.form, now)?;
    match request.form.get("decision") {
        Some("approve") => approve(app, person, &asked, now).await,
        Some("deny") => deny(app, person, &asked, now).await,
        Some(_) | None => Err(PageRefusal::Malformed),
    }
}

async fn deny(app: &App, person: &Person, asked: &Asked, now: Timestamp) -> Result<Response, PageRefusal> {
    let event = asked.event(person, Outcome::Refused("denied".to_owned()));
    let written = app.store.write(now, event, |event, tx| Box::pin(tx.record(event, ())));
    written.await.map_err(Fault::from)?;
    Ok(asked.back().take(app, Err(Declined::Denied)))
}

struct Input {
    event: Event,
    flow: String,
    hash: Hashed<AuthorizationCode>,
    /// Of a new grant, unless there is one.
    code: IssuedCode,
}

/// Consent given, now or before: a code for the client, cut to what policy allows at this moment.
pub(crate) async fn approve(
    app: &App,
    person: &Person,
    asked: &Asked,
    now: Timestamp,
) -> Result<Response, PageRefusal> {
    let (code, input) = match prepare(app, person, asked, now) {
        Ok(prepared) => prepared,
        Err(declined) => return Ok(asked.back().take(app, Err(declined))),
    };
    let written = app.store.write(now, input, |input, tx| Box::pin(agree(input, tx)));
    match written.await {
        Ok(()) => Ok(asked.back().take(app, Ok(code.reveal()))),
        Err(Error::Conflict("code_flow")) => Err(PageRefusal::AlreadyUsed),
        Err(Error::Conflict("client_alive")) => Err(PageRefusal::UnknownClient),
        Err(Error::Conflict("user_alive" | "server_alive" | "grant_alive")) => Err(PageRefusal::Stale),
        Err(error) => Err(Fault::from(error).into()),
    }
}

/// A code, and what is stored of it.
fn prepare(
    app: &App,
    person: &Person,
    asked: &Asked,
    now: Timestamp,
) -> Result<(Plain<AuthorizationCode>, Input), Declined> {
    let current = app.current.load();
    let server = current.policy.server_by_uri(asked.resource.as_str());
    let server = server.filter(|server| server.server().id == asked.server);
    let server = server.ok_or(Declined::UnknownServer)?;
    let roles = roles_of(&person.user, &current);
    let scopes = left_of(&asked.scopes, Asker::User { client: &asked.client_id, roles: &roles }, server, now);
    let scopes = scopes.ok_or(Declined::NotForThisUser)?;
    let mut event = asked.event(person, Outcome::Allowed);
    event.granted = Some(scopes.clone());
    let code = Plain::<AuthorizationCode>::generate(&mut app.entropy.rng());
    let new_grant = GrantId::generate(now, &mut app.entropy.rng());
    let input = Input {
        event,
        flow: asked.flow.clone(),
        hash: code.hashed(),
        code: IssuedCode {
            client_id: asked.client_id.clone(),
            user: person.user.id,
            grant: new_grant,
            server: asked.server,
            resource: asked.resource.clone(),
            scopes,
            redirect_uri: asked.redirect_uri.clone(),
            challenge: asked.challenge.clone(),
            roles,
            expires_at: now + app.config.tokens.code,
            redeemed_as: None,
        },
    };
    Ok((code, input))
}

async fn agree(input: &Input, tx: &mut Tx) -> Result<Recorded<()>, Error> {
    let code = &input.code;
    let new = NewGrant { id: code.grant, user: code.user, client: &code.client_id, server: code.server };
    let grant = tx.merge_grant(new, &code.scopes).await?;
    let code = IssuedCode { grant, ..code.clone() };
    if !tx.insert_code(&input.hash, &input.flow, &code).await? {
        // Undoes the grant too: a page that was answered once must not bring back what was withdrawn since.
        return Err(Error::Conflict("code_flow"));
    }
    let mut event = input.event.clone();
    event.grant = Some(grant);
    tx.record(&event, ()).await
}
