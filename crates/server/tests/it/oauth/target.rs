//! For which server a token is, and for what of it: as registered, whatever the spelling of who asks.

use super::actors::{Browser, NOTES, OPS, Program, Tokens, as_agent, claims, error_of, introspected};
use crate::app::{Answer, FLEET, TestApp};
use http::StatusCode;

async fn machine(test: &TestApp, more: &[(&str, &str)]) -> Answer {
    let grant = ("grant_type", "client_credentials");
    as_agent(test, "ci-bot", "/oauth/token", &[&[grant], more].concat()).await
}

#[tokio::test]
async fn aud_01_02_another_spelling_is_refused_or_means_the_registered_one() {
    let test = TestApp::start().await;
    let good: Tokens = machine(&test, &[("resource", NOTES)]).await.json();
    assert_eq!(claims(&good.access_token)["aud"], NOTES);
    for other in [
        "http://127.0.0.1:8080/mcp/notes/",
        "http://127.0.0.1:8080/mcp/NOTES",
        "http://127.0.0.1:8080/mcp/notes?x=1",
        "http://127.0.0.1:8080/mcp/notes#x",
        "http://127.0.0.1:8080/mcp%2fnotes",
        "http://127.0.0.1:8080//mcp/notes",
        "http://127.0.0.1:8080/mcp/./notes",
        "http://127.0.0.1:8080",
        "http://127.0.0.1/mcp/notes",
        "http://127.1:8080/mcp/notes",
        "http://user@127.0.0.1:8080/mcp/notes",
        "https://127.0.0.1:8080/mcp/notes",
        "urn:x",
        "mcp/notes",
        "",
    ] {
        assert_eq!(error_of(&machine(&test, &[("resource", other)]).await), "invalid_target", "{other}");
    }
    let capitals: Tokens = machine(&test, &[("resource", "HTTP://127.0.0.1:8080/mcp/notes")]).await.json();
    assert_eq!(claims(&capitals.access_token)["aud"], NOTES, "never as it was asked for");
    let many: Vec<(&str, &str)> = vec![("resource", NOTES); 100];
    let answer = machine(&test, &many).await;
    assert!(answer.status.is_client_error(), "{} {}", answer.status, answer.text());
}

#[tokio::test]
async fn aud_03_05_06_nothing_else_names_the_server() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let mut browser = Browser::of_alice(&test).await;
    let code = browser.code(&program.asking()).await;
    let mut fields = program.redemption(&code);
    fields.push(("resource", OPS));
    assert_eq!(error_of(&test.post("/oauth/token", &fields).await), "invalid_target");
    // `audience` belongs to token exchange alone (RFC 8693 s2.1).
    let mut fields = program.redemption(&code);
    fields.push(("audience", OPS));
    let tokens: Tokens = test.post("/oauth/token", &fields).await.json();
    assert_eq!(claims(&tokens.access_token)["aud"], NOTES);
    let both: Tokens = machine(&test, &[("resource", NOTES), ("audience", OPS)]).await.json();
    assert_eq!(claims(&both.access_token)["aud"], NOTES);
    for none in [&[][..], &[("audience", NOTES)]] {
        assert_eq!(error_of(&machine(&test, none).await), "invalid_target");
    }
    assert_eq!(
        browser.reach_consent(&program.asking().with("resource", None)).await.error(),
        "invalid_target"
    );
}

#[tokio::test]
async fn aud_07_what_was_given_for_a_server_dies_with_it_and_its_successor_inherits_nothing() {
    let test = TestApp::start().await;
    let program = Program::native(&test).await;
    let tokens = program.tokens(&mut Browser::of_alice(&test).await).await;
    assert_eq!(introspected(&test, &tokens.access_token).await["active"], true);
    let refresh = tokens.refresh_token.clone().unwrap();
    // Away, and then back under the same name and address.
    for fleet in [FLEET.replace("notes", "memo"), FLEET.to_owned()] {
        test.apply(&fleet).await.unwrap();
        test.app.catch_up().await;
        assert_eq!(introspected(&test, &tokens.access_token).await["active"], false);
        let refused = error_of(&program.refresh(&test, &refresh).await);
        assert!(["invalid_grant", "invalid_target"].contains(&refused.as_str()), "{refused}");
    }
    let anew = program.tokens(&mut Browser::new(&test, "alice", super::actors::PASSWORD)).await;
    assert_eq!(introspected(&test, &anew.access_token).await["active"], true);
}

#[tokio::test]
async fn scope_01_03_04_05_a_token_carries_what_was_asked_for_exactly_and_may_be_had() {
    let test = TestApp::start().await;
    let ask = async |scope: &str| machine(&test, &[("resource", NOTES), ("scope", scope)]).await;
    let good: Tokens = ask("notes:read").await.json();
    assert_eq!(
        (good.scope.as_str(), &claims(&good.access_token)["scope"]),
        ("notes:read", &"notes:read".into())
    );
    for beyond in [
        "notes:write",
        "ops:read",
        "notes",
        "notes:",
        "notes:rea",
        "notes:reads",
        "NOTES:READ",
        "*",
        "notes:*",
    ] {
        assert_eq!(error_of(&ask(beyond).await), "invalid_scope", "{beyond}");
    }
    let program = Program::native(&test).await;
    let code =
        Browser::of_alice(&test).await.code(&program.asking().with("scope", Some("notes:write"))).await;
    let answer = program.redeem(&test, &code).await;
    assert_eq!(answer.status, StatusCode::OK);
    let one: Tokens = answer.json();
    assert_eq!(one.scope, "notes:write", "one of several, and no other with it");
}
