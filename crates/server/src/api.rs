//! The admin API, every route on one page. It is served on the Unix socket of this machine only, never on an address.
//!
//! Whoever calls is a `LocalOperator`; only the socket's accept loop makes one, and no handler compiles here without
//! taking one first.

mod agents;
mod error;
mod fleet;
mod input;
mod operator;
mod path;
mod policy;
mod sessions;
pub mod socket;
mod users;

use crate::app::App;
use crate::layers;
use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn;
use axum::routing::{MethodFilter, MethodRouter, on};
use std::sync::Arc;

use error::Refusal;
use input::Missing;
use operator::FirstIsOperator;
pub use operator::admit;

/// One method of one address.
struct Route {
    method: &'static str,
    path: &'static str,
    handler: MethodRouter<Arc<App>>,
}

/// Every route. One file per noun.
fn routes() -> Vec<Route> {
    vec![
        get("/api/v1/fleet", fleet::export),
        post("/api/v1/fleet/plan", fleet::plan),
        post("/api/v1/fleet/apply", fleet::apply),
        post("/api/v1/policy/explain", policy::explain),
        get("/api/v1/agents", agents::list),
        post("/api/v1/agents/{name}/rotate", agents::rotate),
        get("/api/v1/sessions", sessions::list),
        delete("/api/v1/sessions/{id}", sessions::revoke),
        get("/api/v1/users", users::list),
        post("/api/v1/users", users::add),
        delete("/api/v1/users/{name}", users::disable),
        post("/api/v1/users/{name}/password", users::password),
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

fn delete<H, T>(path: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<App>>,
    T: FirstIsOperator + 'static,
{
    Route { method: "DELETE", path, handler: on(MethodFilter::DELETE, handler) }
}

fn get<H, T>(path: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<App>>,
    T: FirstIsOperator + 'static,
{
    Route { method: "GET", path, handler: on(MethodFilter::GET, handler) }
}

fn post<H, T>(path: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<App>>,
    T: FirstIsOperator + 'static,
{
    Route { method: "POST", path, handler: on(MethodFilter::POST, handler) }
}
