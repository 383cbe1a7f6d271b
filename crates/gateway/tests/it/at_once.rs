//! How much goes on at once (PC-53): calls of one caller, by one client, to one server, from one address; and streams.

use crate::world::{Ask, META, World, legacy, request, tool};
use axum::body::Body;
use http::Response;
use portcullis_domain::id::UserId;
use portcullis_gateway::{AtOnce, ClientAddress};
use std::convert::Infallible;
use std::num::NonZeroU32;

fn most(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

/// An upstream that begins to answer and never ends.
fn waits(world: &World) {
    world.upstream.answers(|_| {
        let waits = futures_util::stream::pending::<Result<String, Infallible>>();
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(Body::from_stream(waits))
            .unwrap()
    });
}

async fn world(change: impl FnOnce(&mut AtOnce)) -> World {
    let world = World::with(|settings| change(&mut settings.limits.calls_at_once), |_| ()).await;
    waits(&world);
    world
}

/// A token of a person, by some client.
fn person(world: &World, who: u8, client: &str) -> String {
    world.sign(|claims| {
        claims.sub = UserId::from_bytes([who; 16]).to_string();
        claims.client_id = client.parse().unwrap();
        claims.roles = Some(vec!["engineers".into()]);
    })
}

async fn open(world: &World, ask: Ask) -> Response<Body> {
    let response = world.open(ask).await;
    assert_eq!(response.status(), 200);
    response
}

async fn refused(world: &World, ask: Ask, status: u16, limit: &str) {
    let answered = world.refused(ask, status).await;
    assert_eq!(answered.header("retry-after"), "1");
    let data = &answered.json()["error"]["data"];
    assert_eq!(data, &serde_json::json!({ "limit": limit, "retryAfterSeconds": 1 }));
}

#[tokio::test]
async fn pc_53_calls_at_once_by_a_client_are_counted_whoever_uses_it() {
    let world = world(|at_once| at_once.client = most(2)).await;
    let one = open(&world, tool(&person(&world, 7, "cli_one"), "list_notes")).await;
    let _two = open(&world, tool(&person(&world, 8, "cli_one"), "list_notes")).await;
    let third = tool(&person(&world, 9, "cli_one"), "list_notes");
    refused(&world, third.clone(), 429, "client_at_once").await;
    let _other = open(&world, tool(&person(&world, 9, "cli_two"), "list_notes")).await;
    drop(one);
    let _third = open(&world, third).await;
}

#[tokio::test]
async fn pc_53_calls_at_once_to_a_server_are_refused_as_its_being_busy() {
    let world = world(|at_once| at_once.server = most(1)).await;
    let one = open(&world, tool(&world.token(), "list_notes")).await;
    let next = tool(&person(&world, 8, "cli_one"), "list_notes");
    refused(&world, next.clone(), 503, "server_at_once").await;
    assert_eq!(world.gateway.figures().servers["notes"].outcomes["too_many_to_server"], 1);
    drop(one);
    drop(open(&world, next).await);
}

#[tokio::test]
async fn pc_53_calls_at_once_from_an_address() {
    let world = world(|at_once| at_once.address = most(1)).await;
    let from = |address: &str| ClientAddress(address.parse().unwrap());
    let ask = tool(&world.token(), "list_notes");
    let _one = open(&world, ask.clone().from(from("2001:db8::1"))).await;
    refused(&world, ask.clone().from(from("2001:db8::2")), 429, "address_at_once").await;
    let _two = open(&world, ask.from(from("2001:db8:0:1::1"))).await;
}

#[tokio::test]
async fn pc_53_a_server_has_limits_of_its_own() {
    let world = World::with(
        |_| (),
        |snapshot| {
            let limits = &mut snapshot.servers[0].limits;
            limits.calls_at_once = most(1);
            limits.calls_per_minute = most(3);
            limits.body = most(1024);
        },
    )
    .await;
    let ask = tool(&world.token(), "list_notes");
    let long =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#, "x".repeat(1024));
    let answered = world.refused(legacy(&world.token(), &long), 413).await;
    assert!(answered.text().contains("too large"));
    waits(&world);
    let one = open(&world, ask.clone()).await;
    refused(&world, ask.clone(), 503, "server_at_once").await;
    drop(one);
    let answered = world.refused(ask, 429).await;
    assert_eq!(answered.header("retry-after"), "20");
    assert_eq!(answered.json()["error"]["data"]["limit"], "server");
    // Others are as they were.
    let ops = world.sign(|claims| {
        claims.aud = "https://as.test/mcp/ops".into();
        claims.scope = "ops:read".parse().unwrap();
    });
    let elsewhere = request(&ops, "tools/list", &format!("{{{META}}}")).to("/mcp/ops");
    world.refused(elsewhere, 403).await;
}

#[tokio::test]
async fn ups_03_a_server_has_a_patience_of_its_own() {
    let world = World::with(
        |settings| settings.limits.upstream_timeout = std::time::Duration::from_hours(1),
        |snapshot| snapshot.servers[0].limits.upstream_timeout = most(1),
    )
    .await;
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut snapshot = world.snapshot.clone();
    snapshot.number += 1;
    snapshot.servers[0].placement = portcullis_domain::registry::Placement::Gateway {
        upstream: portcullis_domain::registry::Upstream::Url(format!(
            "http://{}/mcp",
            deaf.local_addr().unwrap()
        )),
        credential: portcullis_domain::registry::UpstreamCredential::None,
        tls: portcullis_domain::registry::UpstreamTls::default(),
    };
    world.feed_snapshot(&snapshot);
    assert_eq!(world.send(tool(&world.token(), "list_notes")).await.status, 504);
}

#[tokio::test]
async fn strm_04_a_caller_listens_to_so_many_streams_and_can_still_call() {
    let world = world(|_| ()).await;
    let params = format!(r#"{{"notifications":{{}},{META}}}"#);
    let listen = |token: &str| request(token, "subscriptions/listen", &params);
    let token = world.token();
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(open(&world, listen(&token)).await);
    }
    for _ in 64..1000 {
        refused(&world, listen(&token), 429, "streams").await;
    }
    let get = legacy(&token, "").verb("GET");
    refused(&world, get, 429, "streams").await;
    let newest = world.records().into_iter().rfind(|record| record["kind"].is_string()).unwrap();
    assert_eq!((&newest["method"], &newest["reason"]), (&"GET".into(), &"too_many_streams".into()));
    assert_eq!(world.gateway.figures().servers["notes"].outcomes["too_many_streams"], 937);
    drop(open(&world, tool(&token, "list_notes")).await);
    drop(open(&world, listen(&person(&world, 8, "cli_one"))).await);
    held.pop();
    held.push(open(&world, listen(&token)).await);
    assert_eq!(world.gateway.figures().streams, 64);
}
