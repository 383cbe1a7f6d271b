//! Signing in with a local account. A page is bound to the browser that asked for it, an unknown name costs and looks
//! like a wrong password, and guessing is slowed down (UI-10 to UI-14).

use crate::app::App;
use crate::extract::{Now, PageRequest, Peer};
use crate::fault::Fault;
use crate::flow::{self, Flow, Returned};
use crate::login::Destination;
use crate::login::cookie::Cookie;
use crate::login::person::Visitor;
use crate::pages::error::PageRefusal;
use crate::pages::sign_in::{Problem, SignInPage};
use crate::pages::{ErrorPage, page as html, see_other};
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::secret::{BrowserSession, Hashed, Plain};
use portcullis_oauth::form::Form;
use portcullis_oauth::time::Timestamp;
use portcullis_oauth::token::Presented;
use portcullis_store::StoredUser;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What a sign-in form carries.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SignInFlow {
    /// Hash of the cookie of the browser that asked for the page.
    visit: String,
    destination: Destination,
}

impl Flow for SignInFlow {
    const CONTEXT: &'static str = "sign-in";
}

/// How long the cookie before signing in lasts; longer than any page.
const VISIT: Duration = Duration::from_hours(1);

/// `GET /login`
pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Visitor(visitor): Visitor,
    headers: HeaderMap,
) -> Result<Response, ErrorPage> {
    if visitor.is_some() {
        return Ok(see_other(&app.config.issuer.join("/account")));
    }
    ask(&app, &headers, Destination::Account, now).map_err(|fault| ErrorPage::new(&app, fault.into()))
}

/// `POST /login`
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Peer(from): Peer,
    request: PageRequest,
) -> Result<Response, ErrorPage> {
    let refuse = |refusal: PageRefusal| ErrorPage::new(&app, refusal);
    let browser = Browser { app: &app, headers: &request.headers, now };
    let destination = match returned(&app, &request, now).map_err(refuse)? {
        Returned::Fresh(flow) => flow.destination,
        Returned::Stale(flow) => {
            let again = browser.show(flow.destination, Some(Problem::Stale));
            return again.map_err(|fault| refuse(fault.into()));
        }
    };
    let username = request.form.get("username").unwrap_or_default();
    if let Err(wait) = app.throttle.sign_in(username, from, now) {
        let response = browser.show(destination, Some(Problem::TooMany));
        let mut response = response.map_err(|fault| refuse(fault.into()))?;
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        let seconds = HeaderValue::from(wait.seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        return Ok(response);
    }
    let outcome = match check(&app, &request.form, now).await {
        Ok(Ok(user)) => {
            app.throttle.sign_in_succeeded(username, from);
            browser.begin(&user, &destination).await
        }
        Ok(Err(problem)) => browser.show(destination, Some(problem)),
        Err(fault) => Err(fault),
    };
    outcome.map_err(|fault| refuse(fault.into()))
}

/// The sign-in page, on the way to `destination`.
pub(crate) fn ask(
    app: &App,
    headers: &HeaderMap,
    destination: Destination,
    now: Timestamp,
) -> Result<Response, Fault> {
    Browser { app, headers, now }.show(destination, None)
}

/// The browser of whoever signs in, and when.
struct Browser<'a> {
    app: &'a App,
    headers: &'a HeaderMap,
    now: Timestamp,
}

impl Browser<'_> {
    fn show(&self, destination: Destination, problem: Option<Problem>) -> Result<Response, Fault> {
        let Self { app, headers, now } = *self;
        let issuer = &app.config.issuer;
        // The same browser keeps its value, so that pages in several tabs all work.
        let known = Cookie::BeforeSignIn.read(issuer, headers);
        let visit = known.filter(|visit| visit.len() == 43).map_or_else(|| new_visit(app), str::to_owned);
        let target = destination.target().clone();
        let flow = SignInFlow { visit: hash(&visit), destination };
        let sealed = flow::seal(app, &flow, now)?;
        let template = SignInPage { base: issuer.path(), flow: &sealed, problem };
        let mut response = html(StatusCode::OK, &template, &target);
        let cookie = Cookie::BeforeSignIn.set(issuer, &visit, VISIT);
        let cookie = cookie.ok_or(Fault::Shape("a cookie"))?;
        response.headers_mut().append(header::SET_COOKIE, cookie);
        Ok(response)
    }

    /// A new session with a new cookie (UI-06), and on to the destination.
    async fn begin(&self, user: &StoredUser, destination: &Destination) -> Result<Response, Fault> {
        let Self { app, headers, now } = *self;
        let issuer = &app.config.issuer;
        let cookie = Plain::<BrowserSession>::generate(&mut app.entropy.rng());
        let life = app.config.tokens.sign_in;
        let mut event = Event::new(Kind::SignInDecided, Outcome::Allowed, Actor::User(user.id));
        event.user = Some(user.id);
        let before = Cookie::Session.read(issuer, headers).map(Hashed::of);
        let input = (event, cookie.hashed(), before, user.id, now + life);
        let written = app.store.write(now, input, |(event, cookie, before, user, ends_at), tx| {
            Box::pin(async move {
                if let Some(before) = before {
                    tx.end_browser_session(before).await?;
                }
                tx.insert_browser_session(cookie, *user, tx.now(), *ends_at).await?;
                tx.record(event, ()).await
            })
        });
        written.await?;
        let mut response = see_other(&issuer.join(&destination.path()));
        let set = Cookie::Session.set(issuer, cookie.reveal(), life);
        for header in [set, Cookie::BeforeSignIn.clear(issuer)] {
            let header = header.ok_or(Fault::Shape("a cookie"))?;
            response.headers_mut().append(header::SET_COOKIE, header);
        }
        Ok(response)
    }
}

fn new_visit(app: &App) -> String {
    let mut random = [0; 32];
    app.entropy.rng().fill_bytes(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}

fn hash(visit: &str) -> String {
    URL_SAFE_NO_PAD.encode(Hashed::<BrowserSession>::of(visit).as_bytes())
}

/// The sealed field, if it was sent by the browser that got it: else somebody signs another in as themselves (UI-13).
fn returned(app: &App, request: &PageRequest, now: Timestamp) -> Result<Returned<SignInFlow>, PageRefusal> {
    let visit = Cookie::BeforeSignIn.read(&app.config.issuer, &request.headers);
    let sealed = request.form.get("flow");
    let (visit, sealed) = visit.zip(sealed).ok_or(PageRefusal::NotYours)?;
    let returned = flow::open::<SignInFlow>(app, sealed, now).ok_or(PageRefusal::NotYours)?;
    let (Returned::Fresh(flow) | Returned::Stale(flow)) = &returned;
    if flow.visit == hash(visit) { Ok(returned) } else { Err(PageRefusal::NotYours) }
}

/// The person whose name and password these are.
async fn check(app: &App, form: &Form, now: Timestamp) -> Result<Result<StoredUser, Problem>, Fault> {
    let username = form.get("username").unwrap_or_default();
    let password = Presented::new(form.get("password").unwrap_or_default());
    let mut handle = app.store.read().await?;
    let user = handle.reader().user_by_name(username).await?;
    drop(handle);
    let user = user.filter(|user| !user.disabled);
    let stored = user.as_ref().map(|user| user.password_hash.clone());
    let fits = app.passwords.verify(password, stored).await?;
    let refused = |problem| {
        // The name that was typed may be a password in the wrong field, so only an id is logged.
        let id = user.as_ref().map(|user| tracing::field::display(user.id));
        tracing::info!(user.id = id, reason = ?problem, "sign-in refused");
        Ok(Err(problem))
    };
    match user.clone().filter(|_| fits) {
        None => refused(Problem::Wrong),
        Some(user) if user.is_over(now) => refused(Problem::Over),
        Some(user) => Ok(Ok(user)),
    }
}
