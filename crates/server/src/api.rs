//! The admin API, every route on one page. It has two doors: the Unix socket of this machine, and `/api/v1` of the public
//! listener for access tokens that we issued for it.
//!
//! Whoever calls is an `Operator<R>`, where `R` is the right that the route needs; only the two doors make one, and no
//! handler compiles here without taking one first.

mod agents;
mod aside;
mod audit;
mod calls;
mod clients;
mod connections;
mod door;
mod error;
mod fleet;
mod gateways;
mod grants;
mod input;
mod keyed;
mod names;
mod openapi;
mod operator;
mod page;
mod path;
mod period;
mod pins;
mod policy;
mod revocations;
mod roles;
mod rotation;
mod route;
mod servers;
mod sessions;
mod shown;
mod simulate;
pub mod socket;
mod suggest;
mod tag;
mod users;

use crate::app::App;
use crate::issuer::cors;
use crate::layers;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::routing::{MethodRouter, get as get_service};
use axum::{Json, Router};
use portcullis_domain::builtin;
use serde_json::Value;
use std::sync::Arc;

use error::Refusal;
use input::Missing;
use keyed::{Keyed, by_key};
pub use operator::{By, admit};
use page::Page;
use route::{Route, delete, get, patch, post};
pub use tag::IfMatch;

/// Where the OpenAPI document is.
const DOCUMENT: &str = "/api/openapi.json";

/// Every route: method, path, what it does, handler (whose type says which right it needs and what it reads), and the
/// answer. One file per noun.
#[expect(clippy::too_many_lines, reason = "a list, to be read on one page")]
fn routes() -> Vec<Route> {
    vec![
        get("/api/v1/fleet", "The registered fleet as a file", fleet::export).answers_toml().tagged(),
        get("/api/v1/fleet/file", "How the fleet file stands that the server follows", fleet::file)
            .answers::<crate::fleet::Standing>(200),
        post("/api/v1/fleet/plan", "What applying a fleet file would change", fleet::plan)
            .answers::<crate::fleet::Preview>(200)
            .tagged(),
        post("/api/v1/fleet/apply", "Make the registry what a fleet file says", fleet::apply)
            .answers::<crate::fleet::Applied>(200)
            .if_match()
            .once(),
        post("/api/v1/policy/explain", "What the decision would be, and why", policy::explain)
            .answers::<policy::Explanation>(200),
        post(
            "/api/v1/policy/simulate",
            "What a changed fleet would decide about recorded calls",
            simulate::simulate,
        )
        .answers::<crate::simulate::Simulation>(200),
        get("/api/v1/policy/suggest", "What could be narrower, by what was called", suggest::suggest)
            .answers::<crate::suggest::Suggestions>(200),
        get("/api/v1/agents", "All agents, by name", agents::list).answers::<Page<agents::Listed>>(200),
        get("/api/v1/agents/{name}", "One agent", agents::show).answers::<agents::Whole>(200).tagged(),
        post("/api/v1/agents/{name}/rotate", "Give an agent a new secret", agents::rotate)
            .answers::<rotation::Rotated>(200)
            .if_match()
            .once(),
        get("/api/v1/audit", "What was recorded, searched", audit::list).answers::<Page<audit::Record>>(200),
        get("/api/v1/calls", "What was decided about calls, newest first", calls::list)
            .answers::<calls::Calls>(200),
        get("/api/v1/clients", "All clients, newest first", clients::list)
            .answers::<Page<clients::Listed>>(200),
        get("/api/v1/clients/{id}", "One client", clients::show).answers::<clients::Listed>(200).tagged(),
        delete("/api/v1/clients/{id}", "Remove a client that registered itself", clients::remove)
            .answers::<revocations::Ended>(200)
            .if_match(),
        post(
            "/api/v1/clients/{name}/rotate",
            "Give a client of the fleet file a new secret",
            clients::rotate,
        )
        .answers::<rotation::Rotated>(200)
        .if_match()
        .once(),
        get(
            "/api/v1/connections",
            "Accounts at third-party servers that people connected",
            connections::list,
        )
        .answers::<Page<connections::Listed>>(200),
        get("/api/v1/connections/{id}", "One connection", connections::show)
            .answers::<connections::Listed>(200)
            .tagged(),
        delete("/api/v1/connections/{id}", "End a connection, here and at its issuer", connections::revoke)
            .if_match(),
        get("/api/v1/gateways", "All gateways that run alone, by name", gateways::list)
            .answers::<Page<gateways::Listed>>(200),
        post("/api/v1/gateways", "Add a gateway that is to run alone", gateways::add)
            .answers::<gateways::Enrolment>(201)
            .once(),
        get("/api/v1/gateways/{name}", "One gateway that runs alone", gateways::show)
            .answers::<gateways::Listed>(200)
            .tagged(),
        delete("/api/v1/gateways/{name}", "Remove a gateway: it may serve nobody any more", gateways::remove)
            .if_match(),
        get("/api/v1/grants", "What people agreed to, newest first", grants::list)
            .answers::<Page<grants::Listed>>(200),
        get("/api/v1/grants/{id}", "One grant", grants::show).answers::<grants::Listed>(200).tagged(),
        delete("/api/v1/grants/{id}", "Revoke a grant, with its sessions", grants::revoke).if_match(),
        post(
            "/api/v1/revocations",
            "End a token, session, grant, or everything of somebody",
            revocations::revoke,
        )
        .answers::<revocations::Ended>(200)
        .once(),
        get("/api/v1/roles", "All roles, by name", roles::list).answers::<Page<roles::Listed>>(200),
        get("/api/v1/roles/{name}", "One role, and who has it", roles::show)
            .answers::<roles::Shown>(200)
            .tagged(),
        get("/api/v1/servers", "All servers, by name", servers::list).answers::<Page<servers::Listed>>(200),
        get("/api/v1/servers/{name}", "One server", servers::show).answers::<servers::Shown>(200).tagged(),
        get("/api/v1/servers/{name}/tools", "Tools of a server, as pinned and as seen", pins::list)
            .answers::<pins::Tools>(200),
        get("/api/v1/servers/{name}/tools/{tool}/diff", "What changed in a tool", pins::diff)
            .answers::<pins::Compared>(200),
        post("/api/v1/servers/{name}/approve", "Approve definitions of tools", pins::approve)
            .if_match()
            .once(),
        get("/api/v1/sessions", "Sessions, newest first", sessions::list)
            .answers::<Page<sessions::Listed>>(200),
        get("/api/v1/sessions/{id}", "One session", sessions::show).answers::<sessions::Listed>(200).tagged(),
        delete("/api/v1/sessions/{id}", "End a session", sessions::revoke).if_match(),
        get("/api/v1/users", "All users, by name", users::list).answers::<Page<users::User>>(200),
        post("/api/v1/users", "Add a user", users::add).answers::<users::OneTime>(201).once(),
        get("/api/v1/users/{name}", "One user", users::show).answers::<users::Whole>(200).tagged(),
        patch("/api/v1/users/{name}", "Change a user, or enable again", users::change)
            .answers::<users::User>(200)
            .if_match(),
        delete("/api/v1/users/{name}", "Disable a user for good", users::disable).if_match(),
        post("/api/v1/users/{name}/password", "Give a user another password", users::password)
            .answers::<users::OneTime>(200)
            .if_match()
            .once(),
    ]
}

/// Method and path of every route: for the test that tries each of them without an operator.
pub fn addresses() -> Vec<(&'static str, &'static str)> {
    routes().into_iter().map(|route| (route.method, route.path)).collect()
}

/// Method, path and the scope that each route needs; `None` where no scope is enough.
pub fn scopes() -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    routes().into_iter().map(|route| (route.method, route.path, route.right.scope())).collect()
}

/// The OpenAPI 3.1 document.
pub fn openapi() -> Value {
    openapi::document(&routes())
}

/// The admin API, for [`socket`]. Without an admitted operator every route refuses.
pub fn router(app: &Arc<App>) -> Router {
    Router::new()
        .nest(builtin::PATH, bare(app))
        .route(DOCUMENT, get_service(async || Json(openapi())))
        .fallback(nothing_here)
        .layer(from_fn(layers::survive))
}

/// The admin API for the public listener, below the issuer's path, and its metadata (RFC 9728 s3.1). Every address of it
/// asks for a token first, those with nothing behind them too.
pub(crate) fn public(app: &Arc<App>) -> Router {
    let base = app.config.issuer.path();
    let guarded = bare(app)
        .layer(from_fn_with_state(door::Door::of(app), door::by_token))
        .layer(from_fn(layers::patience));
    let metadata = get_service(door::metadata).options(cors::preflight).layer(map_response(cors::open));
    Router::new()
        .nest(&format!("{base}{}", builtin::PATH), guarded)
        .route(&format!("{base}{DOCUMENT}"), get_service(async || Json(openapi())))
        .route(&format!("/.well-known/oauth-protected-resource{base}{}", builtin::PATH), metadata)
        .with_state(Arc::clone(app))
}

/// Without a door.
fn bare<S: Clone + Send + Sync + 'static>(app: &Arc<App>) -> Router<S> {
    let below = |path: &'static str| path.strip_prefix(builtin::PATH).unwrap_or(path);
    routes()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(below(route.path), handler(app, route)))
        .fallback(nothing_here)
        .method_not_allowed_fallback(async || Refusal::Method)
        .with_state(Arc::clone(app))
}

fn handler(app: &Arc<App>, route: Route) -> MethodRouter<Arc<App>> {
    if !route.takes_key {
        return route.handler;
    }
    let keyed = Keyed { app: Arc::clone(app), right: route.right };
    route.handler.route_layer(from_fn_with_state(keyed, by_key))
}

async fn nothing_here() -> Refusal {
    Refusal::Missing(Missing::Address)
}
