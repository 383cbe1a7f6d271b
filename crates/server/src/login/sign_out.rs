//! Signing out: the session ends here, whatever the browser keeps (UI-16).

use crate::app::App;
use crate::extract::{Now, PageRequest};
use crate::fault::Fault;
use crate::login::cookie::Cookie;
use crate::login::person::{Person, Visitor, open_worn};
use crate::pages::account::AccountFlow;
use crate::pages::{ErrorPage, see_other};
use axum::extract::State;
use axum::response::Response;
use http::header;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_oauth::time::Timestamp;
use std::sync::Arc;

/// `POST /logout`
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Visitor(visitor): Visitor,
    request: PageRequest,
) -> Result<Response, ErrorPage> {
    let issuer = &app.config.issuer;
    if let Some(person) = &visitor {
        let flow = open_worn::<AccountFlow>(&app, person, &request.form, now);
        flow.map_err(|refusal| ErrorPage::new(&app, refusal))?;
        let ended = end(&app, person, now).await;
        ended.map_err(|fault| ErrorPage::new(&app, fault.into()))?;
    }
    let mut response = see_other(&issuer.join("/login"));
    if let Some(cleared) = Cookie::Session.clear(issuer) {
        response.headers_mut().append(header::SET_COOKIE, cleared);
    }
    Ok(response)
}

async fn end(app: &App, person: &Person, now: Timestamp) -> Result<(), Fault> {
    let actor = Actor::User(person.user.id);
    let mut event = Event::new(Kind::SignOutDone, Outcome::Allowed, actor);
    event.user = Some(person.user.id);
    let input = (event, person.session.clone());
    let written = app.store.write(now, input, |(event, session), tx| {
        Box::pin(async move {
            tx.end_browser_session(session).await?;
            tx.record(event, ()).await
        })
    });
    Ok(written.await?)
}
