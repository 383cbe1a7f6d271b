//! Revocation.

use super::actors::{Browser, Program, error_of, is_active, native};
use crate::app::TestApp;
use http::StatusCode;

async fn revoke(test: &TestApp, program: &Program, token: &str, more: &[(&str, &str)]) -> crate::app::Answer {
    let fields = [&[("client_id", program.id.as_str()), ("token", token)], more].concat();
    test.post("/oauth/revoke", &fields).await
}

#[tokio::test]
async fn as_rev_01_04_revo_02_a_refresh_token_ends_with_its_session() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let tokens = program.tokens(&mut Browser::of_alice(&test).await).await;
    let refresh = tokens.refresh_token.unwrap();
    assert!(is_active(&test, &tokens.access_token).await);
    let wrong_hint = [("token_type_hint", "access_token")];
    assert_eq!(revoke(&test, &program, &refresh, &wrong_hint).await.status, StatusCode::OK);
    assert_eq!(error_of(&program.refresh(&test, &refresh).await), "invalid_grant");
    assert!(!is_active(&test, &tokens.access_token).await);
    assert_eq!(revoke(&test, &program, &refresh, &[]).await.status, StatusCode::OK, "again");
}

#[tokio::test]
async fn as_rev_01_an_access_token_ends_alone() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let tokens = program.tokens(&mut Browser::of_alice(&test).await).await;
    assert_eq!(revoke(&test, &program, &tokens.access_token, &[]).await.status, StatusCode::OK);
    assert!(!is_active(&test, &tokens.access_token).await);
    let next = program.refresh(&test, &tokens.refresh_token.unwrap()).await;
    assert_eq!(next.status, StatusCode::OK);
    let next: super::actors::Tokens = next.json();
    assert!(is_active(&test, &next.access_token).await);
}

#[tokio::test]
async fn as_rev_02_unknown_tokens_are_no_error() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    for unknown in ["unknown", "pcr_AAAA", "a.b.c", &"x".repeat(5000)] {
        assert_eq!(revoke(&test, &program, unknown, &[]).await.status, StatusCode::OK);
    }
    let empty = test.post("/oauth/revoke", &[("client_id", &program.id)]).await;
    assert_eq!(error_of(&empty), "invalid_request");
}

#[tokio::test]
async fn as_rev_03_only_by_the_client_it_belongs_to() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let other = Program::registered(&test, &native("Other")).await;
    let tokens = program.tokens(&mut Browser::of_alice(&test).await).await;
    let refresh = tokens.refresh_token.clone().unwrap();
    for token in [&tokens.access_token, &refresh] {
        let nobody = test.post("/oauth/revoke", &[("token", token)]).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
        let answer = revoke(&test, &other, token, &[]).await;
        assert_eq!((answer.status, error_of(&answer).as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
    }
    assert!(is_active(&test, &tokens.access_token).await);
    assert_eq!(program.refresh(&test, &refresh).await.status, StatusCode::OK);
}
