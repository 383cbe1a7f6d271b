//! Users, agents and sessions.

use super::{Operator, assert_problem};
use crate::app::{Answer, FLEET, TestApp, form};
use crate::oauth::actors::{Browser, NOTES, basic, is_active};
use axum::body::Body;
use http::{Request, StatusCode, header};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use serde_json::{Value, json};
use std::time::Duration;

const USERS: &str = "/api/v1/users";

async fn delete(operator: &Operator, path: &str) -> Answer {
    operator.send(Request::delete(path).body(Body::empty()).unwrap()).await
}

/// Adds somebody; the password.
async fn add(operator: &Operator, body: Value) -> String {
    let answer = operator.json(USERS, &body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json::<Value>()["password"].as_str().unwrap().to_owned()
}

async fn last_event(test: &TestApp) -> Event {
    let mut handle = test.app.store.read().await.unwrap();
    handle.reader().audit_after(0, 10_000).await.unwrap().pop().unwrap().2
}

#[tokio::test]
async fn pc_51_a_user_is_added_signs_in_and_must_choose_a_password() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let password = add(&operator, json!({ "username": "dana@example.com", "groups": ["ops"] })).await;
    let event = last_event(&test).await;
    assert_eq!(
        (event.kind, event.outcome, event.actor),
        (Kind::UserCreated, Outcome::Allowed, Actor::Operator)
    );
    assert_eq!((event.detail["uid"].as_str(), event.detail["user.name"].as_str()), ("0", "dana@example.com"));
    let listed: Value = operator.get(USERS).await.json();
    let dana = json!({
        "name": "dana@example.com", "groups": ["ops"], "admin": false, "disabled": false, "must_change": true,
        "password_ends_at": "2027-01-19T08:00:00Z",
    });
    assert_eq!(listed, json!({ "items": [dana] }));

    let mut browser = Browser::new(&test, "dana@example.com", &password).signed_in().await;
    assert!(browser.get("/account").await.text().contains("new_password"));
}

#[tokio::test]
async fn adm_04_bad_users_are_refused_and_nobody_is_added() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let long = "x".repeat(129);
    for bad in [
        json!({}),
        json!({ "username": "" }),
        json!({ "username": long }),
        json!({ "username": ".." }),
        json!({ "username": "a b" }),
        json!({ "username": "a/b" }),
        json!({ "username": "a\u{1b}[2J" }),
        json!({ "username": "\u{430}lice" }),
        json!({ "username": "a", "groups": "ops" }),
        json!({ "username": "a", "groups": [""] }),
        json!({ "username": "a", "groups": ["o\nps"] }),
        json!({ "username": "a", "groups": [" ops"] }),
        json!({ "username": "a", "groups": vec!["g"; 65] }),
        json!({ "username": "a", "disabled": false }),
        json!({ "username": "a", "id": "usr_1" }),
    ] {
        assert_problem(&operator.json(USERS, &bad).await, StatusCode::BAD_REQUEST, "malformed");
    }
    assert_eq!(operator.get(USERS).await.json::<Value>(), json!({ "items": [] }));
    add(&operator, json!({ "username": "a" })).await;
    assert_problem(
        &operator.json(USERS, &json!({ "username": "a" })).await,
        StatusCode::CONFLICT,
        "conflict",
    );
    assert_eq!(last_event(&test).await.outcome, Outcome::Refused("name_taken".to_owned()));
}

#[tokio::test]
async fn pc_45_a_new_password_ends_what_the_old_one_opened() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let (program, mut browser, tokens) = test.signed_in_alice().await;
    let unused = browser.code(&program.asking()).await;
    assert!(is_active(&test, &tokens.access_token).await);

    test.advance(Duration::from_secs(1)).await;
    let answer = operator.json("/api/v1/users/alice/password", &json!({})).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, Some("no-store")));
    let password = answer.json::<Value>()["password"].as_str().unwrap().to_owned();
    assert_eq!(last_event(&test).await.kind, Kind::PasswordSet);

    assert!(!is_active(&test, &tokens.access_token).await);
    let refreshed = program.refresh(&test, &tokens.refresh_token.unwrap()).await;
    assert_eq!(refreshed.status, StatusCode::BAD_REQUEST);
    assert_eq!(program.redeem(&test, &unused).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER, "signed out");
    let mut again = Browser::new(&test, "alice", &password).signed_in().await;
    assert!(again.get("/account").await.text().contains("new_password"));
    let missing = operator.json("/api/v1/users/nobody/password", &json!({})).await;
    assert_problem(&missing, StatusCode::NOT_FOUND, "missing");
}

#[tokio::test]
async fn adm_06_11_a_disabled_user_stays_so_and_the_last_administrator_is_not_one() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let (.., tokens) = test.signed_in_alice().await;
    assert_eq!(delete(&operator, "/api/v1/users/alice").await.status, StatusCode::NO_CONTENT);
    assert_eq!(last_event(&test).await.kind, Kind::UserDisabled);
    assert!(!is_active(&test, &tokens.access_token).await);
    assert_problem(&delete(&operator, "/api/v1/users/alice").await, StatusCode::CONFLICT, "conflict");
    let reset = operator.json("/api/v1/users/alice/password", &json!({})).await;
    assert_problem(&reset, StatusCode::CONFLICT, "conflict");
    let again = operator.json(USERS, &json!({ "username": "alice" })).await;
    assert_problem(&again, StatusCode::CONFLICT, "conflict");

    for name in ["one", "two"] {
        add(&operator, json!({ "username": name, "admin": true })).await;
    }
    // At once: one of them is the last.
    let (one, two) =
        tokio::join!(delete(&operator, "/api/v1/users/one"), delete(&operator, "/api/v1/users/two"));
    let refused = if one.status == StatusCode::NO_CONTENT { two } else { one };
    assert_problem(&refused, StatusCode::CONFLICT, "conflict");
    let listed: Value = operator.get(USERS).await.json();
    let users = listed["items"].as_array().unwrap();
    assert_eq!(users.iter().filter(|user| user["admin"] == true && user["disabled"] == false).count(), 1);
    let missing = delete(&operator, "/api/v1/users/%FF").await;
    assert_problem(&missing, StatusCode::BAD_REQUEST, "malformed");
    assert_problem(&delete(&operator, "/api/v1/users/%00").await, StatusCode::NOT_FOUND, "missing");
}

/// A token with this secret, or the refusal.
async fn token(test: &TestApp, id: &str, secret: &str) -> Answer {
    let mut request = form("/oauth/token", &[("grant_type", "client_credentials"), ("resource", NOTES)]);
    request.headers_mut().insert(header::AUTHORIZATION, basic(id, secret).parse().unwrap());
    test.send(request).await
}

#[tokio::test]
async fn pc_14_a_rotated_agent_has_both_secrets_for_a_while() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let old = test.credentials("ci-bot");
    let answer = operator.json("/api/v1/agents/ci-bot/rotate", &json!({ "overlap_seconds": 60 })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(!answer.text().contains("pcs_"), "it is in the file");
    let event = last_event(&test).await;
    assert_eq!((event.kind, event.detail["agent"].as_str()), (Kind::SecretCreated, "ci-bot"));
    let new = test.credentials("ci-bot");
    assert_ne!(old.client_secret, new.client_secret);
    let id = &old.client_id;
    for secret in [&old.client_secret, &new.client_secret] {
        assert_eq!(token(&test, id, secret).await.status, StatusCode::OK);
    }
    let listed: Value = operator.get("/api/v1/agents").await.json();
    assert_eq!(listed["items"][0]["live_secrets"], 2);
    test.advance(Duration::from_mins(1)).await;
    assert_eq!(token(&test, id, &old.client_secret).await.status, StatusCode::UNAUTHORIZED);
    let kept: Value = token(&test, id, &new.client_secret).await.json();

    // A leaked one: now, and with it what it got.
    let answer = operator.json("/api/v1/agents/ci-bot/rotate", &json!({ "overlap_seconds": 0 })).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(token(&test, id, &new.client_secret).await.status, StatusCode::UNAUTHORIZED);
    assert!(!is_active(&test, kept["access_token"].as_str().unwrap()).await);
    test.advance(Duration::from_secs(1)).await;
    let newest = test.credentials("ci-bot").client_secret;
    let issued: Value = token(&test, id, &newest).await.json();
    assert!(is_active(&test, issued["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn pc_14_a_secret_without_a_place_is_shown_once_and_a_bad_place_changes_nothing() {
    let fleet = FLEET.replace("credential = { secret = { deliver = \"file:@DATA@/ci-bot.json\" } }\n", "");
    let test = TestApp::start_with("", &fleet).await;
    let operator = Operator::of(&test);
    let answer = operator.json("/api/v1/agents/ci-bot/rotate", &json!({})).await;
    let body: Value = answer.json();
    assert_eq!((answer.status, &body["overlap_seconds"]), (StatusCode::OK, &json!(86400)));
    let (id, secret) = (body["client_id"].as_str().unwrap(), body["client_secret"].as_str().unwrap());
    assert_eq!(token(&test, id, secret).await.status, StatusCode::OK);

    for (path, bad, status, kind) in [
        ("nobody", json!({}), StatusCode::NOT_FOUND, "missing"),
        ("ci-bot", json!({ "overlap_seconds": 2_592_001 }), StatusCode::BAD_REQUEST, "malformed"),
        ("ci-bot", json!({ "overlap_seconds": -1 }), StatusCode::BAD_REQUEST, "malformed"),
        ("ci-bot", json!({ "overlap": 1 }), StatusCode::BAD_REQUEST, "malformed"),
    ] {
        let answer = operator.json(&format!("/api/v1/agents/{path}/rotate"), &bad).await;
        assert_problem(&answer, status, kind);
    }
    let file = test.file("inspector");
    let held = test.credentials("inspector");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let answer = operator.json("/api/v1/agents/inspector/rotate", &json!({ "overlap_seconds": 0 })).await;
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "undeliverable");
    let still = token(&test, &held.client_id, &held.client_secret).await;
    assert_ne!(still.status, StatusCode::UNAUTHORIZED, "its secret is as good as before");
}

const CLIENTS: &str = r#"
[[client]]
name = "web"
title = "Web"
owner = "platform"
redirect_uris = ["https://web.example.com/cb"]
auth = "secret"
credential = { secret = { deliver = "file:@DATA@/web.json" } }
access = { notes = ["notes:read"] }

[[client]]
name = "desktop"
title = "Desktop"
owner = "platform"
redirect_uris = ["http://127.0.0.1/cb"]
access = { notes = ["notes:read"] }
"#;

/// The error of the token endpoint for a code that is none: who proves himself learns of the code.
async fn error_with(test: &TestApp, id: &str, secret: &str) -> String {
    let pairs = [
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("redirect_uri", "https://web.example.com/cb"),
        ("code_verifier", "0123456789012345678901234567890123456789012345"),
    ];
    let mut request = form("/oauth/token", &pairs);
    request.headers_mut().insert(header::AUTHORIZATION, basic(id, secret).parse().unwrap());
    test.send(request).await.json::<Value>()["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn pc_14_a_registered_client_gets_another_secret_and_a_public_one_none() {
    let test = TestApp::start_with("", &format!("{FLEET}{CLIENTS}")).await;
    let operator = Operator::of(&test);
    let rotate =
        async |path: &str, body: Value| operator.json(&format!("/api/v1/clients/{path}/rotate"), &body).await;
    let delivered = |answer: &Answer| {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(!answer.text().contains("pcs_"), "it is in the file");
        let body: Value = answer.json();
        assert_eq!((body["client"].as_str(), body.get("agent")), (Some("web"), None));
        test.credentials("web").client_secret
    };
    let id = test.credentials("web").client_id;
    let first = delivered(&rotate("web", json!({})).await);
    let event = last_event(&test).await;
    assert_eq!((event.kind, event.detail["client"].as_str()), (Kind::SecretCreated, "web"));
    let second = delivered(&rotate(&id, json!({ "overlap_seconds": 60 })).await);
    for secret in [&first, &second] {
        assert_eq!(error_with(&test, &id, secret).await, "invalid_grant");
    }
    test.advance(Duration::from_mins(1)).await;
    assert_eq!(error_with(&test, &id, &first).await, "invalid_client");
    let third = delivered(&rotate("web", json!({ "overlap_seconds": 0 })).await);
    assert_eq!(error_with(&test, &id, &second).await, "invalid_client");
    assert_eq!(error_with(&test, &id, &third).await, "invalid_grant");

    assert_problem(&rotate("desktop", json!({})).await, StatusCode::CONFLICT, "conflict");
    let agent = test.credentials("ci-bot").client_id;
    for nobody in ["wbe", "ci-bot", &agent] {
        assert_problem(&rotate(nobody, json!({})).await, StatusCode::NOT_FOUND, "missing");
    }
    let long = json!({ "overlap_seconds": 2_592_001 });
    assert_problem(&rotate("web", long).await, StatusCode::BAD_REQUEST, "malformed");
    assert_eq!(error_with(&test, &id, &third).await, "invalid_grant", "as good as before");
}

#[tokio::test]
async fn pc_45_sessions_are_listed_in_pages_and_a_revoked_one_is_over() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let agent = test.credentials("ci-bot");
    let mut issued: Vec<Value> = Vec::new();
    for _ in 0..3 {
        issued.push(token(&test, &agent.client_id, &agent.client_secret).await.json());
        test.advance(Duration::from_secs(1)).await;
    }
    let first: Value = operator.get("/api/v1/sessions?limit=2").await.json();
    let sessions = first["items"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0]["id"], issued[2]["session_id"], "the newest first");
    assert_eq!((&sessions[0]["agent"], &sessions[0]["server"]), (&json!("ci-bot"), &json!("notes")));
    assert_eq!(sessions[0]["scopes"], json!(["notes:read"]));
    assert_eq!(sessions[0]["started"], "2027-01-15T08:00:02Z");
    let after = format!("/api/v1/sessions?limit=2&cursor={}", first["next"].as_str().unwrap());
    let second: Value = operator.get(&after).await.json();
    assert_eq!(second["items"][0]["id"], issued[0]["session_id"]);
    assert_eq!((second["items"].as_array().unwrap().len(), second.get("next")), (1, None));
    for bad in ["limit=0", "limit=501", "limit=x", "cursor=x", "after=x", "owner=x"] {
        let answer = operator.get(&format!("/api/v1/sessions?{bad}")).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "malformed");
    }

    let access = issued[0]["access_token"].as_str().unwrap();
    assert!(is_active(&test, access).await);
    let path = format!("/api/v1/sessions/{}", issued[0]["session_id"].as_str().unwrap());
    assert_eq!(delete(&operator, &path).await.status, StatusCode::NO_CONTENT);
    let event = last_event(&test).await;
    assert_eq!(
        (event.kind, event.session.map(|id| id.to_string())),
        (Kind::TokenRevoked, issued[0]["session_id"].as_str().map(str::to_owned))
    );
    assert!(!is_active(&test, access).await);
    assert!(is_active(&test, issued[1]["access_token"].as_str().unwrap()).await, "and no other");
    for missing in [path.as_str(), "/api/v1/sessions/x"] {
        assert_problem(&delete(&operator, missing).await, StatusCode::NOT_FOUND, "missing");
    }
    let left: Value = operator.get("/api/v1/sessions").await.json();
    assert_eq!(left["items"].as_array().unwrap().len(), 2);
}
