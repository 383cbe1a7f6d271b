//! A person's own page.

use crate::app::App;
use crate::extract::Now;
use crate::fault::Fault;
use crate::flow::{self, Flow};
use crate::login::Destination;
use crate::login::password;
use crate::login::person::{Person, Visitor, Wearer, Worn};
use crate::pages::{ErrorPage, FormTarget, page as html, see_other};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use portcullis_oauth::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    base: &'a str,
    flow: &'a str,
    username: &'a str,
    admin: bool,
}

/// What the forms of this page carry.
#[derive(Serialize, Deserialize)]
pub(crate) struct AccountFlow {
    wearer: Wearer,
}

impl Flow for AccountFlow {
    const CONTEXT: &'static str = "account";
}

impl Worn for AccountFlow {
    fn wearer(&self) -> &Wearer {
        &self.wearer
    }
}

/// `GET /`: to where this person probably wants to be.
pub(crate) async fn home(State(app): State<Arc<App>>, Visitor(visitor): Visitor) -> Response {
    let place = match visitor {
        Some(person) if person.user.admin => "/console",
        Some(_) => "/account",
        None => "/login",
    };
    see_other(&app.config.issuer.join(place))
}

/// `GET /account`
pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Now(now): Now,
    person: Person,
) -> Result<Response, ErrorPage> {
    let page = if person.user.must_change {
        password::ask(&app, &person, Destination::Account, now)
    } else {
        show(&app, &person, now)
    };
    page.map_err(|fault| ErrorPage::new(&app, fault.into()))
}

fn show(app: &App, person: &Person, now: Timestamp) -> Result<Response, Fault> {
    let wearer = person.wearer();
    let template = AccountPage {
        base: app.config.issuer.path(),
        flow: &flow::seal(app, &AccountFlow { wearer }, now)?,
        username: &person.user.username,
        admin: person.user.admin,
    };
    Ok(html(StatusCode::OK, &template, &FormTarget::OURSELVES))
}
