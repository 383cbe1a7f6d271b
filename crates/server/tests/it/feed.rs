//! Following the feed: what one node commits, all gateways know; what cannot be followed is not served.

use crate::app::{FLEET, START, TestApp, purge};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_server::{feed, fleet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn pc_61_another_node_learns_of_a_changed_fleet() {
    let one = TestApp::start().await;
    let (two, _folder) = one.another_node("").await;
    assert_eq!(two.current.load().snapshot.servers[0].title, "Team notes");
    let changed = FLEET.replace("Team notes", "Our notes");
    fleet::apply(&one.app, &one.fleet(&changed).unwrap()).await.unwrap();
    assert_eq!(one.app.current.load().snapshot.servers[0].title, "Our notes", "at once where it was done");
    two.catch_up().await;
    assert_eq!(two.current.load().snapshot.servers[0].title, "Our notes");
    assert_eq!(two.current.load().policy.server("notes").unwrap().server().title, "Our notes");
}

#[tokio::test]
async fn pc_21_pc_61_a_node_that_heard_nothing_for_long_misses_nothing_that_was_purged() {
    let one = TestApp::start().await;
    let (two, _folder) = one.another_node("").await;
    // Both are changes of the registry, and of these the newest is kept.
    let narrower =
        FLEET.replace("access = { notes = [\"notes:read\", \"notes:write\"], ops", "access = { ops");
    one.apply(&narrower).await.unwrap();
    one.advance(Duration::from_mins(61)).await;
    one.apply(&narrower.replacen("platform", "builds", 1)).await.unwrap();
    purge(&one.app).await;
    two.clock.advance(Duration::from_mins(61));
    two.catch_up().await;
    let now = two.current.load();
    assert_eq!(now.snapshot.agents[0].owner, "builds");
    let team = now.snapshot.roles.iter().find(|role| role.name.as_str() == "team").unwrap();
    assert!(!team.access.contains_key("notes"), "{team:?}");
    assert!(two.gateway.is_fresh());
}

#[tokio::test]
async fn the_follower_hears_of_a_commit_without_being_asked() {
    let test = TestApp::start().await;
    let stop = CancellationToken::new();
    let following = tokio::spawn(feed::follow(Arc::clone(&test.app), stop.clone()));
    let before = test.app.current.load().snapshot.number;
    let role = portcullis_domain::registry::Role {
        name: "new".parse().unwrap(),
        members: portcullis_domain::registry::Members { group: Some("g".to_owned()), users: vec![] },
        access: portcullis_domain::registry::Access::new(),
    };
    test.app
        .store
        .write(START, role, |role, tx| {
            Box::pin(async move {
                tx.put_role(role).await?;
                tx.record(&Event::new(Kind::FleetApplied, Outcome::Allowed, Actor::Operator), ()).await
            })
        })
        .await
        .unwrap();
    let heard = async {
        while test.app.current.load().snapshot.number == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), heard).await.expect("the follower hears of it");
    assert!(test.app.current.load().snapshot.roles.iter().any(|role| role.name.as_str() == "new"));
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn pc_62_a_gateway_that_hears_nothing_refuses_everything() {
    let test = TestApp::start().await;
    assert!(test.app.gateway.is_fresh());
    test.advance(Duration::from_hours(1)).await;
    assert!(test.app.gateway.is_fresh(), "nothing changed, as of now");
    test.app.store.close().await;
    test.advance(Duration::from_secs(5)).await;
    assert!(test.app.gateway.is_fresh(), "not for long yet");
    test.advance(Duration::from_secs(10)).await;
    assert!(!test.app.gateway.is_fresh());
    let answer = test.send(http::Request::post("/mcp/notes").body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(answer.status, http::StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_revocation_alone_moves_the_feed_and_leaves_the_registry() {
    let test = TestApp::start().await;
    let before = test.app.current.load_full();
    let client = test.credentials("ci-bot").client_id.parse().unwrap();
    let revocation = Revocation {
        target: RevokedTarget::Client(client),
        at: START,
        until: START + Duration::from_hours(1),
    };
    test.app
        .store
        .write(START, revocation, |revocation, tx| {
            Box::pin(async move {
                tx.revoke(revocation).await?;
                tx.record(&Event::new(Kind::TokenRevoked, Outcome::Allowed, Actor::Operator), ()).await
            })
        })
        .await
        .unwrap();
    test.app.catch_up().await;
    assert!(Arc::ptr_eq(&before, &test.app.current.load_full()), "not compiled anew");
    assert!(test.app.gateway.is_fresh());
}
