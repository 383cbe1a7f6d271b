//! Clients that the operator registered: the whole way, their ceiling, and their end.

use super::actors::{Browser, Program, VERIFIER, basic, claims, error_of, is_active, is_consent};
use crate::app::{Credentials, FLEET, TestApp, form};
use http::{Request, StatusCode, header};
use portcullis_server::fleet::Applied;
use std::time::Duration;

const DESK: &str = r#"
[[client]]
name = "desk"
title = "Team desktop"
owner = "platform"
redirect_uris = ["http://127.0.0.1/cb"]
access = { notes = ["notes:read"] }
"#;

const SITE: &str = r#"
[[client]]
name = "site"
title = "Team site"
owner = "platform"
redirect_uris = ["https://site.example/cb"]
auth = "secret"
credential = { secret = { deliver = "file:@DATA@/site.json" } }
access = { notes = ["notes:write"] }
"#;

/// Nothing is open to clients that registered themselves.
fn fleet(clients: &str) -> String {
    let (before, _) = FLEET.split_once("[self_registered]").unwrap();
    format!("{before}{clients}")
}

async fn with(clients: &str) -> TestApp {
    TestApp::start_with("registration.dynamic = true", &fleet(clients)).await
}

fn program(test: &TestApp, name: &str, redirect_uri: &str) -> Program {
    let current = test.app.current.load();
    let client = current.snapshot.clients.iter().find(|client| client.name.as_str() == name).unwrap();
    Program { id: client.client_id.to_string(), secret: None, redirect_uri: redirect_uri.to_owned() }
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

#[tokio::test]
async fn pc_21_a_public_client_of_the_operator_gets_what_its_access_and_the_roles_leave() {
    let test = with(DESK).await;
    // The port of a loopback redirect is free (OAuth 2.1 s8.4.2).
    let desk = program(&test, "desk", "http://127.0.0.1:50123/cb");
    let mut browser = Browser::of_alice(&test).await;
    let page = browser.reach_consent(&desk.asking()).await;
    let page = page.page();
    assert!(is_consent(page), "{}", page.text());
    assert!(page.text().contains("Team desktop") && page.text().contains("registered by the operator"));
    assert!(!page.text().contains("unverified") && !page.text().contains("Create and change notes"));
    let tokens = desk.tokens(&mut browser).await;
    assert_eq!(tokens.scope, "notes:read", "write was asked for, and is beyond the client");
    assert_eq!(at_the_gateway(&test, &tokens.access_token).await, StatusCode::BAD_GATEWAY);
    let renewed = desk.refresh(&test, tokens.refresh_token.as_ref().unwrap()).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text());
    let stranger = Program::native(&test).await;
    assert_eq!(
        browser.authorize(&stranger.asking()).await.error(),
        "access_denied",
        "self_registered is empty"
    );
}

#[tokio::test]
async fn as_authz_03_the_operators_redirect_uris_are_compared_like_all_others() {
    let test = with(DESK).await;
    let mut browser = Browser::of_alice(&test).await;
    for bad in
        ["http://127.0.0.1/other", "http://localhost/cb", "https://127.0.0.1/cb", "http://127.0.0.1/cb?x"]
    {
        let desk = program(&test, "desk", bad);
        let page = browser.reach_consent(&desk.asking()).await;
        assert_eq!(page.page().status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn pc_14_a_confidential_client_of_the_operator_needs_its_secret() {
    let test = with(SITE).await;
    let site = program(&test, "site", "https://site.example/cb");
    let credentials: Credentials =
        serde_json::from_slice(&std::fs::read(test.file("site")).unwrap()).unwrap();
    assert_eq!(credentials.client_id, site.id);
    let mut browser = Browser::of_alice(&test).await;
    let code = browser.code(&site.asking()).await;
    let without = site.redeem(&test, &code).await;
    assert_eq!((without.status, error_of(&without).as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    let redeem = async |secret: &str| {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("code_verifier", VERIFIER),
            ("redirect_uri", "https://site.example/cb"),
        ];
        let mut request = form("/oauth/token", &fields);
        request.headers_mut().insert(header::AUTHORIZATION, basic(&site.id, secret).parse().unwrap());
        test.send(request).await
    };
    assert_eq!(error_of(&redeem("another").await), "invalid_client");
    let tokens: super::actors::Tokens = redeem(&credentials.client_secret).await.json();
    assert_eq!(tokens.scope, "notes:read notes:write");
    assert_eq!(claims(&tokens.access_token)["client_id"], site.id);
    assert_eq!(test.apply(&fleet(SITE)).await.unwrap(), Applied::default(), "applied again, nothing is new");
    // It is no machine of its own.
    let mut alone =
        form("/oauth/token", &[("grant_type", "client_credentials"), ("resource", super::actors::NOTES)]);
    let basic = basic(&site.id, &credentials.client_secret);
    alone.headers_mut().insert(header::AUTHORIZATION, basic.parse().unwrap());
    assert_eq!(error_of(&test.send(alone).await), "unauthorized_client");
}

#[tokio::test]
async fn pc_21_narrowing_and_disabling_a_client_acts_at_the_next_call() {
    let test = with(DESK).await;
    let desk = program(&test, "desk", "http://127.0.0.1:50123/cb");
    let mut browser = Browser::of_alice(&test).await;
    let tokens = desk.tokens(&mut browser).await;
    let (token, refresh) = (tokens.access_token.as_str(), tokens.refresh_token.unwrap());
    assert!(is_active(&test, token).await);
    test.apply(&fleet(&format!("{DESK}disabled = true\n"))).await.unwrap();
    assert_eq!(at_the_gateway(&test, token).await, StatusCode::FORBIDDEN);
    assert!(!is_active(&test, token).await);
    assert_eq!(error_of(&desk.refresh(&test, &refresh).await), "unauthorized_client");
    assert_eq!(browser.authorize(&desk.asking()).await.error(), "unauthorized_client");
    test.apply(&fleet(DESK)).await.unwrap();
    assert_eq!(at_the_gateway(&test, token).await, StatusCode::BAD_GATEWAY, "enabled again");
    test.apply(&fleet(&DESK.replace("{ notes = [\"notes:read\"] }", "{}"))).await.unwrap();
    assert_eq!(at_the_gateway(&test, token).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn pc_45_a_removed_client_ends_with_all_that_it_was_granted() {
    let test = with(DESK).await;
    let desk = program(&test, "desk", "http://127.0.0.1:50123/cb");
    let mut browser = Browser::of_alice(&test).await;
    let tokens = desk.tokens(&mut browser).await;
    let code = browser.code(&desk.asking()).await;
    test.advance(Duration::from_secs(2)).await;
    // What registered itself may do more than the client could: nothing of the client may fall to that.
    let open = "[self_registered]\naccess = { notes = [\"notes:write\"] }\n";
    assert_eq!(test.apply(&fleet(open)).await.unwrap(), Applied { put: 1, removed: 1, secrets: 0 });
    assert_eq!(at_the_gateway(&test, &tokens.access_token).await, StatusCode::UNAUTHORIZED);
    assert!(!is_active(&test, &tokens.access_token).await);
    assert_eq!(error_of(&desk.redeem(&test, &code).await), "invalid_client");
    assert_eq!(error_of(&desk.refresh(&test, &tokens.refresh_token.unwrap()).await), "invalid_client");
    let page = browser.reach_consent(&desk.asking()).await;
    assert_eq!(page.page().status, StatusCode::BAD_REQUEST, "nobody is sent anywhere");
    test.apply(&fleet(DESK)).await.unwrap();
    assert_ne!(program(&test, "desk", "").id, desk.id, "it comes back as another");
}
