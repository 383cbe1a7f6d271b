//! Everything that there is can be listed, shown and searched (PC-52), and people can be changed (ADM-04, ADM-11).

use super::{Operator, assert_problem};
use crate::app::{Answer, TestApp};
use crate::oauth::actors::{Browser, NOTES, as_agent, is_active};
use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use std::time::Duration;

async fn items(operator: &Operator, path: &str) -> Vec<Value> {
    let answer = operator.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    answer.json::<Value>()["items"].as_array().unwrap().clone()
}

async fn patch(operator: &Operator, name: &str, body: Value) -> Answer {
    let request = Request::patch(format!("/api/v1/users/{name}"));
    let request = request.header(header::CONTENT_TYPE, "application/json");
    operator.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn every_noun_is_listed_and_shown() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let (program, _, tokens) = test.signed_in_alice().await;

    let servers = items(&operator, "/api/v1/servers").await;
    let names: Vec<&Value> = servers.iter().map(|server| &server["name"]).collect();
    assert!(names.contains(&&json!("notes")) && names.contains(&&json!("ops")), "{names:?}");
    let notes: Value = operator.get("/api/v1/servers/notes").await.json();
    assert_eq!((&notes["mode"], &notes["live_sessions"]), (&json!("gateway"), &json!(1)));
    assert_eq!(notes["reached_by"]["agents"]["ci-bot"], "notes:read");
    assert_eq!(notes["scopes"]["notes:read"]["says"], "Read notes");

    let agent: Value = operator.get("/api/v1/agents/ci-bot").await.json();
    assert_eq!(
        (&agent["owner"], &agent["ended"], &agent["live_secrets"]),
        (&json!("platform"), &json!(false), &json!(1))
    );

    let clients = items(&operator, "/api/v1/clients?kind=self_registered").await;
    assert_eq!((clients.len(), &clients[0]["id"]), (1, &json!(program.id)));
    assert_eq!(items(&operator, "/api/v1/clients?kind=agent").await.len(), 2);

    let grants = items(&operator, "/api/v1/grants?user=alice&server=notes").await;
    assert_eq!((grants.len(), &grants[0]["user"]), (1, &json!("alice")));
    let path = format!("/api/v1/grants/{}", grants[0]["id"].as_str().unwrap());
    assert_eq!(operator.get(&path).await.json::<Value>(), grants[0]);
    assert_eq!(items(&operator, "/api/v1/grants?server=ops").await.len(), 0);

    let team: Value = operator.get("/api/v1/roles/team").await.json();
    assert_eq!(team["held_by"], json!(["alice"]), "bob has no account");
    assert!(items(&operator, "/api/v1/roles").await.iter().any(|role| role["name"] == "team"));

    let session: Value = operator.get(&format!("/api/v1/sessions/{}", tokens.session_id)).await.json();
    assert_eq!((&session["user"], &session["state"]), (&json!("alice"), &json!("live")));
    for filter in ["user=alice", "server=notes"] {
        assert_eq!(
            items(&operator, &format!("/api/v1/sessions?{filter}")).await,
            std::slice::from_ref(&session)
        );
    }
    assert_eq!(items(&operator, "/api/v1/sessions?agent=ci-bot").await.len(), 0);

    let alice: Value = operator.get("/api/v1/users/alice").await.json();
    assert_eq!((&alice["live_sessions"], &alice["grants"]), (&json!(1), &json!(1)));
    assert_eq!(alice["roles"], json!(["team"]));
    for missing in [
        "servers/note",
        "agents/ci",
        "clients/cli_none",
        "clients/%20",
        "grants/x",
        "roles/tea",
        "sessions/x",
        "users/bob",
        "users/%00",
    ] {
        let answer = operator.get(&format!("/api/v1/{missing}")).await;
        assert_problem(&answer, StatusCode::NOT_FOUND, "missing");
    }
    for missing in
        ["sessions?agent=ci-bt", "sessions?user=bob", "grants?server=note", "audit?agent=x", "audit?user=bob"]
    {
        let answer = operator.get(&format!("/api/v1/{missing}")).await;
        assert_problem(&answer, StatusCode::NOT_FOUND, "missing");
    }
}

#[tokio::test]
async fn pc_52_the_record_is_searched_by_each_filter() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let (.., tokens) = test.signed_in_alice().await;
    test.advance(Duration::from_mins(1)).await;
    let machine = [("grant_type", "client_credentials"), ("resource", NOTES)];
    let agent: Value = as_agent(&test, "ci-bot", "/oauth/token", &machine).await.json();
    let refused = [("grant_type", "client_credentials"), ("resource", NOTES), ("scope", "notes:write")];
    assert_eq!(as_agent(&test, "ci-bot", "/oauth/token", &refused).await.status, StatusCode::BAD_REQUEST);

    let search = async |query: &str| items(&operator, &format!("/api/v1/audit?{query}")).await;
    let by_agent = search("agent=ci-bot&kind=token.decided").await;
    assert_eq!(by_agent.len(), 2);
    assert_eq!(
        (&by_agent[0]["outcome"], &by_agent[0]["names"]["agent"]),
        (&json!("refused"), &json!("ci-bot"))
    );
    assert!(by_agent[0]["number"].as_u64() > by_agent[1]["number"].as_u64(), "the newest first");
    assert_eq!(search("agent=ci-bot&outcome=refused").await, by_agent[..1]);
    let session = agent["session_id"].as_str().unwrap();
    assert_eq!(search(&format!("session={session}")).await, by_agent[1..]);
    let of_alice = search("user=alice").await;
    assert!(of_alice.iter().all(|record| record["names"]["user"] == "alice") && of_alice.len() >= 3);
    let of_session = search(&format!("session={}&order=oldest", tokens.session_id)).await;
    assert_eq!((of_session.len(), &of_session[0]["kind"]), (1, &json!("token.decided")));
    assert!(search("server=ops").await.is_empty());
    assert!(search("server=notes").await.len() >= 3);
    assert!(!search("actor=operator").await.is_empty() || !search("actor=system").await.is_empty());
    assert_eq!(search("since=2027-01-15T08:01:00Z&kind=token.decided").await, by_agent);
    assert_eq!(search("since=30s&kind=token.decided").await, by_agent);
    assert_eq!(search("until=2027-01-15T08:01:00Z&agent=ci-bot&kind=token.decided").await.len(), 0);
    let last = by_agent[1]["number"].as_u64().unwrap();
    assert_eq!(search(&format!("after={last}&agent=ci-bot")).await, by_agent[..1]);

    let (mut all, mut query) = (Vec::new(), "limit=2&order=oldest".to_owned());
    loop {
        let page: Value = operator.get(&format!("/api/v1/audit?{query}")).await.json();
        all.extend(page["items"].as_array().unwrap().iter().map(|record| record["number"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("limit=2&order=oldest&cursor={next}");
    }
    let mut newest: Vec<u64> =
        search("limit=500").await.iter().map(|record| record["number"].as_u64().unwrap()).collect();
    newest.reverse();
    assert_eq!(all, newest, "no gap, no repetition, in either direction");
    for bad in [
        "kind=token",
        "outcome=maybe",
        "since=yesterday",
        "session=x",
        "order=up",
        "agent=ci-bot&client=cli_1",
        "tool=x",
    ] {
        let answer = operator.get(&format!("/api/v1/audit?{bad}")).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "malformed");
    }
}

#[tokio::test]
async fn adm_11_groups_and_rights_are_changed_and_the_last_administrator_stays() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let (.., tokens) = test.signed_in_alice().await;

    let changed: Value = patch(&operator, "alice", json!({ "groups": ["ops"], "admin": true })).await.json();
    assert_eq!((&changed["groups"], &changed["admin"]), (&json!(["ops"]), &json!(true)));
    assert!(is_active(&test, &tokens.access_token).await, "who gains loses nothing");
    let refused = patch(&operator, "alice", json!({ "admin": false })).await;
    assert_problem(&refused, StatusCode::CONFLICT, "conflict");
    let second = operator.json("/api/v1/users", &json!({ "username": "second", "admin": true })).await;
    assert_eq!(second.status, StatusCode::CREATED);
    // At once: one of them is the last.
    let (one, two) = tokio::join!(
        patch(&operator, "alice", json!({ "admin": false })),
        patch(&operator, "second", json!({ "admin": false })),
    );
    assert!([one.status, two.status].contains(&StatusCode::CONFLICT), "{one:?} {two:?}");
    assert!([one.status, two.status].contains(&StatusCode::OK), "{one:?} {two:?}");
    assert_eq!(patch(&operator, "second", json!({ "admin": true })).await.status, StatusCode::OK);
    let fewer = patch(&operator, "alice", json!({ "groups": [] })).await;
    assert_eq!(fewer.status, StatusCode::OK);
    assert!(!is_active(&test, &tokens.access_token).await, "tokens that name lost roles are refused");

    let disabled = operator.send(Request::delete("/api/v1/users/alice").body(Body::empty()).unwrap()).await;
    assert_eq!(disabled.status, StatusCode::NO_CONTENT);
    let enabled: Value = patch(&operator, "alice", json!({ "disabled": false })).await.json();
    assert_eq!(enabled["disabled"], false);
    let mut again = Browser::new(&test, "alice", crate::oauth::actors::PASSWORD).signed_in().await;
    assert_eq!(again.get("/account").await.status, StatusCode::OK);
    assert!(!is_active(&test, &tokens.access_token).await);
    for bad in [
        json!({}),
        json!({ "disabled": true }),
        json!({ "groups": [""] }),
        json!({ "username": "x" }),
        json!({ "admin": "yes" }),
        json!({ "must_change": false, "admin": true }),
    ] {
        assert_problem(&patch(&operator, "alice", bad).await, StatusCode::BAD_REQUEST, "malformed");
    }
    let nobody = patch(&operator, "alic", json!({ "admin": true })).await;
    assert_problem(&nobody, StatusCode::NOT_FOUND, "missing");
    assert!(nobody.text().contains("did you mean"), "{}", nobody.text());
}
