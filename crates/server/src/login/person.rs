//! Who is signed in in the browser that asks.

use crate::app::App;
use crate::extract::Now;
use crate::fault::Fault;
use crate::flow::{self, Flow, Returned};
use crate::login::cookie::Cookie;
use crate::pages::error::PageRefusal;
use crate::pages::{ErrorPage, see_other};
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::request::Parts;
use portcullis_domain::id::UserId;
use portcullis_domain::secret::{BrowserSession, Hashed};
use portcullis_oauth::form::Form;
use portcullis_oauth::time::Timestamp;
use portcullis_store::StoredUser;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A person, signed in, with an account that is not disabled.
pub(crate) struct Person {
    pub(crate) user: StoredUser,
    /// By which cookie.
    pub(crate) session: Hashed<BrowserSession>,
}

/// Whoever asks; `None` when nobody is signed in.
pub(crate) struct Visitor(pub(crate) Option<Person>);

/// Which person, in which browser: stands in every form that does something for them, so that no form works in
/// another browser, for another person, or after signing out (AS-CONS-03, UI-15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wearer {
    user: UserId,
    session: String,
}

impl Person {
    /// The person behind a request.
    pub(crate) async fn find(app: &App, headers: &HeaderMap, now: Timestamp) -> Result<Option<Self>, Fault> {
        let Some(cookie) = Cookie::Session.read(&app.config.issuer, headers) else {
            return Ok(None);
        };
        let session = Hashed::of(cookie);
        let mut handle = app.store.read().await?;
        let mut reader = handle.reader();
        let Some(found) = reader.browser_session(&session, now).await? else {
            return Ok(None);
        };
        let user = reader.user(found.user).await?;
        let user = user.filter(|user| !user.disabled);
        Ok(user.map(|user| Self { user, session }))
    }

    /// What ties a form to this person and browser.
    pub(crate) fn wearer(&self) -> Wearer {
        Wearer { user: self.user.id, session: URL_SAFE_NO_PAD.encode(self.session.as_bytes()) }
    }
}

/// A sealed form of a signed-in person.
pub(crate) trait Worn: Flow {
    /// Whose it is.
    fn wearer(&self) -> &Wearer;
}

/// Opens the sealed field `flow` of a form of `person`.
pub(crate) fn open_worn<T: Worn>(
    app: &App,
    person: &Person,
    form: &Form,
    now: Timestamp,
) -> Result<T, PageRefusal> {
    let sealed = form.get("flow").ok_or(PageRefusal::NotYours)?;
    let returned = flow::open::<T>(app, sealed, now).ok_or(PageRefusal::NotYours)?;
    let (Returned::Fresh(flow) | Returned::Stale(flow)) = &returned;
    if *flow.wearer() != person.wearer() {
        return Err(PageRefusal::NotYours);
    }
    returned.fresh().ok_or(PageRefusal::Stale)
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = ErrorPage;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ErrorPage> {
        let Ok(Now(now)) = Now::from_request_parts(parts, app).await;
        let person = Person::find(app, &parts.headers, now).await;
        let person = person.map_err(|fault| ErrorPage::new(app, fault.into()))?;
        Ok(Self(person))
    }
}

impl FromRequestParts<Arc<App>> for Person {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        match Visitor::from_request_parts(parts, app).await {
            Ok(Visitor(Some(person))) => Ok(person),
            Ok(Visitor(None)) => Err(see_other(&app.config.issuer.join("/login"))),
            Err(page) => Err(page.into_response()),
        }
    }
}
