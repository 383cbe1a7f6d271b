//! Who may ask at the addresses of gateways: each about itself, with its own key, now (PC-62).

use super::world::{Far, Room, now};
use axum::body::Body;
use http::{Request, StatusCode};
use portcullis_oauth::jwt::SigningKey;
use portcullis_oauth::time::Timestamp;
use portcullis_server::gateways::wire::{
    CONNECTIONS, IDENTITY_TYPE, IdentityClaims, RECORDS, SIGHTINGS, SNAPSHOT, assertion_kid, identity_kid,
};
use portcullis_server::listener::Answers as _;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) struct Keys {
    id: portcullis_domain::id::GatewayId,
    pub(super) identity: SigningKey,
    assertion: SigningKey,
}

impl Keys {
    pub(super) fn of(far: &Far) -> Self {
        let text = std::fs::read(far.folder.path().join("identity.json")).unwrap();
        let known: Value = serde_json::from_slice(&text).unwrap();
        let id = far.id.parse().unwrap();
        let key = |member: &str, kid: String| {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
            SigningKey::from_pkcs8(kid, &engine.decode(known[member].as_str().unwrap()).unwrap()).unwrap()
        };
        Self {
            id,
            identity: key("identity", identity_kid(id)),
            assertion: key("assertion", assertion_kid(id)),
        }
    }

    pub(super) fn claims(&self, room: &Room, path: &str, at: Timestamp) -> IdentityClaims {
        IdentityClaims {
            iss: self.id,
            aud: format!("{}{path}", room.issuer()),
            iat: at,
            exp: at + Duration::from_mins(1),
            jti: "1".into(),
        }
    }
}

/// The status, and the kind of the problem.
async fn ask(room: &Room, path: &str, token: Option<&str>) -> (StatusCode, String) {
    let (method, content) = if path == SNAPSHOT { ("GET", "") } else { ("POST", "{}") };
    let query = match path {
        RECORDS => "?segment=1&offset=0&sha256=x",
        SNAPSHOT => "?format=1",
        _ => "",
    };
    let mut request = Request::builder().method(method).uri(format!("{path}{query}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let host = room.issuer().trim_start_matches("http://");
    let request = request.header("host", host).body(Body::from(content)).unwrap();
    let response = room.test.front.answer(request, None).await;
    let status = response.status();
    if status == StatusCode::OK {
        return (status, String::new());
    }
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    (status, problem["type"].as_str().unwrap().trim_start_matches("urn:portcullis:problem:").to_owned())
}

#[tokio::test]
async fn pc_62_only_a_gateways_own_identity_opens_what_is_for_it() {
    let room = Room::open().await;
    let far = Far::enrolled(&room, "far", Some(&["notes"])).await;
    let near = Far::enrolled(&room, "near", Some(&["other"])).await;
    let (keys, others) = (Keys::of(&far), Keys::of(&near));
    let at = now(&room);
    let unidentified = (StatusCode::UNAUTHORIZED, "unidentified".to_owned());
    let sign = |key: &SigningKey, claims: &IdentityClaims| key.sign(IDENTITY_TYPE, claims).unwrap();
    let good = sign(&keys.identity, &keys.claims(&room, SNAPSHOT, at));
    assert_eq!(ask(&room, SNAPSHOT, Some(&good)).await.0, StatusCode::OK);

    for path in [SNAPSHOT, RECORDS, SIGHTINGS, CONNECTIONS] {
        assert_eq!(ask(&room, path, None).await, unidentified, "{path}");
        let claims = keys.claims(&room, path, at);
        let elsewhere = if path == RECORDS { SNAPSHOT } else { RECORDS };
        let foreign = SigningKey::from_pkcs8(identity_kid(keys.id), &SigningKey::generate_pkcs8().unwrap());
        let long = IdentityClaims { exp: at + Duration::from_secs(61), ..claims.clone() };
        for (what, bad) in [
            ("signed by the assertion key", sign(&keys.assertion, &claims)),
            ("signed by another gateway", sign(&others.identity, &claims)),
            ("of another gateway, in its name", {
                let claims = IdentityClaims { iss: others.id, ..claims.clone() };
                sign(&keys.identity, &claims)
            }),
            ("signed by a foreign key", sign(&foreign.unwrap(), &claims)),
            ("for another address", sign(&keys.identity, &keys.claims(&room, elsewhere, at))),
            ("expired", sign(&keys.identity, &keys.claims(&room, path, at - Duration::from_secs(91)))),
            ("of the future", sign(&keys.identity, &keys.claims(&room, path, at + Duration::from_secs(31)))),
            ("long", sign(&keys.identity, &long)),
            ("of another type", keys.identity.sign("at+jwt", &claims).unwrap()),
            ("an access token", room.token("notes").await),
            ("garbage", "garbage".to_owned()),
        ] {
            assert_eq!(ask(&room, path, Some(&bad)).await, unidentified, "{path}: {what}");
        }
    }
    // A gateway that would not understand all of it is told nothing.
    let request =
        Request::get(format!("{SNAPSHOT}?format=2")).header("authorization", format!("Bearer {good}"));
    let answer = room.test.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text());

    let nobody = IdentityClaims {
        iss: "gtw_00000000000000000000000000000000".parse().unwrap(),
        ..keys.claims(&room, SNAPSHOT, at)
    };
    let unknown = ask(&room, SNAPSHOT, Some(&sign(&keys.identity, &nobody))).await;
    assert_eq!(unknown, (StatusCode::UNAUTHORIZED, "unknown_gateway".to_owned()));
}

#[tokio::test]
async fn pc_62_neither_key_of_a_gateway_opens_anything_else() {
    let room = Room::open().await;
    let far = Far::enrolled(&room, "far", None).await;
    let keys = Keys::of(&far);
    let issuer: portcullis_oauth::issuer::Issuer = room.issuer().parse().unwrap();
    let at = now(&room);
    for key in [&keys.identity, &keys.assertion] {
        for resource in [room.resource("notes"), format!("{issuer}/api/v1")] {
            let claims = json!({
                "iss": issuer, "aud": resource, "sub": "cli_x", "client_id": "cli_x", "scope": "notes:read admin:write",
                "exp": (at + Duration::from_mins(5)).seconds(), "nbf": at.seconds(), "iat": at.seconds(),
                "jti": "tok_00000000000000000000000000000001", "sid": "ses_00000000000000000000000000000001",
            });
            let token = key.sign("at+jwt", &claims).unwrap();
            assert_eq!(far.call(&token, "notes", "list_notes").await.0, StatusCode::UNAUTHORIZED);
            let request = Request::get("/api/v1/fleet").header("authorization", format!("Bearer {token}"));
            let answer = room.test.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn pc_62_a_gateway_speaks_for_its_own_servers_only() {
    let room = Room::open().await;
    let far = Far::enrolled(&room, "far", Some(&["notes"])).await;
    let keys = Keys::of(&far);
    let server = |name: &str| room.test.app.current.load().policy.server(name).unwrap().server().id;
    let tell = async |server: String| {
        let claims = keys.claims(&room, SIGHTINGS, now(&room));
        let token = keys.identity.sign(IDENTITY_TYPE, &claims).unwrap();
        let body = json!({ "server": server, "whole": true, "tools": [] });
        let request = Request::post(SIGHTINGS).header("authorization", format!("Bearer {token}"));
        room.test.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    assert_eq!(tell(server("notes").to_string()).await.status, StatusCode::NO_CONTENT);
    for strange in ["other", "portcullis"] {
        let refused = tell(server(strange).to_string()).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    }
}
