//! The fleet at a glance.

use crate::app::App;
use crate::extract::Now;
use crate::login::person::Visitor;
use crate::login::{Destination, password, sign_in};
use crate::pages::error::PageRefusal;
use crate::pages::{ErrorPage, FormTarget, page as html};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use portcullis_domain::builtin;
use portcullis_domain::registry::{Access, Agent, Name, Placement, Risk, Rule, Server, Upstream};
use portcullis_domain::snapshot::Snapshot;
use portcullis_oauth::scope::Scope;
use portcullis_oauth::upstream::without_query;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'a> {
    base: &'a str,
    username: &'a str,
    is_fresh: bool,
    servers: Vec<ServerRow<'a>>,
    agents: Vec<AgentRow<'a>>,
}

struct ServerRow<'a> {
    name: &'a str,
    title: &'a str,
    uri: &'a str,
    runs: String,
    labels: &'a [String],
    scopes: Vec<&'a str>,
    rules: Vec<RuleRow<'a>>,
}

struct RuleRow<'a> {
    things: Vec<&'a str>,
    scopes: Vec<&'a str>,
    is_risky: bool,
}

struct AgentRow<'a> {
    name: &'a str,
    owner: &'a str,
    client: &'a str,
    access: Vec<(&'a str, String)>,
    introspects: String,
}

/// `GET /console`: for administrators; for everybody else there is nothing here.
pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Now(now): Now,
    Visitor(visitor): Visitor,
    headers: HeaderMap,
) -> Result<Response, ErrorPage> {
    let fault = |fault: crate::fault::Fault| ErrorPage::new(&app, fault.into());
    let Some(person) = visitor else {
        return sign_in::ask(&app, &headers, Destination::Console, now).map_err(fault);
    };
    if person.user.must_change {
        return password::ask(&app, &person, Destination::Console, now).map_err(fault);
    }
    if !person.user.admin {
        return Err(ErrorPage::new(&app, PageRefusal::NotFound));
    }
    let current = app.current.load_full();
    let is_fresh = app.gateway.is_fresh();
    let overview = Overview::of(&current.snapshot, app.config.issuer.path(), &person.user.username, is_fresh);
    Ok(html(StatusCode::OK, &overview, &FormTarget::OURSELVES))
}

impl<'a> Overview<'a> {
    fn of(snapshot: &'a Snapshot, base: &'a str, username: &'a str, is_fresh: bool) -> Self {
        Self {
            base,
            username,
            is_fresh,
            servers: snapshot
                .servers
                .iter()
                .filter(|server| server.id != builtin::SERVER_ID)
                .map(ServerRow::of)
                .collect(),
            agents: snapshot.agents.iter().map(AgentRow::of).collect(),
        }
    }
}

impl<'a> ServerRow<'a> {
    fn of(server: &'a Server) -> Self {
        Self {
            name: server.name.as_str(),
            title: &server.title,
            uri: server.canonical_uri.as_str(),
            runs: where_it_runs(&server.placement),
            labels: &server.labels,
            scopes: server.scopes.keys().map(Scope::as_str).collect(),
            rules: server.rules.iter().map(RuleRow::of).collect(),
        }
    }
}

impl<'a> RuleRow<'a> {
    fn of(rule: &'a Rule) -> Self {
        let things = rule.tools.iter().chain(&rule.prompts).chain(&rule.resources);
        Self {
            things: things.map(String::as_str).collect(),
            scopes: rule.scopes.iter().map(Scope::as_str).collect(),
            is_risky: rule.risk == Risk::High,
        }
    }
}

impl<'a> AgentRow<'a> {
    fn of(agent: &'a Agent) -> Self {
        let names: Vec<&str> = agent.introspects.iter().map(Name::as_str).collect();
        Self {
            name: agent.name.as_str(),
            owner: &agent.owner,
            client: agent.client_id.as_str(),
            access: access_rows(&agent.access),
            introspects: names.join(", "),
        }
    }
}

fn access_rows(access: &Access) -> Vec<(&str, String)> {
    access
        .iter()
        .filter(|(_, scopes)| !scopes.is_empty())
        .map(|(server, scopes)| (server.as_str(), scopes.to_string()))
        .collect()
}

fn where_it_runs(placement: &Placement) -> String {
    match placement {
        Placement::Direct => "by itself; it checks tokens without the gateway".to_owned(),
        Placement::Gateway { upstream: Upstream::Command(name), .. } => {
            format!("behind the gateway, as the program {name}")
        }
        Placement::Gateway { upstream: Upstream::Url(url), .. } => {
            format!("behind the gateway, at {}", without_query(url))
        }
    }
}
