//! The end of a connection: at once here, and told over there (PC-45).

use super::world::World;
use crate::api::{Operator, assert_problem};
use axum::body::Body;
use http::{Request, StatusCode};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_server::connections::tell_issuers;
use serde_json::Value;
use std::time::Duration;

/// Everything of this person ends at the third party, as its operator would do it.
pub(crate) async fn end_there(world: &World, name: &str) {
    let app = &world.third.app;
    let user = app.store.read().await.unwrap().reader().user_by_name(name).await.unwrap().unwrap().id;
    let until = app.clock.now() + Duration::from_hours(2);
    let event = Event::new(Kind::TokenRevoked, Outcome::Allowed, Actor::Operator);
    let write = app.store.write(app.clock.now(), (event, user, until), |(event, user, until), tx| {
        Box::pin(async move {
            tx.end_all_of_user(*user, *until).await?;
            tx.record(event, ()).await
        })
    });
    write.await.unwrap();
    app.catch_up().await;
}

/// Access tokens made until now count no more at the third party; sessions and refresh tokens do.
pub(crate) async fn forget_access_tokens_there(world: &World) {
    let app = &world.third.app;
    let now = app.clock.now();
    let revocation = Revocation { target: RevokedTarget::All, at: now, until: now + Duration::from_hours(2) };
    let event = Event::new(Kind::TokenRevoked, Outcome::Allowed, Actor::Operator);
    let write = app.store.write(now, (event, revocation), |(event, revocation), tx| {
        Box::pin(async move {
            tx.revoke(revocation).await?;
            tx.record(event, ()).await
        })
    });
    write.await.unwrap();
    app.catch_up().await;
    world.third.advance(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn pc_45_a_person_disconnects_and_the_third_party_is_told() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    assert!(alice.who().await.is_some(), "a copy is kept");
    let list = alice.here.get("/connect").await;
    assert!(list.text().contains("Issue tracker") && list.text().contains(&world.there), "{}", list.text());
    alice.disconnect().await;
    assert_eq!(alice.who().await, None, "and does not count any more");
    assert_eq!(world.asked("POST /oauth/revoke"), 0);
    assert_eq!(tell_issuers(&world.ours.app).await, 1);
    assert_eq!(world.asked("POST /oauth/revoke"), 2, "refresh token and access token");
    assert_eq!(tell_issuers(&world.ours.app).await, 0, "once");
    assert_eq!(world.recorded(Kind::ConnectionRevoked).await, 1);
    let sessions = {
        let mut handle = world.third.app.store.read().await.unwrap();
        handle.reader().live_sessions(None, 10, world.third.app.clock.now()).await.unwrap()
    };
    assert!(sessions.is_empty(), "over there nothing of it lives");
    let list = alice.here.get("/connect").await;
    assert!(list.text().contains("Not connected") && !list.text().contains(&world.there));
}

#[tokio::test]
async fn pc_45_a_third_party_that_cannot_be_told_is_told_later_and_not_for_ever() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    alice.disconnect().await;
    let away = |world: &World, away: bool| {
        let instead = ("/oauth/revoke".to_owned(), StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({}));
        world.wire.lock().unwrap().instead = if away { vec![instead] } else { vec![] };
    };
    away(&world, true);
    assert_eq!(tell_issuers(&world.ours.app).await, 0);
    assert_eq!(tell_issuers(&world.ours.app).await, 0, "not at once again");
    assert_eq!(world.asked("POST /oauth/revoke"), 1);
    away(&world, false);
    world.advance(Duration::from_secs(30)).await;
    assert_eq!(tell_issuers(&world.ours.app).await, 1);
    // And one that never answers.
    let mut bob = world.person("bob").await;
    bob.connect().await;
    bob.disconnect().await;
    away(&world, true);
    let mut rounds = 0;
    while tell_issuers(&world.ours.app).await == 0 {
        world.ours.advance(Duration::from_hours(12)).await;
        rounds += 1;
        assert!(rounds < 20, "it does not end");
    }
    assert_eq!(rounds, 9);
    assert_eq!(world.recorded(Kind::ConnectionRevoked).await, 2);
}

#[tokio::test]
async fn pc_45_operators_see_and_end_connections() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.person("alice").await, world.person("bob").await);
    alice.connect().await;
    bob.connect().await;
    let operator = Operator::of(&world.ours);
    let list = |path: &'static str| {
        let operator = &operator;
        async move { operator.get(path).await.json::<Value>()["items"].as_array().unwrap().clone() }
    };
    assert_eq!(list("/api/v1/connections?server=tracker").await.len(), 2);
    let of_alice = list("/api/v1/connections?user=alice").await;
    assert_eq!(of_alice.len(), 1);
    let shown = &of_alice[0];
    assert_eq!((shown["user"].as_str(), shown["server"].as_str()), (Some("alice"), Some("tracker")));
    assert_eq!((shown["issuer"].as_str(), shown["state"].as_str()), (Some(&*world.there), Some("connected")));
    assert!(!shown.to_string().contains("token"), "UPS-07: {shown}");
    let path = format!("/api/v1/connections/{}", shown["id"].as_str().unwrap());
    assert_eq!(operator.get(&path).await.json::<Value>(), *shown);
    let delete = || Request::delete(&path).body(Body::empty()).unwrap();
    assert_eq!(operator.send(delete()).await.status, StatusCode::NO_CONTENT);
    assert_problem(&operator.send(delete()).await, StatusCode::NOT_FOUND, "missing");
    assert_eq!((alice.who().await, bob.who().await), (None, Some(bob.id_there().await)));
}

#[tokio::test]
async fn pc_45_a_disabled_person_and_a_removed_server_end_connections() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.person("alice").await, world.person("bob").await);
    alice.connect().await;
    bob.connect().await;
    let operator = Operator::of(&world.ours);
    let disable = Request::delete("/api/v1/users/alice").body(Body::empty()).unwrap();
    assert_eq!(operator.send(disable).await.status, StatusCode::NO_CONTENT);
    assert_eq!(alice.call().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(tell_issuers(&world.ours.app).await, 1);
    world.ours.apply("").await.unwrap();
    assert_eq!(bob.call().await.status, StatusCode::NOT_FOUND);
    assert_eq!(tell_issuers(&world.ours.app).await, 1);
    assert_eq!(world.asked("POST /oauth/revoke"), 4);
}

#[tokio::test]
async fn ups_06_a_token_goes_to_the_address_only_that_it_was_given_for() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    assert!(alice.who().await.is_some());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let thief = format!("http://{}/mcp", listener.local_addr().unwrap());
    let fleet = world.fleet.replace(&format!("{}/mcp/tracker", world.there), &thief);
    assert_ne!(fleet, world.fleet);
    world.ours.apply(&fleet).await.unwrap();
    let answer = alice.call().await;
    assert!(answer.text().contains("/connect/tracker"), "{}", answer.text());
    let nobody_came = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(nobody_came.is_err(), "zero bytes");
    world.ours.apply(&world.fleet).await.unwrap();
    assert_eq!(alice.who().await, Some(alice.id_there().await), "back there it is as before");
}
