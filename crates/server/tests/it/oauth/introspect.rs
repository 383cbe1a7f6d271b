//! Introspection.

use super::actors::{Browser, NOTES, Program, as_agent, error_of, introspected, is_active};
use crate::app::{FLEET, TestApp};
use http::StatusCode;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn as_int_02_an_active_token_is_described() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let tokens = program.tokens(&mut Browser::of_alice(&test).await).await;
    let about = introspected(&test, &tokens.access_token).await;
    let claims = super::actors::claims(&tokens.access_token);
    assert_eq!(about["active"], true);
    for member in ["scope", "client_id", "sub", "aud", "iss", "exp", "iat", "jti"] {
        assert_eq!(about[member], claims[member], "{member}");
    }
    assert_eq!(about["token_type"], "Bearer");
    for hint in ["access_token", "refresh_token", "nonsense"] {
        let fields = [("token", tokens.access_token.as_str()), ("token_type_hint", hint)];
        let answer = as_agent(&test, "inspector", "/oauth/introspect", &fields).await;
        assert_eq!(answer.json::<serde_json::Value>(), about, "AS-INT-06");
    }
}

#[tokio::test]
async fn as_int_03_intr_02_everything_else_looks_alike() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let tokens = program.tokens(&mut browser).await;
    let code = browser.code(&program.asking()).await;
    let token = &tokens.access_token;
    let refresh = tokens.refresh_token.unwrap();
    let cut = &token[..token.len() - 4];
    for other in ["garbage", "a.b.c", &"x".repeat(5000), cut, &refresh, &code, &format!("{token}x")] {
        let answer = as_agent(&test, "inspector", "/oauth/introspect", &[("token", other)]).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "{\"active\":false}"));
    }
    assert!(is_active(&test, token).await);
    test.advance(Duration::from_mins(15)).await;
    assert_eq!(introspected(&test, token).await, json!({"active": false}), "expired, to the second");
}

#[tokio::test]
async fn as_int_01_04_who_may_ask() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let tokens = program.tokens(&mut Browser::of_alice(&test).await).await;
    let token = tokens.access_token.as_str();
    let nobody = test.post("/oauth/introspect", &[("token", token)]).await;
    assert_eq!((nobody.status, error_of(&nobody).as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    let public = test.post("/oauth/introspect", &[("token", token), ("client_id", &program.id)]).await;
    assert_eq!((public.status, error_of(&public).as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    let agent = as_agent(&test, "ci-bot", "/oauth/introspect", &[("token", token)]).await;
    assert_eq!(agent.json::<serde_json::Value>(), json!({"active": false}), "not named for this server");
    assert_eq!(test.get("/oauth/introspect").await.status, StatusCode::METHOD_NOT_ALLOWED);
    let empty = as_agent(&test, "inspector", "/oauth/introspect", &[]).await;
    assert_eq!(error_of(&empty), "invalid_request");
    let narrower = FLEET.replace("introspects = [\"notes\", \"ops\"]", "introspects = [\"ops\"]");
    test.apply(&narrower).await.unwrap();
    assert!(!is_active(&test, token).await, "R2's credentials, R1's token");
}

#[tokio::test]
async fn as_int_05_pc_21_policy_of_today_counts() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let tokens = program.tokens(&mut Browser::of_alice(&test).await).await;
    let token = &tokens.access_token;
    assert_eq!(introspected(&test, token).await["scope"], "notes:read notes:write");
    let tighter = FLEET.replace(
        "access = { notes = [\"notes:read\", \"notes:write\"]",
        "access = { notes = [\"notes:read\"]",
    );
    test.apply(&tighter).await.unwrap();
    assert_eq!(introspected(&test, token).await["scope"], "notes:read");
    let machine = [("grant_type", "client_credentials"), ("resource", NOTES)];
    let answer = as_agent(&test, "ci-bot", "/oauth/token", &machine).await;
    let machine: super::actors::Tokens = answer.json();
    assert!(is_active(&test, &machine.access_token).await);
    let gone =
        FLEET.replace("access = { notes = [\"notes:read\"] }\n\n[[agent]]", "access = {}\n\n[[agent]]");
    assert_ne!(gone, FLEET);
    test.apply(&gone).await.unwrap();
    assert!(!is_active(&test, &machine.access_token).await);
}
