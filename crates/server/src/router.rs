//! Every route of the listener, on one page.

use crate::app::App;
use crate::connections::{CALLBACK, DOCUMENT};
use crate::console::{self, overview};
use crate::front::Front;
use crate::issuer::{authorize, consent, cors, introspect, jwks, metadata, register, revoke, token};
use crate::login::{password, sign_in, sign_out};
use crate::pages::{self, account, connect, connections};
use crate::{api, gateways, layers, own_names};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::routing::{get, post};
use std::sync::Arc;

/// Forms and registrations; tool calls have a bound of their own.
const BODY: usize = 64 * 1024;

/// Everything that the listener serves. `demo` holds the upstream that the demo serves itself.
pub fn front(app: &Arc<App>, demo: Router) -> Front {
    let below = Router::new().merge(open_to_any_origin()).merge(endpoints()).merge(people());
    let authority = match app.config.issuer.path() {
        "" => below,
        path => Router::new().nest(path, below),
    };
    let authority = authority
        .merge(well_known(app))
        // Our forms are short.
        .layer(DefaultBodyLimit::max(BODY))
        // And answered soon.
        .layer(from_fn(layers::patience))
        .with_state(Arc::clone(app));
    let elsewhere = Router::new().fallback(own_names::other_path).with_state(Arc::clone(app));
    let apis = api::public(app).merge(gateways::router(app));
    layered(app, authority.merge(apis).merge(demo).merge(elsewhere))
}

/// RFC 8414 s3.1: the issuer's path is inserted after the well-known part; OpenID's form appends. Each address answers
/// for this issuer only.
fn well_known(app: &App) -> Router<Arc<App>> {
    let path = app.config.issuer.path();
    let inserted = ["oauth-authorization-server", "openid-configuration"]
        .map(|name| format!("/.well-known/{name}{path}"));
    let appended = (!path.is_empty()).then(|| format!("{path}/.well-known/openid-configuration"));
    let document = || get(metadata::authorization_server).options(cors::preflight);
    inserted
        .into_iter()
        .chain(appended)
        .fold(Router::new(), |router, address| router.route(&address, document()))
        .layer(map_response(cors::open))
}

/// What programs in browsers may call from any origin (AS-HTTP-09): nothing here looks at a cookie.
fn open_to_any_origin() -> Router<Arc<App>> {
    Router::new()
        .route("/oauth/jwks", get(jwks::access).options(cors::preflight))
        .route("/oauth/assertion-jwks", get(jwks::assertions).options(cors::preflight))
        .route("/oauth/token", post(token::token).options(cors::preflight))
        .route("/oauth/revoke", post(revoke::revoke).options(cors::preflight))
        .route("/oauth/register", post(register::register).options(cors::preflight))
        .layer(map_response(cors::open))
}

/// What no other origin may call.
fn endpoints() -> Router<Arc<App>> {
    Router::new()
        .route("/oauth/authorize", get(authorize::authorize).post(authorize::authorize))
        .route("/oauth/introspect", post(introspect::introspect))
}

/// Pages for people.
fn people() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(account::home))
        .route("/login", get(sign_in::page).post(sign_in::submit))
        .route("/logout", post(sign_out::submit))
        .route("/consent", post(consent::decide))
        .route("/account", get(account::page))
        .route("/account/password", get(password::page).post(password::submit))
        .route("/connect", get(connections::page).post(connections::end))
        .route(DOCUMENT, get(connect::document))
        .route(CALLBACK, get(connect::callback))
        .route("/connect/{server}", get(connect::page).post(connect::submit))
        .route("/assets/icon.svg", get(pages::icon))
        .route("/console", get(overview::page))
        .route("/assets/console.css", get(console::style))
        .route("/assets/style.css", get(pages::style))
}

/// What holds for everything above, and before it what every request meets. The last one listed is the first to see a request.
fn layered(app: &Arc<App>, router: Router) -> Front {
    let careful = router
        // A panic below ends in 500.
        .layer(from_fn(layers::survive))
        // And that in the span.
        .layer(from_fn_with_state(Arc::clone(app), layers::traced));
    Front::before(app, careful)
}
