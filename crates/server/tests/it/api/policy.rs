//! `policy explain` says what the one decision is.

use super::{Operator, assert_problem};
use crate::app::TestApp;
use crate::oauth::actors::{NOTES, as_agent};
use http::StatusCode;
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use serde_json::{Value, json};

async fn explain(operator: &Operator, question: Value) -> Value {
    let answer = operator.json("/api/v1/policy/explain", &question).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn pc_36_an_explanation_names_rule_needs_and_ceiling() {
    let test = TestApp::start().await;
    test.user("alice", "correct horse battery").await;
    test.user("mallory", "correct horse battery").await;
    let operator = Operator::of(&test);
    let ask = |who: &str, name: &str, server: &str, tool: &str| {
        explain(&operator, json!({ who: name, "server": server, "tool": tool }))
    };
    let reads = ask("agent", "ci-bot", "notes", "list_notes").await;
    assert_eq!(reads["allowed"], true);
    assert_eq!(
        (&reads["rule"], &reads["needs"], &reads["ceiling"]),
        (&json!(1), &json!(["notes:read"]), &json!(["notes:read"]))
    );

    let writes = ask("agent", "ci-bot", "notes", "create_note").await;
    assert_eq!((&writes["allowed"], &writes["rule"]), (&json!(false), &json!(2)));
    assert!(writes["says"].as_str().unwrap().contains("notes:write is beyond its access"), "{writes}");

    let unruled = ask("agent", "ci-bot", "notes", "drop_all").await;
    assert_eq!((&unruled["allowed"], &unruled["rule"]), (&json!(false), &json!(null)));
    assert_eq!(ask("agent", "ci-bot", "ops", "uptime").await["allowed"], false);
    assert_eq!(ask("agent", "ci-bot", "ops", "uptime").await["ceiling"], json!([]));

    let alice = ask("user", "alice", "notes", "create_note").await;
    assert_eq!((&alice["allowed"], &alice["ceiling"]), (&json!(true), &json!(["notes:read", "notes:write"])));
    assert_eq!(ask("user", "mallory", "notes", "list_notes").await["allowed"], false, "no role, no scope");
    let prompt =
        explain(&operator, json!({ "user": "alice", "server": "notes", "prompt": "list_notes" })).await;
    assert_eq!(prompt["allowed"], false, "a rule for tools says nothing of prompts");
    for (uri, says) in [("note://a", "no rule"), ("note://a/../b", "can be read in more than one way")] {
        let resource =
            explain(&operator, json!({ "user": "alice", "server": "notes", "resource": uri })).await;
        assert_eq!(resource["allowed"], false);
        assert!(resource["says"].as_str().unwrap().contains(says), "{resource}");
    }
}

#[tokio::test]
async fn adm_15_who_asks_about_somebody_does_not_become_them() {
    let test = TestApp::start().await;
    test.user("alice", "correct horse battery").await;
    let operator = Operator::of(&test);
    let question = json!({ "user": "alice", "server": "notes", "tool": "list_notes" });
    let answer = explain(&operator, question).await;
    assert_eq!(answer["allowed"], true);
    for nothing in ["sessions", "grants", "audit?user=alice"] {
        let list: Value = operator.get(&format!("/api/v1/{nothing}")).await.json();
        let of_alice = list["items"].as_array().unwrap().iter().filter(|item| item["user"] == "alice");
        assert_eq!(of_alice.count(), 0, "{nothing}: {list}");
    }
    // Nor is there a grant by which one token becomes another (RFC 8693).
    let exchange = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "alice"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("resource", NOTES),
    ];
    let refused = as_agent(&test, "ci-bot", "/oauth/token", &exchange).await;
    assert_eq!(refused.json::<Value>()["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn pc_45_a_disabled_user_is_told_apart() {
    let test = TestApp::start().await;
    test.user("alice", "correct horse battery").await;
    let operator = Operator::of(&test);
    let question = json!({ "user": "alice", "server": "notes", "tool": "list_notes" });
    assert_eq!(explain(&operator, question.clone()).await["allowed"], true);
    disable(&test, "alice").await;
    let disabled = explain(&operator, question).await;
    assert_eq!(disabled["allowed"], false);
    assert!(disabled["says"].as_str().unwrap().contains("disabled"), "{disabled}");
}

async fn disable(test: &TestApp, name: &str) {
    let user = test.app.store.read().await.unwrap().reader().user_by_name(name).await.unwrap().unwrap().id;
    let now = test.app.clock.now();
    let write = test.app.store.write(now, user, |user, tx| {
        Box::pin(async move {
            let done = tx.disable_user(*user, tx.now()).await?;
            tx.record(&Event::new(Kind::UserCreated, Outcome::Allowed, Actor::Operator), done).await
        })
    });
    assert!(write.await.unwrap());
}

#[tokio::test]
async fn pc_63_what_is_not_there_is_named() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    for (question, name) in [
        (json!({ "agent": "nobody", "server": "notes", "tool": "a" }), "nobody"),
        (json!({ "user": "no\u{1b}[31m", "server": "notes", "tool": "a" }), "no"),
        (json!({ "agent": "ci-bot", "server": "nowhere", "tool": "a" }), "nowhere"),
    ] {
        let refused = operator.json("/api/v1/policy/explain", &question).await;
        assert_problem(&refused, StatusCode::NOT_FOUND, "missing");
        let detail = refused.json::<Value>()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(name) && !detail.contains('\u{1b}'), "{detail}");
    }
}
