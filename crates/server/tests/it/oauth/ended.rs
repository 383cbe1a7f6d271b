//! Agents that are disabled, and agents whose time is over.

use super::actors::{NOTES, as_agent, error_of, introspected, is_active};
use crate::app::{Answer, FLEET, START, TestApp};
use http::{Request, StatusCode};
use portcullis_domain::audit::{Kind, Outcome};
use serde_json::Value;
use std::time::Duration;

const MACHINE: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("resource", NOTES)];

fn with(line: &str) -> String {
    FLEET.replace("name = \"ci-bot\"\n", &format!("name = \"ci-bot\"\n{line}\n"))
}

async fn ask(test: &TestApp) -> Answer {
    as_agent(test, "ci-bot", "/oauth/token", &MACHINE).await
}

async fn token(test: &TestApp) -> String {
    let answer = ask(test).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json::<Value>()["access_token"].as_str().unwrap().to_owned()
}

/// What the gateway says to a call: the upstream is down, so a call that may go on ends there.
async fn at_the_gateway(test: &TestApp, token: &str) -> StatusCode {
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_notes","arguments":{}}}"#;
    let request = Request::post("/mcp/notes")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25");
    test.send(request.body(call.into()).unwrap()).await.status
}

async fn last_outcome(test: &TestApp) -> (Kind, Outcome) {
    let mut handle = test.app.store.read().await.unwrap();
    let records = handle.reader().audit_after(0, 1000).await.unwrap();
    records.into_iter().last().map(|(_, _, event)| (event.kind, event.outcome)).unwrap()
}

#[tokio::test]
async fn a_disabled_agent_gets_no_token_and_its_tokens_open_nothing() {
    let test = TestApp::start().await;
    let before = token(&test).await;
    assert_eq!(at_the_gateway(&test, &before).await, StatusCode::BAD_GATEWAY);
    test.apply(&with("disabled = true")).await.unwrap();
    let refused = ask(&test).await;
    assert_eq!(error_of(&refused), "unauthorized_client");
    assert!(refused.text().contains("disabled by the operator"), "{}", refused.text());
    assert_eq!(last_outcome(&test).await, (Kind::TokenDecided, Outcome::Refused("disabled".to_owned())));
    assert_eq!(at_the_gateway(&test, &before).await, StatusCode::FORBIDDEN);
    assert!(!is_active(&test, &before).await);
    test.apply(FLEET).await.unwrap();
    assert_eq!(ask(&test).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_agent_ends_to_the_second_with_its_tokens() {
    let test = TestApp::start_with("", &with("expires = 2027-01-15T08:10:00Z")).await;
    assert_eq!(START.seconds(), 1_800_000_000, "2027-01-15T08:00:00Z");
    let before = ask(&test).await.json::<Value>();
    assert_eq!(before["expires_in"], 600, "no token lives past its agent");
    let before = before["access_token"].as_str().unwrap().to_owned();
    test.advance(Duration::from_secs(599)).await;
    assert_eq!(at_the_gateway(&test, &before).await, StatusCode::BAD_GATEWAY);
    assert_eq!(ask(&test).await.json::<Value>()["expires_in"], 1);
    test.advance(Duration::from_secs(1)).await;
    let refused = ask(&test).await;
    assert_eq!(error_of(&refused), "unauthorized_client");
    assert!(refused.text().contains("time is over"), "{}", refused.text());
    assert_eq!(last_outcome(&test).await, (Kind::TokenDecided, Outcome::Refused("expired".to_owned())));
    // Its leeway is for clocks of others; the end is ours.
    assert_eq!(at_the_gateway(&test, &before).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_nearer_end_acts_on_tokens_that_are_there() {
    let test = TestApp::start().await;
    let before = token(&test).await;
    test.apply(&with("expires = 2027-01-15T08:01:00Z")).await.unwrap();
    assert_eq!(at_the_gateway(&test, &before).await, StatusCode::BAD_GATEWAY);
    test.advance(Duration::from_mins(1)).await;
    assert_eq!(at_the_gateway(&test, &before).await, StatusCode::FORBIDDEN);
    assert!(!is_active(&test, &before).await);
}

#[tokio::test]
async fn a_disabled_agent_learns_nothing_of_tokens() {
    let test = TestApp::start().await;
    let other = token(&test).await;
    assert_eq!(introspected(&test, &other).await["active"], true);
    test.apply(&FLEET.replace("name = \"inspector\"\n", "name = \"inspector\"\ndisabled = true\n"))
        .await
        .unwrap();
    let refused = as_agent(&test, "inspector", "/oauth/introspect", &[("token", &other)]).await;
    assert_eq!(error_of(&refused), "unauthorized_client");
}
