//! Tokens that end are renewed, once, whoever asks; and what the third party says about it.

use super::world::World;
use futures_util::future::join_all;
use http::StatusCode;
use portcullis_domain::audit::Kind;
use serde_json::json;
use std::time::Duration;

/// Tokens of the third party live 15 minutes.
const LIFE: Duration = Duration::from_mins(15);

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
    // Their keys do not know it any more; the refresh token is good.
    super::ends::forget_access_tokens_there(&world).await;
    assert_eq!(alice.who().await, Some(alice.id_there().await));
    assert_eq!(world.asked("POST /oauth/token"), 2);
}
