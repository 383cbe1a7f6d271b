//! What a fleet file says that will not do what its author may expect; nothing of it is wrong enough to refuse.

use crate::app::App;
use portcullis_domain::condition::Forbid;
use portcullis_domain::fleet::Fleet;
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::{KnownTool, unknown_arguments};
use portcullis_domain::policy::covers;
use portcullis_domain::registry::{
    Agent, Name, OtherTransport, Placement, Proof, Server, TokenType, TrustedIssuer, Upstream,
    UpstreamCredential,
};
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Reader, Registry};
use std::collections::BTreeMap;
use std::time::Duration;

/// An end is near from then on.
const NEAR: Duration = Duration::from_hours(14 * 24);

/// One sentence for each. To be asked before the fleet is applied.
pub async fn remarks(app: &App, fleet: &Fleet) -> Result<Vec<String>, Error> {
    let mut handle = app.store.read().await?;
    let mut reader = handle.reader();
    let registry = reader.registry().await?;
    let tools = reader.known_tools().await?;
    let mut remarks = delivered_already(&registry, fleet);
    remarks.extend(fleet.servers.iter().filter(|server| server.observe).map(observed));
    remarks.extend(fleet.servers.iter().filter_map(unguarded));
    remarks.extend(fleet.servers.iter().flat_map(strangers));
    remarks.extend(fleet.servers.iter().filter_map(old_transports));
    remarks.extend(fleet.forbids.iter().flat_map(|forbid| out_of_reach(forbid, fleet)));
    remarks.extend(idle_patterns(&registry, fleet, &tools));
    remarks.extend(idle_conditions(&mut reader, &registry, fleet).await?);
    remarks.extend(fleet.agents.iter().filter_map(|agent| end_of(agent, app.clock.now())));
    for role in &fleet.roles {
        for user in &role.members.users {
            if reader.user_by_name(user).await?.is_none() {
                remarks.push(format!("role {}: there is no user {user:?} yet", role.name));
            }
        }
    }
    Ok(remarks)
}

/// PC-36: nobody should forget that a server is open.
pub(crate) fn observed<Id>(server: &Server<Id>) -> String {
    let name = &server.name;
    match server.placement {
        Placement::Gateway { .. } => format!(
            "server {name}: observed: calls beyond scopes and rules are let through and only recorded; take observe away when the rules are right"
        ),
        Placement::Direct => format!(
            "server {name}: observe has no effect: it checks tokens itself, and nothing of it passes the gateway"
        ),
    }
}

/// PC-05: an upstream that gets nothing of ours cannot tell our calls from anybody's.
pub(crate) fn unguarded<Id>(server: &Server<Id>) -> Option<String> {
    let Placement::Gateway { upstream: Upstream::Url(_), credential: UpstreamCredential::None, tls } =
        &server.placement
    else {
        return None;
    };
    let name = &server.name;
    tls.certificate.is_none().then(|| {
        format!("server {name}: credential \"none\": whoever reaches its upstream past the gateway is served without a token")
    })
}

/// PC-06: where a token of somebody else's counts that was not made for this server, or not marked as an access token.
pub(crate) fn strangers<Id>(server: &Server<Id>) -> Vec<String> {
    let name = &server.name;
    let of = |trusted: &TrustedIssuer| {
        let issuer = &trusted.issuer;
        let audience =
            trusted.audience.as_ref().filter(|audience| **audience != server.canonical_uri.as_str());
        let audience = audience.map(|audience| {
            format!("server {name}: tokens of {issuer} count here although they are made for {audience:?} and not for this server: whatever else takes that audience can use its callers' tokens here")
        });
        let is_lax = matches!(&trusted.proof, Proof::Jwks { token_type: TokenType::AnyJwt, .. });
        let lax = is_lax.then(|| {
            format!("server {name}: tokens of {issuer} need not be marked as access tokens (token_type = \"jwt\"): make sure that it makes no other JWTs for this audience")
        });
        [audience, lax]
    };
    server.issuers.external.iter().flat_map(of).flatten().collect()
}

/// PC-01: what is there for clients that should be renewed.
pub(crate) fn old_transports<Id>(server: &Server<Id>) -> Option<String> {
    let words = server.other_transports.iter().map(|transport| match transport {
        OtherTransport::HttpSse => "HTTP+SSE of 2024-11-05",
        OtherTransport::Websocket => "WebSocket",
    });
    let words: Vec<_> = words.collect();
    (!words.is_empty()).then(|| {
        let (name, words) = (&server.name, words.join(" and "));
        format!("server {name}: takes {words} too; take it out of other_transports when the last client that needs it is gone")
    })
}

/// What a server that checks tokens itself cannot know: what is called, with what, from where.
fn out_of_reach(forbid: &Forbid, fleet: &Fleet) -> Vec<String> {
    let direct = fleet.servers.iter().filter(|server| server.placement == Placement::Direct);
    let about = direct.filter(|server| portcullis_domain::policy::is_about(forbid, server));
    let says = |server: &Server<()>| {
        let (forbid, server) = (&forbid.name, &server.name);
        format!("forbid {forbid:?}: server {server} checks tokens itself: ")
    };
    about
        .map(|server| {
            let rest = if forbid.tools.is_empty() {
                "it holds when a token is issued or introspected, not at each call"
            } else {
                "its tools are out of reach, and nothing is forbidden there"
            };
            says(server) + rest
        })
        .collect()
}

/// Secrets are written once; another place asks for nothing.
fn delivered_already(registry: &Registry, fleet: &Fleet) -> Vec<String> {
    let agents = registry.agents.iter().map(|agent| (("agent", &agent.name), agent.deliver.as_deref()));
    let clients = registry.clients.iter().map(|client| (("client", &client.name), client.deliver.as_deref()));
    let known: BTreeMap<_, _> = agents.chain(clients).collect();
    let agents = fleet.agents.iter().map(|agent| (("agent", &agent.name), agent.deliver.as_deref()));
    let clients = fleet.clients.iter().map(|client| (("client", &client.name), client.deliver.as_deref()));
    let is_moved = |(who, place): &((&str, &Name), Option<&str>)| {
        place.is_some() && known.get(who).is_some_and(|before| before.is_some() && before != place)
    };
    let says = |((kind, name), _): ((&str, &Name), Option<&str>)| {
        format!("{kind} {name}: its secret was delivered already; another place in deliver has no effect")
    };
    agents.chain(clients).filter(is_moved).map(says).collect()
}

/// Of every server whose tools are known.
fn idle_patterns(registry: &Registry, fleet: &Fleet, tools: &BTreeMap<ServerId, Vec<String>>) -> Vec<String> {
    let new: BTreeMap<_, _> =
        fleet.servers.iter().map(|server| ((&server.name, &server.canonical_uri), server)).collect();
    let of = |known: &Server| {
        let new = new.get(&(&known.name, &known.canonical_uri))?;
        Some(matches_nothing(new, tools.get(&known.id)?))
    };
    registry.servers.iter().filter_map(of).flatten().collect()
}

/// Conditions over arguments that no tool has, as far as the tools are known. Read only where there are such conditions.
async fn idle_conditions(
    reader: &mut Reader<'_>,
    registry: &Registry,
    fleet: &Fleet,
) -> Result<Vec<String>, Error> {
    let mut remarks = Vec::new();
    for forbid in fleet.forbids.iter().filter(|forbid| forbid.when.asks_for_arguments()) {
        for server in &fleet.servers {
            let known = registry.servers.iter().find(|known| known.name == server.name);
            let Some(known) = known.filter(|_| portcullis_domain::policy::is_about(forbid, server)) else {
                continue;
            };
            let pinned = reader.pinned_tools(known.id).await?.into_iter();
            let tools = pinned.map(|tool| KnownTool::of(&tool.name, &tool.definition));
            let unknown = unknown_arguments(forbid, &tools.collect::<Vec<_>>());
            remarks.extend(unknown.into_iter().map(|name| {
                let (forbid, server) = (&forbid.name, &server.name);
                format!("forbid {forbid:?}: none of the tools of server {server} that it is about has an argument {name:?}")
            }));
        }
    }
    Ok(remarks)
}

/// That an agent's end is near, or over.
fn end_of(agent: &Agent<()>, now: Timestamp) -> Option<String> {
    let end = agent.expires_at.filter(|end| !agent.disabled && end.since(now) < NEAR)?;
    Some(if end.has_passed(now) {
        format!("agent {}: its time is over (expires); it gets no token", agent.name)
    } else {
        let days = end.since(now).as_secs() / (24 * 60 * 60);
        format!("agent {}: expires in {days} days; then it gets no token", agent.name)
    })
}

/// ADM-14: patterns that match no tool of the server, as far as its tools are known. What they were meant for is refused.
fn matches_nothing(server: &Server<()>, tools: &[String]) -> Vec<String> {
    let rules = server.rules.iter().enumerate();
    let patterns = rules.flat_map(|(at, rule)| rule.tools.iter().map(move |pattern| (at + 1, pattern)));
    let idle = patterns.filter(|(_, pattern)| !tools.iter().any(|tool| covers(pattern, tool)));
    let says = |(rule, pattern): (usize, &String)| {
        format!("server {}: {pattern:?} of rule {rule} matches none of the tools that were seen", server.name)
    };
    idle.map(says).collect()
}
