//! Dynamic registration.

use super::actors::{Program, error_of, native, on_the_web, register};
use crate::app::{Answer, TestApp};
use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};

async fn raw(test: &TestApp, body: impl Into<Body>) -> Answer {
    let request = Request::post("/oauth/register").header(header::CONTENT_TYPE, "application/json");
    test.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn as_dcr_01_everything_registered_is_echoed() {
    let test = TestApp::start().await;
    let answer = register(&test, &native("Inspector")).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::CREATED, Some("no-store")));
    let mut body: Value = answer.json();
    assert!(body["client_id"].as_str().unwrap().starts_with("cli_"));
    body["client_id"] = Value::Null;
    assert_eq!(
        body,
        json!({
            "client_id": null,
            "client_id_issued_at": 1_800_000_000,
            "redirect_uris": ["http://127.0.0.1:53682/cb"],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "client_name": "Inspector",
        })
    );
    let minimal = register(&test, &json!({"redirect_uris": ["https://a.example/cb"]})).await;
    let minimal: Value = minimal.json();
    assert_eq!(minimal["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(minimal["grant_types"], json!(["authorization_code"]));
    assert!(minimal["client_secret"].as_str().unwrap().starts_with("pcs_"));
    assert_eq!(minimal["client_secret_expires_at"], 0);
}

#[tokio::test]
async fn as_dcr_02_dcr_05_bad_bodies_are_named_and_never_a_fault() {
    let test = TestApp::start().await;
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let nested = format!("{{\"redirect_uris\":[\"https://a.example/cb\"],\"x\":{deep}}}");
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        "[[\"https://a.example/cb\"]]",
        r#"{"redirect_uris":"https://x.example/cb"}"#,
        r#"{"redirect_uris":[1]}"#,
        r#"{"redirect_uris":["https://x.example/cb"],"grant_types":"x"}"#,
        r#"{"redirect_uris":["https://x.example/cb"],"redirect_uris":["https://y.example/cb"]}"#,
        r#"{"redirect_uris":["https://x.example/cb"],"jwks":{"keys":[{"kty":"oct"}]}}"#,
        nested.as_str(),
    ] {
        let answer = raw(&test, body.to_owned()).await;
        assert_eq!(
            (answer.status, error_of(&answer).as_str()),
            (StatusCode::BAD_REQUEST, "invalid_client_metadata"),
            "{body:.60}"
        );
    }
    let long = raw(&test, vec![b' '; 1 << 20]).await;
    assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
    let mut bad = native("x");
    bad["redirect_uris"] = json!(["https://a.example/cb", "javascript:alert(1)"]);
    assert_eq!(error_of(&register(&test, &bad).await), "invalid_redirect_uri");
    let mut bad = native("x");
    bad["software_statement"] = json!("e30.e30.");
    assert_eq!(error_of(&register(&test, &bad).await), "invalid_software_statement");
}

#[tokio::test]
async fn as_dcr_03_04_nothing_privileged_can_be_said() {
    let test = TestApp::start().await;
    let mut metadata = native("Pushy");
    for (name, value) in [
        ("client_id", json!("chosen")),
        ("trusted", json!(true)),
        ("skip_consent", json!(true)),
        ("access_token_lifetime", json!(999_999)),
        ("introspects", json!(["notes"])),
    ] {
        metadata[name] = value;
    }
    let answer: Value = register(&test, &metadata).await.json();
    assert_ne!(answer["client_id"], "chosen");
    for name in ["trusted", "skip_consent", "access_token_lifetime", "introspects"] {
        assert!(answer.get(name).is_none(), "{name}");
    }
}

#[tokio::test]
async fn the_same_public_program_is_one_client_and_secret_holders_are_not() {
    let test = TestApp::start().await;
    let one = Program::registered(&test, &native("Same")).await;
    let mut other_port = native("Same");
    other_port["redirect_uris"] = json!(["http://127.0.0.1:1/cb"]);
    assert_eq!(Program::registered(&test, &other_port).await.id, one.id);
    assert_ne!(Program::registered(&test, &native("Other")).await.id, one.id);
    let mut other_path = native("Same");
    other_path["redirect_uris"] = json!(["http://127.0.0.1:53682/other"]);
    assert_ne!(Program::registered(&test, &other_path).await.id, one.id);
    for squatting in ["http://127.0.0.1:1/x/../cb", "http://127.0.0.1:1/./cb", "http://127.0.0.1:1//cb"] {
        let mut alike = native("Same");
        alike["redirect_uris"] = json!([squatting]);
        assert_ne!(Program::registered(&test, &alike).await.id, one.id, "{squatting}");
    }
    let mut secret = on_the_web("Secret");
    secret["token_endpoint_auth_method"] = json!("client_secret_post");
    let (a, b) = (Program::registered(&test, &secret).await, Program::registered(&test, &secret).await);
    assert_ne!(a.id, b.id);
    assert_ne!(a.secret, b.secret);
}

#[tokio::test]
async fn as_dcr_07_dcr_09_registrations_are_bounded() {
    let test = TestApp::start().await;
    let mut refused = 0;
    for n in 0..250 {
        let answer = register(&test, &native(&format!("n{n}"))).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.header("retry-after").is_some());
            refused += 1;
        }
    }
    assert_eq!(refused, 50);
}
