//! The page on which a person sees the accounts elsewhere that they connected, and ends them.

use crate::app::App;
use crate::connections::{Party, revoke};
use crate::extract::{Now, PageRequest};
use crate::fault::Fault;
use crate::flow::{self, Flow};
use crate::issuer::today::roles_of;
use crate::login::person::{Person, Visitor, Wearer, Worn, open_worn};
use crate::login::{Destination, password, sign_in};
use crate::pages::connect::is_open;
use crate::pages::error::PageRefusal;
use crate::pages::{ErrorPage, FormTarget, page as html, see_other};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::id::ConnectionId;
use portcullis_oauth::form::Form;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{ConnectionFilter, ConnectionState};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Of more servers a page does not tell.
const MOST: u32 = 500;

#[derive(Template)]
#[template(path = "connections.html")]
struct ConnectionsPage<'a> {
    base: &'a str,
    username: &'a str,
    connected: Vec<Row>,
    others: Vec<Other>,
}

struct Row {
    name: String,
    title: String,
    issuer: String,
    scopes: String,
    since: String,
    is_expired: bool,
    flow: String,
}

struct Other {
    name: String,
    title: String,
}

/// What the button beside a connection carries.
#[derive(Serialize, Deserialize)]
struct DisconnectFlow {
    wearer: Wearer,
    connection: ConnectionId,
}

impl Flow for DisconnectFlow {
    const CONTEXT: &'static str = "disconnect";
}

impl Worn for DisconnectFlow {
    fn wearer(&self) -> &Wearer {
        &self.wearer
    }
}

/// `GET /connect`
pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Visitor(visitor): Visitor,
    headers: HeaderMap,
) -> Result<Response, ErrorPage> {
    let destination = Destination::Connect { server: None };
    let page = match visitor {
        None => sign_in::ask(&app, &headers, destination, now),
        Some(person) if person.user.must_change => password::ask(&app, &person, destination, now),
        Some(person) => show(&app, &person, now).await,
    };
    page.map_err(|fault| ErrorPage::new(&app, fault.into()))
}

async fn show(app: &App, person: &Person, now: Timestamp) -> Result<Response, Fault> {
    let filter = ConnectionFilter { user: Some(person.user.id), ..ConnectionFilter::default() };
    let found = app.store.read().await?.reader().connections(filter, MOST).await?;
    let current = app.current.load();
    let mut connected = Vec::new();
    for connection in &found {
        let server = current.snapshot.servers.iter().find(|server| server.id == connection.server);
        let flow = DisconnectFlow { wearer: person.wearer(), connection: connection.id };
        connected.push(Row {
            name: server.map(|server| server.name.to_string()).unwrap_or_default(),
            title: server.map_or_else(|| connection.server.to_string(), |server| server.title.clone()),
            issuer: connection.issuer.clone(),
            scopes: connection.scopes.clone(),
            since: day(connection.connected_at)?,
            is_expired: connection.state == ConnectionState::Expired,
            flow: flow::seal(app, &flow, now)?,
        });
    }
    let roles = roles_of(&person.user, &current);
    let is_there = |server| found.iter().any(|connection| connection.server == server);
    let parties = current.snapshot.servers.iter().filter_map(Party::of);
    let others = parties
        .filter(|party| !is_there(party.id) && is_open(&current, &roles, &party.name))
        .map(|party| Other { name: party.name.to_string(), title: party.title });
    let template = ConnectionsPage {
        base: app.config.issuer.path(),
        username: &person.user.username,
        connected,
        others: others.collect(),
    };
    Ok(html(StatusCode::OK, &template, &FormTarget::OURSELVES))
}

/// `POST /connect`: disconnects.
pub(crate) async fn end(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Visitor(visitor): Visitor,
    request: PageRequest,
) -> Result<Response, ErrorPage> {
    let outcome = match visitor {
        None => Err(PageRefusal::NotYours),
        Some(person) => disconnect(&app, &person, &request.form, now).await,
    };
    outcome.map_err(|refusal| ErrorPage::new(&app, refusal))
}

async fn disconnect(
    app: &App,
    person: &Person,
    form: &Form,
    now: Timestamp,
) -> Result<Response, PageRefusal> {
    let DisconnectFlow { connection, .. } = open_worn(app, person, form, now)?;
    let mut handle = app.store.read().await.map_err(Fault::from)?;
    let found = handle.reader().upstream_connection(connection).await.map_err(Fault::from)?;
    drop(handle);
    // Sealed by us for this person; the row has the last word.
    if let Some(found) = found.filter(|found| found.user == person.user.id) {
        let actor = Actor::User(person.user.id);
        let mut event = Event::new(Kind::ConnectionEnded, Outcome::Allowed, actor);
        event = event.with("connection", connection).with("issuer", found.issuer);
        event.user = Some(person.user.id);
        event.server = Some(found.server);
        revoke::end(app, connection, event, now).await?;
    }
    Ok(see_other(&app.config.issuer.join("/connect")))
}

/// For people.
fn day(at: Timestamp) -> Result<String, Fault> {
    let at = jiff::Timestamp::from_second(at.seconds()).map_err(|_| Fault::Shape("a stored time"))?;
    Ok(at.strftime("%Y-%m-%d").to_string())
}
