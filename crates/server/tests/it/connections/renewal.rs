//! Tokens that end are renewed, once, whoever asks; and what the third party says about it.

use super::world::World;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::StatusCode;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_store::{ConnectionFilter, Renewal};
use serde_json::json;
use std::time::Duration;

/// Tokens of the third party live 15 minutes.
const LIFE: Duration = Duration::from_mins(15);

/// What was got less than this ago is not renewed for being refused.
const YOUNG: Duration = Duration::from_secs(10);

impl World {
    /// The token of the third party has ended; a person here needs another of ours, too.
    async fn later(&self, person: &mut super::world::Person<'_>) {
        self.advance(LIFE).await;
        person.token = self.token(&mut person.here).await;
    }
}

#[tokio::test]
async fn ups_06_twenty_calls_at_the_end_of_a_token_renew_it_once() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    assert_eq!(world.asked("POST /oauth/token"), 1);
    world.later(&mut alice).await;
    let id = alice.id_there().await;
    let all = join_all((0..20).map(|_| alice.who())).await;
    assert!(all.into_iter().all(|who| who.as_ref() == Some(&id)));
    assert_eq!(world.asked("POST /oauth/token"), 2, "one refresh");
    assert_eq!(world.recorded(Kind::ConnectionRefreshed).await, 1);
    world.later(&mut alice).await;
    assert_eq!(alice.who().await, Some(id), "by the newer refresh token");
    assert_eq!(world.asked("POST /oauth/token"), 3);
}

#[tokio::test]
async fn a_connection_that_the_third_party_ended_is_final_and_can_be_made_anew() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    let id = alice.id_there().await;
    assert_eq!(alice.who().await, Some(id.clone()));
    world.advance(YOUNG).await;
    super::ends::end_there(&world, "alice").await;
    assert_eq!(alice.who().await, None, "401 over there: renewed once, and refused");
    assert_eq!(world.asked("POST /oauth/token"), 2);
    assert_eq!(alice.who().await, None);
    assert_eq!(world.asked("POST /oauth/token"), 2, "invalid_grant is final");
    assert!(alice.look().await.text().contains("has ended over there"));
    // What was revoked over there is everything up to that second.
    world.advance(Duration::from_secs(2)).await;
    alice.there.cookies.clear();
    alice.connect().await;
    assert_eq!(alice.who().await, Some(id));
}

#[tokio::test]
async fn a_third_party_that_does_not_answer_is_asked_again_later() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    world.wire.lock().unwrap().instead =
        vec![("/oauth/token".into(), StatusCode::SERVICE_UNAVAILABLE, json!({}))];
    world.later(&mut alice).await;
    let answer = alice.call().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    assert_eq!(world.asked("POST /oauth/token"), 2);
    assert_eq!(alice.call().await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.asked("POST /oauth/token"), 2, "it is left alone for a while");
    world.wire.lock().unwrap().instead.clear();
    world.advance(Duration::from_secs(5)).await;
    assert_eq!(alice.who().await, Some(alice.id_there().await));
}

#[tokio::test]
async fn a_lost_answer_of_the_third_party_is_asked_for_again_and_strands_nobody() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    world.later(&mut alice).await;
    world.wire.lock().unwrap().lost = vec!["/oauth/token".into()];
    assert_eq!(alice.call().await.status, StatusCode::SERVICE_UNAVAILABLE);
    world.wire.lock().unwrap().lost.clear();
    world.advance(Duration::from_secs(5)).await;
    assert_eq!(alice.who().await, Some(alice.id_there().await), "PC-13, from the other side");
}

#[tokio::test]
async fn ups_10_a_token_that_is_refused_once_is_renewed_once_and_the_call_is_made_again() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    assert!(alice.who().await.is_some());
    world.advance(YOUNG).await;
    // Their keys do not know it any more; the refresh token is good.
    super::ends::forget_access_tokens_there(&world).await;
    assert_eq!(alice.who().await, Some(alice.id_there().await));
    assert_eq!(world.asked("POST /oauth/token"), 2);
}

#[tokio::test]
async fn ups_10_a_server_that_refuses_every_token_does_not_make_us_renew_at_every_call() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    world.wire.lock().unwrap().instead = vec![("/mcp/tracker".into(), StatusCode::UNAUTHORIZED, json!({}))];
    for renewals in 0..3 {
        for _ in 0..3 {
            let answer = alice.call().await;
            assert!(answer.text().contains("/connect/tracker"), "{} {}", answer.status, answer.text());
            assert_eq!(world.asked("POST /oauth/token"), 1 + renewals);
        }
        world.advance(YOUNG).await;
    }
    world.wire.lock().unwrap().instead.clear();
    assert_eq!(alice.who().await, Some(alice.id_there().await), "nothing of it is final");
}

#[tokio::test]
async fn dos_02_callers_who_go_away_leave_one_task_behind_however_many_they_are() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    world.later(&mut alice).await;
    let app = &world.ours.app;
    let connections = {
        let mut handle = app.store.read().await.unwrap();
        handle.reader().connections(ConnectionFilter::default(), 10).await.unwrap()
    };
    let found = &connections[0];
    let renewal = Renewal { id: found.id, version: found.version, lease: "of another node".to_owned() };
    let until = app.clock.now() + Duration::from_mins(1);
    let write = app.store.write(app.clock.now(), (renewal, until), |(renewal, until), tx| {
        Box::pin(async move {
            assert!(tx.lease(renewal, *until).await?);
            tx.record(&Event::new(Kind::ConnectionRenewing, Outcome::Allowed, Actor::System), ()).await
        })
    });
    write.await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..20 {
        assert!(alice.call().now_or_never().is_none(), "it waits for the other node");
        assert_eq!(tasks(), before + 1);
    }
}
