//! Choosing a password: of one's own will, or because the one signed in with was made by somebody else.

use crate::app::App;
use crate::extract::{Now, PageRequest, Peer};
use crate::fault::Fault;
use crate::flow::{self, Flow};
use crate::login::Destination;
use crate::login::person::{Person, Visitor, Wearer, Worn, open_worn};
use crate::pages::error::PageRefusal;
use crate::pages::password::{PasswordPage, Problem};
use crate::pages::{ErrorPage, page as html, see_other};
use crate::passwords::MAX_BYTES;
use crate::throttle::Source;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_oauth::form::Form;
use portcullis_oauth::time::Timestamp;
use portcullis_oauth::token::Presented;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a password form carries.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PasswordFlow {
    wearer: Wearer,
    destination: Destination,
}

impl Flow for PasswordFlow {
    const CONTEXT: &'static str = "password";
}

impl Worn for PasswordFlow {
    fn wearer(&self) -> &Wearer {
        &self.wearer
    }
}

/// `GET /account/password`
pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Now(now): Now,
    person: Person,
) -> Result<Response, ErrorPage> {
    let page = ask(&app, &person, Destination::Account, now);
    page.map_err(|fault| ErrorPage::new(&app, fault.into()))
}

/// `POST /account/password`
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Now(now): Now,
    (Visitor(visitor), Peer(from)): (Visitor, Peer),
    request: PageRequest,
) -> Result<Response, ErrorPage> {
    let outcome = match visitor {
        None => Err(PageRefusal::NotYours),
        Some(person) => Choosing { app: &app, person: &person, now }.change(&request.form, from).await,
    };
    outcome.map_err(|refusal| ErrorPage::new(&app, refusal))
}

/// The page, on the way to `destination`.
pub(crate) fn ask(
    app: &App,
    person: &Person,
    destination: Destination,
    now: Timestamp,
) -> Result<Response, Fault> {
    Choosing { app, person, now }.show(destination, None)
}

/// Who chooses a password, and when.
struct Choosing<'a> {
    app: &'a App,
    person: &'a Person,
    now: Timestamp,
}

impl Choosing<'_> {
    fn show(&self, destination: Destination, problem: Option<Problem>) -> Result<Response, Fault> {
        let Self { app, person, now } = *self;
        let target = destination.target().clone();
        let flow = PasswordFlow { wearer: person.wearer(), destination };
        let sealed = flow::seal(app, &flow, now)?;
        let template = PasswordPage {
            base: app.config.issuer.path(),
            flow: &sealed,
            username: &person.user.username,
            must_change: person.user.must_change,
            problem,
        };
        Ok(html(StatusCode::OK, &template, &target))
    }

    async fn change(&self, form: &Form, from: Source) -> Result<Response, PageRefusal> {
        let Self { app, person, now } = *self;
        let flow = open_worn::<PasswordFlow>(app, person, form, now)?;
        let problem = match unfit(form) {
            Some(problem) => Some(problem),
            None => self.prove(form, from).await?,
        };
        if problem.is_some() {
            return Ok(self.show(flow.destination, problem)?);
        }
        let chosen = Presented::new(form.get("new_password").unwrap_or_default());
        if !set(app, person, chosen, now).await? {
            return Ok(self.show(flow.destination, Some(Problem::Wrong))?);
        }
        Ok(see_other(&app.config.issuer.join(&flow.destination.path())))
    }

    /// Whether the old password is right. Guessed here as at sign-in, so it is counted with it.
    async fn prove(&self, form: &Form, from: Source) -> Result<Option<Problem>, Fault> {
        let Self { app, person, now } = *self;
        let username = &person.user.username;
        if app.throttle.sign_in(username, from, now).is_err() {
            return Ok(Some(Problem::TooMany));
        }
        let old = Presented::new(form.get("password").unwrap_or_default());
        let stored = Some(person.user.password_hash.clone());
        if !app.passwords.verify(old, stored).await? {
            return Ok(Some(Problem::Wrong));
        }
        app.throttle.sign_in_succeeded(username, from);
        Ok(None)
    }
}

/// What is wrong with the new password by itself.
fn unfit(form: &Form) -> Option<Problem> {
    let field = |name| form.get(name).unwrap_or_default();
    let chosen = field("new_password");
    if chosen.chars().count() < 12 || chosen.len() > MAX_BYTES {
        Some(Problem::Size)
    } else if chosen != field("again") {
        Some(Problem::Differ)
    } else if chosen == field("password") {
        Some(Problem::Same)
    } else {
        None
    }
}

/// False when the old password was replaced while the new one was being hashed: by its owner elsewhere, or an operator.
async fn set(app: &App, person: &Person, chosen: Presented, now: Timestamp) -> Result<bool, Fault> {
    let hash = app.passwords.hash(chosen, &mut app.entropy.rng()).await?;
    let actor = Actor::User(person.user.id);
    let mut event = Event::new(Kind::PasswordSet, Outcome::Allowed, actor);
    event.user = Some(person.user.id);
    let input = (event, person.user.clone(), hash, person.session.clone());
    let until = now + app.config.tokens.revocation_memory();
    let written = app.store.write(now, input, move |(event, user, hash, session), tx| {
        Box::pin(async move {
            if tx.change_password(user.id, &user.password_hash, hash).await? {
                tx.end_other_browser_sessions(user.id, session).await?;
                // Whoever else knew the old password may have let a client in with it; one to be changed lets none in.
                if !user.must_change {
                    tx.end_tokens_of_user(user.id, until).await?;
                }
                return tx.record(event, true).await;
            }
            let mut event = event.clone();
            event.outcome = Outcome::Refused("password_replaced_meanwhile".to_owned());
            tx.record(&event, false).await
        })
    });
    let done = written.await?;
    if done {
        app.catch_up().await;
    }
    Ok(done)
}
