//! Third parties that lie about where they are, and what is never dialled (UPS-09).

use super::world::World;
use crate::app::Answer;
use http::StatusCode;
use portcullis_domain::audit::Kind;
use serde_json::{Value, json};

const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp/tracker";
const AUTHORITY: &str = "/.well-known/oauth-authorization-server";

impl World {
    /// The third party publishes its own document with one member replaced, or (null) left out.
    async fn publishes(&self, path: &str, member: &str, value: Value) {
        let mut document: Value = self.third.get(path).await.json();
        if value.is_null() {
            document.as_object_mut().unwrap().remove(member);
        } else {
            document[member] = value;
        }
        self.wire.lock().unwrap().instead = vec![(path.to_owned(), StatusCode::OK, document)];
    }

    fn asked_paths(&self) -> Vec<String> {
        self.wire.lock().unwrap().asked.clone()
    }
}

fn assert_not_possible(page: &Answer, what: &str) {
    assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{what}: {}", page.text());
    assert!(page.text().contains("Not possible right now"), "{what}");
    for told in ["evil", "10.0.0.1", "javascript", "169.254"] {
        assert!(!page.text().contains(told), "FETCH-03, {what}: {}", page.text());
    }
}

#[tokio::test]
async fn ups_09_metadata_that_leads_elsewhere_is_not_followed() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    assert_eq!(alice.look().await.status, StatusCode::OK, "good before");
    for (path, member, value) in [
        (AUTHORITY, "authorization_endpoint", json!("javascript:alert(1)")),
        (AUTHORITY, "authorization_endpoint", json!("http://evil.example/authorize")),
        (AUTHORITY, "authorization_endpoint", json!("https://10.0.0.1/authorize")),
        (AUTHORITY, "authorization_endpoint", json!("https://user@evil.example/authorize")),
        (AUTHORITY, "token_endpoint", json!("https://169.254.169.254/latest")),
        (AUTHORITY, "token_endpoint", json!("https://evil.example:22/token")),
        (AUTHORITY, "token_endpoint", json!("file:///etc/passwd")),
        (AUTHORITY, "registration_endpoint", json!("https://[::1]/register")),
        (AUTHORITY, "revocation_endpoint", json!("http://evil.example/revoke")),
        (AUTHORITY, "issuer", json!("https://evil.example")),
        (AUTHORITY, "issuer", json!(null)),
        (AUTHORITY, "code_challenge_methods_supported", json!(["plain"])),
        (AUTHORITY, "code_challenge_methods_supported", json!(null)),
        (AUTHORITY, "authorization_endpoint", json!(format!("https://evil.example/{}", "a".repeat(3000)))),
        (RESOURCE, "resource", json!("https://evil.example/mcp")),
        (RESOURCE, "authorization_servers", json!(["https://10.0.0.1"])),
        (RESOURCE, "authorization_servers", json!(["http://evil.example"])),
    ] {
        world.publishes(path, member, value.clone()).await;
        assert_not_possible(&alice.look().await, &format!("{member} {value}"));
    }
    let posts: Vec<String> =
        world.asked_paths().into_iter().filter(|asked| asked.starts_with("POST")).collect();
    assert!(posts.is_empty(), "{posts:?}");
    assert_eq!(world.recorded(Kind::ConnectionBegun).await, 0);
    world.wire.lock().unwrap().instead.clear();
    alice.connect().await;
}

#[tokio::test]
async fn ups_09_what_no_operator_listed_is_not_dialled() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    let elsewhere = world.fleet.replace("http://127.0.0.1", "http://127.0.0.2");
    world.ours.apply(&elsewhere).await.unwrap();
    let before = world.asked_paths().len();
    assert_not_possible(&alice.look().await, "127.0.0.2 is not listed");
    assert_eq!(world.asked_paths().len(), before);
}

#[tokio::test]
async fn authz_the_issuer_that_the_operator_expects_is_the_only_one() {
    let world = World::with("per_user = { issuer = \"https://login.tracker.example\" }").await;
    let mut alice = world.person("alice").await;
    assert_not_possible(&alice.look().await, "another issuer");
    let world = World::with("per_user = { issuer = \"@THERE@\" }").await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    assert!(alice.who().await.is_some());
}

#[tokio::test]
async fn answers_that_cannot_be_used_connect_nobody() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    for answer in [
        json!({ "access_token": "x", "token_type": "DPoP", "expires_in": 60 }),
        json!({ "access_token": "", "token_type": "bearer" }),
        json!({ "access_token": "a b", "token_type": "bearer" }),
        json!({ "access_token": "a\r\nx-evil: 1", "token_type": "bearer" }),
        json!({ "token_type": "bearer" }),
        json!([]),
    ] {
        let address = alice.set_out().await;
        let back = alice.agree_there(&address).await;
        let said = answer.to_string();
        world.wire.lock().unwrap().instead = vec![("/oauth/token".into(), StatusCode::OK, answer)];
        let page = alice.come_back(&back).await;
        assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{said}: {}", page.text());
        world.wire.lock().unwrap().instead.clear();
        assert_eq!(alice.who().await, None, "{said}");
    }
}

#[tokio::test]
async fn a_third_party_that_forgot_us_is_asked_to_register_us_again() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    alice.connect().await;
    assert_eq!(world.asked("POST /oauth/register"), 1);
    let mut bob = world.person("bob").await;
    let _he_meets_an_error_over_there = bob.set_out().await;
    assert_eq!(world.asked("POST /oauth/register"), 1);
    bob.connect().await;
    assert_eq!(world.asked("POST /oauth/register"), 2, "he began again without having come back");
    assert_eq!(
        (alice.who().await, bob.who().await),
        (Some(alice.id_there().await), Some(bob.id_there().await))
    );
}
