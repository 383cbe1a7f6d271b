//! How often calls may come (PC-53), and how many bad signatures.

use crate::world::{Ask, World, legacy, request, tool};
use portcullis_domain::id::UserId;
use portcullis_gateway::{CallRates, ClientAddress};
use std::num::NonZeroU32;
use std::time::Duration;

fn most(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

async fn world(change: impl FnOnce(&mut CallRates)) -> World {
    let none = CallRates { principal: None, client: None, server: None, address: None };
    World::with(
        |settings| {
            settings.limits.calls_per_minute = none;
            change(&mut settings.limits.calls_per_minute);
        },
        |_| (),
    )
    .await
}

fn from(address: &str) -> ClientAddress {
    ClientAddress(address.parse().unwrap())
}

/// A token of a person, by some client.
fn person(world: &World, who: u8, client: &str) -> String {
    world.sign(|claims| {
        claims.sub = UserId::from_bytes([who; 16]).to_string();
        claims.client_id = client.parse().unwrap();
        claims.roles = Some(vec!["engineers".into()]);
    })
}

async fn refused(world: &World, ask: Ask, limit: &str, seconds: u64) {
    let answered = world.refused(ask, 429).await;
    assert_eq!(answered.header("retry-after"), seconds.to_string());
    assert_eq!(answered.code(), -31429);
    let error = &answered.json()["error"];
    assert_eq!(error["data"], serde_json::json!({ "limit": limit, "retryAfterSeconds": seconds }));
    assert!(error["message"].as_str().unwrap().ends_with(&format!("try again in {seconds} s")));
}

#[tokio::test]
async fn pc_53_a_caller_beyond_its_rate_waits_as_long_as_it_is_told_whatever_its_client() {
    let world = world(|rates| rates.principal = most(6)).await;
    let agent = world.token();
    for _ in 0..6 {
        world.served(tool(&agent, "list_notes")).await;
    }
    let recorded = world.records().len();
    for _ in 0..3 {
        refused(&world, tool(&agent, "list_notes"), "principal", 10).await;
    }
    refused(&world, legacy(&agent, "").verb("GET"), "principal", 10).await;
    assert_eq!(world.records().len(), recorded, "counted, not recorded one by one");
    assert_eq!(world.gateway.figures().servers["notes"].outcomes["too_often_by_principal"], 4);
    for _ in 0..6 {
        world.served(tool(&person(&world, 7, "cli_one"), "list_notes")).await;
    }
    refused(&world, tool(&person(&world, 7, "cli_two"), "list_notes"), "principal", 10).await;
    world.served(tool(&person(&world, 8, "cli_one"), "list_notes")).await;
    world.advance(Duration::from_secs(10));
    world.feed_snapshot(&world.snapshot);
    world.served(tool(&agent, "list_notes")).await;
    refused(&world, tool(&agent, "list_notes"), "principal", 10).await;
}

#[tokio::test]
async fn pc_53_calls_by_a_client_are_counted_whoever_uses_it() {
    let world = world(|rates| rates.client = most(2)).await;
    world.served(tool(&person(&world, 7, "cli_one"), "list_notes")).await;
    world.served(tool(&person(&world, 8, "cli_one"), "list_notes")).await;
    refused(&world, tool(&person(&world, 9, "cli_one"), "list_notes"), "client", 30).await;
    world.served(tool(&person(&world, 9, "cli_two"), "list_notes")).await;
}

#[tokio::test]
async fn pc_53_what_one_bound_refuses_costs_nothing_at_the_others() {
    let world = world(|rates| {
        rates.principal = most(3);
        rates.server = most(2);
    })
    .await;
    let notes = tool(&world.token(), "list_notes");
    world.served(notes.clone()).await;
    world.served(notes.clone()).await;
    for _ in 0..5 {
        refused(&world, notes.clone(), "server", 30).await;
    }
    let other = world.sign(|claims| {
        claims.aud = "https://as.test/mcp/ops".into();
        claims.scope = "ops:read".parse().unwrap();
    });
    let ops = || request(&other, "tools/list", &format!("{{{}}}", crate::world::META)).to("/mcp/ops");
    // Of `ops` the agent may nothing; that it is asked at all is what counts here.
    world.refused(ops(), 403).await;
    refused(&world, ops(), "principal", 20).await;
}

#[tokio::test]
async fn pc_53_requests_from_an_address_are_counted_before_anybody_is_known() {
    let world = world(|rates| rates.address = most(2)).await;
    let ask = tool(&world.token(), "list_notes");
    let stranger = ask.clone().without("authorization").from(from("192.0.2.7"));
    world.refused(stranger.clone(), 401).await;
    world.refused(stranger.clone(), 401).await;
    refused(&world, stranger, "address", 30).await;
    refused(&world, ask.clone().from(from("192.0.2.7")), "address", 30).await;
    world.served(ask.clone().from(from("192.0.2.8"))).await;
    world.served(ask.clone().from(from("2001:db8::1"))).await;
    world.served(ask.clone().from(from("2001:db8::2"))).await;
    refused(&world, ask.clone().from(from("2001:db8::3")), "address", 30).await;
    for _ in 0..2 {
        world.served(ask.clone()).await;
    }
    refused(&world, ask, "address", 30).await;
    assert_eq!(world.gateway.refused_strangers()[&("too_often_from_address", "notes".to_owned())], 4);
}

#[tokio::test]
async fn pc_53_no_honest_caller_meets_the_default() {
    let world = World::new().await;
    for _ in 0..1_000 {
        world.served(tool(&world.token(), "list_notes")).await;
    }
}

#[tokio::test]
async fn pc_53_signatures_of_unseen_tokens_are_not_checked_for_whoever_sent_too_many_bad_ones() {
    let world =
        World::with(|settings| settings.limits.bad_signatures_per_minute = most(6).unwrap(), |_| ()).await;
    let (here, elsewhere) = (from("192.0.2.7"), from("192.0.2.8"));
    let seen = world.token();
    world.served(tool(&seen, "list_notes").from(here)).await;
    // Good ones cost nothing, however many are new.
    let new = |number: u64| world.sign(|claims| claims.exp = claims.exp + Duration::from_secs(number));
    let good: Vec<String> = (1..20).map(new).collect();
    for token in &good {
        world.served(tool(token, "list_notes").from(here)).await;
    }
    let garbage = |number: u64| {
        let (signed, _) = seen.rsplit_once('.').unwrap();
        let other = new(100 + number);
        let (_, signature) = other.rsplit_once('.').unwrap();
        tool(&format!("{signed}.{signature}"), "list_notes").from(here)
    };
    for number in 0..6 {
        world.refused(garbage(number), 401).await;
    }
    refused(&world, garbage(7), "bad_signatures", 10).await;
    refused(&world, tool(&new(200), "list_notes").from(here), "bad_signatures", 10).await;
    world.served(tool(&seen, "list_notes").from(here)).await;
    world.served(tool(&good[3], "list_notes").from(here)).await;
    world.served(tool(&new(201), "list_notes").from(elsewhere)).await;
    let strangers = world.gateway.refused_strangers();
    assert_eq!(strangers[&("token_signature", "notes".to_owned())], 6);
    assert_eq!(strangers[&("too_many_bad_signatures", "notes".to_owned())], 2);
    world.advance(Duration::from_secs(10));
    world.feed_snapshot(&world.snapshot);
    world.served(tool(&new(200), "list_notes").from(here)).await;
    world.refused(garbage(8), 401).await;
    refused(&world, garbage(9), "bad_signatures", 10).await;
}
