//! A gateway that runs alone asks the control room for copies: of its own servers only, and each is on record.

use super::world::{OURS, World};
use crate::api::Operator;
use crate::app::Answer;
use axum::body::Body;
use http::{Request, StatusCode};
use portcullis_domain::audit::Kind;
use portcullis_domain::id::{GatewayId, ServerId, UserId};
use portcullis_oauth::jwt::SigningKey;
use portcullis_server::gateways::wire::{
    CONNECTIONS, ENROL, IDENTITY_TYPE, IdentityClaims, assertion_kid, identity_kid,
};
use serde_json::{Value, json};
use std::time::Duration;

struct Alone<'w> {
    world: &'w World,
    id: GatewayId,
    identity: SigningKey,
}

impl<'w> Alone<'w> {
    async fn enrolled(world: &'w World, name: &str, servers: Value) -> Self {
        let body = json!({ "name": name, "servers": servers });
        let file: Value = Operator::of(&world.ours).json("/api/v1/gateways", &body).await.json();
        let id: GatewayId = file["gateway"].as_str().unwrap().parse().unwrap();
        let [identity, assertion] = [(); 2].map(|()| SigningKey::generate_pkcs8().unwrap());
        let enrol = json!({
            "gateway": id, "secret": file["secret"],
            "identity": SigningKey::public_jwk(&identity_kid(id), &identity).unwrap(),
            "assertion": SigningKey::public_jwk(&assertion_kid(id), &assertion).unwrap(),
        });
        let request = Request::post(ENROL).body(Body::from(enrol.to_string())).unwrap();
        let enrolled = world.ours.send(request).await;
        assert_eq!(enrolled.status, StatusCode::OK, "{}", enrolled.text());
        Self { world, id, identity: SigningKey::from_pkcs8(identity_kid(id), &identity).unwrap() }
    }

    async fn ask(&self, server: ServerId, user: UserId, upstream: &str) -> Answer {
        let now = self.world.ours.app.clock.now();
        let claims = IdentityClaims {
            iss: self.id,
            aud: format!("{OURS}{CONNECTIONS}"),
            iat: now,
            exp: now + Duration::from_mins(1),
            jti: "1".into(),
        };
        let token = self.identity.sign(IDENTITY_TYPE, &claims).unwrap();
        let wanted = json!({ "server": server, "user": user, "upstream": upstream });
        let request = Request::post(CONNECTIONS).header("authorization", format!("Bearer {token}"));
        self.world.ours.send(request.body(Body::from(wanted.to_string())).unwrap()).await
    }
}

#[tokio::test]
async fn pc_62_ups_06_a_gateway_that_runs_alone_gets_copies_for_its_own_servers() {
    let world = World::new().await;
    let mut alice = world.person("alice").await;
    let _bob = world.person("bob").await;
    alice.connect().await;
    let near = Alone::enrolled(&world, "near", Value::Null).await;
    let current = world.ours.app.current.load_full();
    let server = current.policy.server("tracker").unwrap().server().id;
    let mut ids = Vec::new();
    for name in ["alice", "bob"] {
        let found = world.ours.app.store.read().await.unwrap().reader().user_by_name(name).await;
        ids.push(found.unwrap().unwrap().id);
    }
    let upstream = format!("{}/mcp/tracker", world.there);

    let answer = near.ask(server, ids[0], &upstream).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, Some("no-store")));
    let copy: Value = answer.json::<Value>()["copy"].clone();
    assert!(copy["token"].as_str().is_some_and(|token| token.len() > 20), "a copy");
    let until = copy["until"].as_i64().unwrap() - world.ours.app.clock.now().seconds();
    assert!((1..=15 * 60).contains(&until), "for minutes: {until}");
    assert!(copy.get("refresh").is_none(), "nothing to renew it with");
    assert_eq!(world.recorded(Kind::ConnectionCopied).await, 1);

    let none = near.ask(server, ids[1], &upstream).await;
    assert_eq!(none.json::<Value>(), json!({ "none": "not_connected" }), "alice's is not bob's");
    let elsewhere = near.ask(server, ids[0], "http://127.0.0.1:9/mcp").await;
    assert_eq!(elsewhere.json::<Value>(), json!({ "none": "unavailable" }), "for its own address only");
    let other = near.ask(ServerId::from_bytes([9; 16]), ids[0], &upstream).await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);
    let unsigned = Request::post(CONNECTIONS).body(Body::from("{}")).unwrap();
    assert_eq!(world.ours.send(unsigned).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.recorded(Kind::ConnectionCopied).await, 1, "nothing else was given");

    alice.disconnect().await;
    let ended = near.ask(server, ids[0], &upstream).await;
    assert_eq!(ended.json::<Value>(), json!({ "none": "not_connected" }), "PC-45");
}

#[tokio::test]
async fn pc_62_ups_06_a_gateway_gets_no_copy_for_a_server_that_is_not_its_own() {
    let world = World::new().await;
    let more = format!(
        "{}\n[[server]]\nname = \"other\"\nupstream = {{ url = \"http://127.0.0.1:9/mcp\" }}\n[server.scopes]\n\
         \"other:read\" = \"Read\"\n[[server.rule]]\ntools = [\"a\"]\nscopes = [\"other:read\"]\n",
        world.fleet
    );
    world.ours.apply(&more).await.unwrap();
    let mut alice = world.person("alice").await;
    alice.connect().await;
    let far = Alone::enrolled(&world, "far", json!(["other"])).await;
    let current = world.ours.app.current.load_full();
    let server = current.policy.server("tracker").unwrap().server().id;
    let user = world.ours.app.store.read().await.unwrap().reader().user_by_name("alice").await;
    let upstream = format!("{}/mcp/tracker", world.there);
    let refused = far.ask(server, user.unwrap().unwrap().id, &upstream).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    assert_eq!(world.recorded(Kind::ConnectionCopied).await, 0);
}
