//! The pages on which a person connects an account at a third-party server, and to which they come back from there.

use crate::app::App;
use crate::connections::begin::begin;
use crate::connections::finish::{Finished, Without, finish};
use crate::connections::talk::{self, Found};
use crate::connections::{DOCUMENT, NotConnected, Party};
use crate::extract::{Now, PageRequest};
use crate::fault::Fault;
use crate::flow::{self, Flow};
use crate::issuer::today::roles_of;
use crate::login::person::{Person, Visitor, Wearer, Worn, open_worn};
use crate::login::{Destination, password, sign_in};
use crate::pages::error::PageRefusal;
use crate::pages::{ErrorPage, FormTarget, page as html, see_other};
use askama::Template;
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use portcullis_domain::id::ServerId;
use portcullis_domain::registry::Name;
use portcullis_oauth::form::Form;
use portcullis_oauth::time::Timestamp;
use portcullis_oauth::upstream::without_query;
use portcullis_store::ConnectionState;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "connect.html")]
struct ConnectPage<'a> {
    base: &'a str,
    flow: &'a str,
    username: &'a str,
    server_name: &'a str,
    server_title: &'a str,
    server_address: &'a str,
    authority: &'a str,
    authority_host: &'a str,
    scopes: &'a [String],
    is_connected: bool,
    is_expired: bool,
}

#[derive(Template)]
#[template(path = "connected.html")]
struct ConnectedPage<'a> {
    base: &'a str,
    title: &'a str,
    sentence: &'a str,
    advice: &'a str,
    again: Option<&'a str>,
}

/// What the page asks, as it was found out: nothing else is done when it is answered.
#[derive(Serialize, Deserialize)]
struct ConnectFlow {
    wearer: Wearer,
    server: ServerId,
    found: Found,
}

impl Flow for ConnectFlow {
    const CONTEXT: &'static str = "connect";
}

impl Worn for ConnectFlow {
    fn wearer(&self) -> &Wearer {
        &self.wearer
    }
}

/// `GET /connect/{server}`
pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Now(now): Now,
    (Visitor(visitor), Path(server)): (Visitor, Path<String>),
    headers: HeaderMap,
) -> Result<Response, ErrorPage> {
    let page = match (visitor, server.parse::<Name>()) {
        (_, Err(_)) => Err(PageRefusal::NotFound),
        // A stranger learns nothing about which servers there are.
        (None, Ok(server)) => {
            let destination = Destination::Connect { server: Some(server) };
            sign_in::ask(&app, &headers, destination, now).map_err(PageRefusal::from)
        }
        (Some(person), Ok(server)) if person.user.must_change => {
            let destination = Destination::Connect { server: Some(server) };
            password::ask(&app, &person, destination, now).map_err(PageRefusal::from)
        }
        (Some(person), Ok(server)) => offer(&app, &person, &server, now).await,
    };
    page.map_err(|refusal| ErrorPage::new(&app, refusal))
}

async fn offer(app: &App, person: &Person, server: &Name, now: Timestamp) -> Result<Response, PageRefusal> {
    let party = reachable(app, person, server)?;
    app.throttle.connect(person.user.id, now).map_err(|_| PageRefusal::TooMany)?;
    let found = match talk::discover(app, &party).await {
        Ok(found) => found,
        Err(failure) => return not_possible(app, &party, failure),
    };
    let mut handle = app.store.read().await.map_err(Fault::from)?;
    let before = handle.reader().connection_of(party.id, person.user.id).await.map_err(Fault::from)?;
    drop(handle);
    let state = before.map(|before| before.state);
    let authorization = party.fetch(app).check(&found.authority.authorization_endpoint);
    let target = authorization.map_err(|_| Fault::Shape("an address that was checked"))?.origin();
    let flow = ConnectFlow { wearer: person.wearer(), server: party.id, found };
    let sealed = flow::seal(app, &flow, now)?;
    let ConnectFlow { found, .. } = flow;
    let template = ConnectPage {
        base: app.config.issuer.path(),
        flow: &sealed,
        username: &person.user.username,
        server_name: party.name.as_str(),
        server_title: &party.title,
        server_address: without_query(&party.upstream),
        authority: &found.authority.issuer,
        authority_host: crate::app::host_of(&target),
        scopes: &found.scopes,
        is_connected: state == Some(ConnectionState::Connected),
        is_expired: state == Some(ConnectionState::Expired),
    };
    Ok(html(StatusCode::OK, &template, &FormTarget::origin(&target)))
}

/// The server, if people connect to it and a role of this person opens anything on it.
fn reachable(app: &App, person: &Person, server: &Name) -> Result<Party, PageRefusal> {
    let current = app.current.load();
    let party = Party::named(&current, server.as_str()).ok_or(PageRefusal::NotFound)?;
    let roles = roles_of(&person.user, &current);
    if is_open(&current, &roles, server) { Ok(party) } else { Err(PageRefusal::NotFound) }
}

/// Whether some of these roles opens anything on a server.
pub(crate) fn is_open(current: &crate::app::Current, roles: &[String], server: &Name) -> bool {
    let mut held =
        current.snapshot.roles.iter().filter(|role| roles.iter().any(|name| *name == *role.name.as_str()));
    held.any(|role| role.access.get(server).is_some_and(|scopes| !scopes.is_empty()))
}

/// `POST /connect/{server}`
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Now(now): Now,
    (Visitor(visitor), Path(server)): (Visitor, Path<String>),
    request: PageRequest,
) -> Result<Response, ErrorPage> {
    let outcome = match (visitor, server.parse::<Name>()) {
        (Some(person), Ok(server)) if !person.user.must_change => {
            set_out(&app, &person, (&server, &request.form), now).await
        }
        (Some(_), Ok(_)) | (None, _) => Err(PageRefusal::NotYours),
        (Some(_), Err(_)) => Err(PageRefusal::NotFound),
    };
    outcome.map_err(|refusal| ErrorPage::new(&app, refusal))
}

async fn set_out(
    app: &App,
    person: &Person,
    (server, form): (&Name, &Form),
    now: Timestamp,
) -> Result<Response, PageRefusal> {
    let flow = open_worn::<ConnectFlow>(app, person, form, now)?;
    let party = reachable(app, person, server)?;
    if party.id != flow.server || party.upstream != flow.found.upstream {
        return Err(PageRefusal::Stale);
    }
    app.throttle.connect(person.user.id, now).map_err(|_| PageRefusal::TooMany)?;
    match begin(app, person, (&party, &flow.found), now).await {
        Ok(address) => Ok(see_other(&address)),
        Err(failure) => not_possible(app, &party, failure),
    }
}

/// `GET /connect/callback`
pub(crate) async fn callback(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Visitor(visitor): Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, ErrorPage> {
    let outcome = match visitor {
        None => Err(PageRefusal::NotBegun),
        Some(person) => come_back(&app, &person, &query.unwrap_or_default(), now).await,
    };
    outcome.map_err(|refusal| ErrorPage::new(&app, refusal))
}

async fn come_back(app: &App, person: &Person, query: &str, now: Timestamp) -> Result<Response, PageRefusal> {
    let answer = Form::parse(query, &[]).map_err(|_| PageRefusal::Malformed)?;
    Ok(match finish(app, person, &answer, now).await? {
        Finished::Connected(party) => {
            let sentence = format!("Your programs can now use {}, with your account there.", party.title);
            let advice =
                "Go back to the program that sent you here, and let it try again. You can close this page.";
            told(app, StatusCode::OK, ("Connected", &sentence, advice), None)
        }
        Finished::Without(party, Without::Denied) => {
            let sentence = format!("{} said no, or you did. Nothing was connected.", party.title);
            let advice = "Nothing was kept.";
            told(app, StatusCode::OK, ("Not connected", &sentence, advice), Some(party.name.as_str()))
        }
        Finished::Without(party, Without::Unusable) => {
            let sentence = format!("What {} answered cannot be used. Nothing was connected.", party.title);
            let advice =
                "If trying again does not help, tell whoever runs this service: the reason is in our log.";
            told(
                app,
                StatusCode::BAD_GATEWAY,
                ("Not connected", &sentence, advice),
                Some(party.name.as_str()),
            )
        }
    })
}

/// FETCH-03: the person learns that it is not possible, the operator why.
fn not_possible(app: &App, party: &Party, failure: NotConnected) -> Result<Response, PageRefusal> {
    if let NotConnected::Fault(fault) = failure {
        return Err(fault.into());
    }
    tracing::warn!(server = %party.name, why = %failure, "nobody can connect to this server");
    let sentence = format!("{} cannot be connected to at the moment.", party.title);
    let advice =
        "Try again later. If that does not help, tell whoever runs this service: the reason is in our log.";
    Ok(told(app, StatusCode::BAD_GATEWAY, ("Not possible right now", &sentence, advice), None))
}

fn told(
    app: &App,
    status: StatusCode,
    (title, sentence, advice): (&str, &str, &str),
    again: Option<&str>,
) -> Response {
    let template = ConnectedPage { base: app.config.issuer.path(), title, sentence, advice, again };
    html(status, &template, &FormTarget::OURSELVES)
}

/// `GET /connect/client.json`: who we are, for issuers that read metadata documents of clients. They are https.
pub(crate) async fn document(State(app): State<Arc<App>>) -> Result<Response, ErrorPage> {
    let issuer = &app.config.issuer;
    if !issuer.is_https() {
        return Err(ErrorPage::new(&app, PageRefusal::NotFound));
    }
    let document = json!({
        "client_id": issuer.join(DOCUMENT),
        "client_name": format!("Portcullis at {}", issuer.origin()),
        "client_uri": issuer.as_str(),
        "redirect_uris": [talk::redirect(issuer)],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
    });
    Ok(Json(document).into_response())
}
