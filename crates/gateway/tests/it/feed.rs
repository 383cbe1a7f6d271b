//! What the gateway knows, and that it refuses when it knows too little: PC-62.

use crate::world::{World, settings_for, tool};
use portcullis_domain::id::TokenId;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::snapshot::{ChangedAgents, Update};
use portcullis_gateway::{FeedError, Gateway};
use portcullis_oauth::jwt::SigningKey;
use std::time::Duration;

#[tokio::test]
async fn pc_62_an_old_snapshot_refuses_everything_and_news_open_again() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    world.advance(Duration::from_secs(30));
    assert!(world.gateway.is_fresh());
    world.served(tool(&token, "list_notes")).await;
    world.advance(Duration::from_secs(1));
    assert!(!world.gateway.is_fresh());
    let answered = world.refused(tool(&token, "list_notes"), 503).await;
    assert_eq!((answered.header("retry-after"), answered.code()), ("1", -31503));
    world.feed(&Update::Fresh { number: 1, as_of: world.now() }).unwrap();
    world.served(tool(&token, "list_notes")).await;
}

#[tokio::test]
async fn pc_62_a_clock_ahead_of_ours_buys_no_time() {
    let world = World::new().await;
    let ahead = world.now() + Duration::from_secs(100_000);
    world.feed(&Update::Fresh { number: 1, as_of: ahead }).unwrap();
    world.advance(Duration::from_secs(31));
    assert!(!world.gateway.is_fresh());
}

#[tokio::test]
async fn pc_62_a_clock_set_back_keeps_no_dead_feed_alive() {
    let world = World::new().await;
    let token = world.token();
    world.served(tool(&token, "list_notes")).await;
    let set_back = |by: i64| world.clock.fetch_sub(by, std::sync::atomic::Ordering::SeqCst);
    set_back(5);
    assert!(world.gateway.is_fresh(), "clocks are corrected a little all the time");
    set_back(3600);
    assert!(!world.gateway.is_fresh());
    world.refused(tool(&token, "list_notes"), 503).await;
    // News that come now are as old as they say, and no older ones count beside them.
    world.feed(&Update::Fresh { number: 1, as_of: world.now() }).unwrap();
    assert!(world.gateway.is_fresh());
    world.advance(Duration::from_secs(31));
    assert!(!world.gateway.is_fresh());
}

#[tokio::test]
async fn pc_45_what_comes_ahead_of_everything_ends_tokens_and_makes_nothing_fresher() {
    let world = World::new().await;
    let goes_on = world.token();
    let target = RevokedTarget::Token(TokenId::from_bytes([9; 16]));
    let ends = world.sign(|claims| claims.jti = TokenId::from_bytes([9; 16]).to_string());
    world.served(tool(&ends, "list_notes")).await;
    let until = world.now() + Duration::from_hours(1);
    let revoked = Revocation { target, at: world.now(), until };
    world.advance(Duration::from_secs(29));
    world.feed(&Update::Ahead { revocations: vec![revoked] }).unwrap();
    world.refused(tool(&ends, "list_notes"), 401).await;
    world.served(tool(&goes_on, "list_notes")).await;
    world.advance(Duration::from_secs(2));
    assert!(!world.gateway.is_fresh());
}

#[tokio::test]
async fn pc_62_nothing_is_served_before_the_first_snapshot() {
    let spool = tempfile::tempdir().unwrap();
    let world = World::new().await;
    let key = SigningKey::from_pkcs8("a".into(), &SigningKey::generate_pkcs8().unwrap()).unwrap();
    let empty = Gateway::new(settings_for(&world.clock, spool.path()), key).unwrap();
    assert!(!empty.is_fresh());
    let update = serde_json::to_vec(&Update::Fresh { number: 0, as_of: world.now() }).unwrap();
    assert!(matches!(empty.feed(&update), Err(FeedError::Missed)));
    let world = World { gateway: empty, ..world };
    world.refused(tool(&world.token(), "list_notes"), 503).await;
}

#[tokio::test]
async fn pc_62_a_bad_update_never_replaces_a_good_state() {
    let world = World::new().await;
    let token = world.token();
    let full = |change: &dyn Fn(&mut portcullis_domain::snapshot::Snapshot)| {
        let mut snapshot = world.snapshot.clone();
        snapshot.number = 2;
        change(&mut snapshot);
        Update::Full { snapshot: Box::new(snapshot), revocations: vec![], as_of: world.now() }
    };
    let refused = |update: &Update| world.feed(update).unwrap_err();
    assert!(matches!(
        refused(&full(&|it| it.issuer = "https://evil.test".parse().unwrap())),
        FeedError::Issuer
    ));
    assert!(matches!(refused(&full(&|it| it.leeway_seconds = 61)), FeedError::Leeway));
    assert!(matches!(refused(&full(&|it| it.number = 0)), FeedError::Older));
    assert!(matches!(refused(&full(&|it| it.keys.keys.push(it.keys.keys[0].clone()))), FeedError::Keys(_)));
    assert!(matches!(
        refused(&full(&|it| it.keys = world.assertion_keys.clone())),
        FeedError::AssertionKeyAmongAccessKeys
    ));
    assert!(matches!(
        refused(&full(&|it| it.servers[1].canonical_uri = it.servers[0].canonical_uri.clone())),
        FeedError::SharedAddress
    ));
    assert!(matches!(
        refused(&full(&|it| it.servers[0].rules[0].scopes = "undeclared".parse().unwrap())),
        FeedError::Unusable(_)
    ));
    assert!(matches!(refused(&Update::Fresh { number: 5, as_of: world.now() }), FeedError::Missed));
    assert!(matches!(world.gateway.feed(b"{}"), Err(FeedError::Malformed(_))));
    assert!(matches!(world.gateway.feed(b""), Err(FeedError::Malformed(_))));
    world.served(tool(&token, "list_notes")).await;
    world.feed(&full(&|_| ())).unwrap();
    world.served(tool(&token, "list_notes")).await;
}

#[tokio::test]
async fn pc_62_changed_agents_act_at_once_and_only_on_what_they_were_made_for() {
    let world = World::new().await;
    let token = world.token();
    let changed = |after: u64, number: u64, change: &dyn Fn(&mut ChangedAgents)| {
        let mut agents = ChangedAgents { put: world.snapshot.agents.clone(), removed: vec![] };
        change(&mut agents);
        Update::Agents { after, number, agents, revocations: vec![], as_of: world.now() }
    };
    let none = |agents: &mut ChangedAgents| agents.put.iter_mut().for_each(|agent| agent.access.clear());
    for (after, number) in [(0, 1), (0, 2), (2, 3), (1, 1), (1, 0)] {
        assert!(matches!(world.feed(&changed(after, number, &none)), Err(FeedError::Missed)));
        world.served(tool(&token, "list_notes")).await;
    }
    world.feed(&changed(1, 4, &none)).unwrap();
    world.refused(tool(&token, "list_notes"), 403).await;
    world.feed(&changed(4, 5, &|_| ())).unwrap();
    world.served(tool(&token, "list_notes")).await;
    let gone = |agents: &mut ChangedAgents| {
        agents.removed = agents.put.drain(..).map(|agent| agent.client_id).collect();
    };
    world.feed(&changed(5, 6, &gone)).unwrap();
    world.refused(tool(&token, "list_notes"), 403).await;
    world.feed(&changed(6, 7, &|_| ())).unwrap();
    world.served(tool(&token, "list_notes")).await;
    // What is revoked counts even if the rest cannot be taken.
    let Update::Agents { agents, as_of, .. } = changed(0, 0, &|_| ()) else { unreachable!() };
    let revocation =
        Revocation { target: RevokedTarget::All, at: as_of, until: as_of + Duration::from_mins(15) };
    let update = Update::Agents { after: 99, number: 100, agents, revocations: vec![revocation], as_of };
    assert!(matches!(world.feed(&update), Err(FeedError::Missed)));
    world.refused(tool(&token, "list_notes"), 401).await;
}
