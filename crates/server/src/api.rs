//! The admin API, every route on one page. It is served on the Unix socket of this machine only, never on an address.
//!
//! Whoever calls is an `Operator<R>`, where `R` is the right that the route needs; only the socket's accept loop makes one,
//! and no handler compiles here without taking one first.

mod agents;
mod error;
mod fleet;
mod input;
mod operator;
mod page;
mod path;
mod policy;
mod route;
mod sessions;
mod shown;
pub mod socket;
mod users;

use crate::app::App;
use crate::layers;
use axum::Router;
use axum::middleware::from_fn;
use std::sync::Arc;

use error::Refusal;
use input::Missing;
pub use operator::admit;
use page::Page;
use route::{Route, delete, get, post};

/// Every route: method, path, what it does, handler (whose type says which right it needs and what it reads), and the
/// answer. One file per noun.
fn routes() -> Vec<Route> {
    vec![
        get("/api/v1/fleet", "The registered fleet as a file", fleet::export).answers_toml(),
        post("/api/v1/fleet/plan", "What applying a fleet file would change", fleet::plan)
            .answers::<crate::fleet::Preview>(200),
        post("/api/v1/fleet/apply", "Make the registry what a fleet file says", fleet::apply)
            .answers::<crate::fleet::Applied>(200),
        post("/api/v1/policy/explain", "What the decision would be, and why", policy::explain)
            .answers::<policy::Explanation>(200),
        get("/api/v1/agents", "All agents, by name", agents::list).answers::<Page<agents::Listed>>(200),
        post("/api/v1/agents/{name}/rotate", "Give an agent a new secret", agents::rotate)
            .answers::<agents::Rotated>(200),
        get("/api/v1/sessions", "Live sessions, newest first", sessions::list)
            .answers::<Page<sessions::Listed>>(200),
        delete("/api/v1/sessions/{id}", "End a session", sessions::revoke),
        get("/api/v1/users", "All users, by name", users::list).answers::<Page<users::User>>(200),
        post("/api/v1/users", "Add a user", users::add).answers::<users::OneTime>(201),
        delete("/api/v1/users/{name}", "Disable a user for good", users::disable),
        post("/api/v1/users/{name}/password", "Give a user another password", users::password)
            .answers::<users::OneTime>(200),
    ]
}

/// Method and path of every route: for the test that tries each of them without an operator.
pub fn addresses() -> Vec<(&'static str, &'static str)> {
    routes().into_iter().map(|route| (route.method, route.path)).collect()
}

/// The admin API, for [`socket`]. Without an admitted operator every route refuses.
pub fn router(app: &Arc<App>) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.handler))
        .fallback(async || Refusal::Missing(Missing::Address))
        .method_not_allowed_fallback(async || Refusal::Method)
        .with_state(Arc::clone(app))
        .layer(from_fn(layers::survive))
}
