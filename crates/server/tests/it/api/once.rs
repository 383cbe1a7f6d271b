//! Changes under an `Idempotency-Key`, entity tags, and `If-Match`.

use super::{Operator, assert_problem};
use crate::app::{Answer, FLEET, TestApp};
use axum::body::Body;
use http::{Request, StatusCode, header};
use portcullis_domain::audit::Kind;
use portcullis_server::api;
use serde_json::{Value, json};
use std::time::Duration;

const USERS: &str = "/api/v1/users";

/// With these headers besides.
async fn send(operator: &Operator, what: (&str, &str), headers: &[(&str, &str)], body: &Value) -> Answer {
    let (method, path) = what;
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    operator.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn keyed(operator: &Operator, path: &str, key: &str, body: &Value) -> Answer {
    send(operator, ("POST", path), &[("idempotency-key", key)], body).await
}

async fn count(test: &TestApp, kind: Kind) -> usize {
    let mut handle = test.app.store.read().await.unwrap();
    let all = handle.reader().audit_after(0, 10_000).await.unwrap();
    all.iter().filter(|(_, _, event)| event.kind == kind).count()
}

#[track_caller]
fn assert_same(one: &Answer, other: &Answer) {
    assert_eq!((one.status, &one.body), (other.status, &other.body));
    for name in ["content-type", "cache-control"] {
        assert_eq!(one.header(name), other.header(name), "{name}");
    }
}

#[tokio::test]
async fn pc_61_a_user_is_added_once_under_a_key_and_the_password_is_told_again() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let dana = json!({ "username": "dana" });
    let first = keyed(&operator, USERS, "k1", &dana).await;
    assert_eq!((first.status, first.header("cache-control")), (StatusCode::CREATED, Some("no-store")));
    assert_same(&keyed(&operator, USERS, "k1", &dana).await, &first);
    assert_same(&keyed(&operator, USERS, "\"k1\"", &dana).await, &first);
    assert_eq!(count(&test, Kind::UserCreated).await, 1);
    // Without a key, or with another one, it is another request.
    assert_problem(&operator.json(USERS, &dana).await, StatusCode::CONFLICT, "conflict");
    assert_problem(&keyed(&operator, USERS, "k2", &dana).await, StatusCode::CONFLICT, "conflict");
}

#[tokio::test]
async fn pc_61_a_key_is_for_one_request() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    assert_eq!(
        keyed(&operator, USERS, "k", &json!({ "username": "dana" })).await.status,
        StatusCode::CREATED
    );
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    let other = keyed(&operator, USERS, "k", &json!({ "username": "erin" })).await;
    assert_problem(&other, unprocessable, "key_of_another");
    let other = keyed(&operator, "/api/v1/users/dana/password", "k", &json!({ "username": "dana" })).await;
    assert_problem(&other, unprocessable, "key_of_another");
    for bad in ["", "a b", "\"a", "a\\b"] {
        let answer = keyed(&operator, USERS, bad, &json!({ "username": "erin" })).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "malformed");
    }
    assert_eq!(operator.get("/api/v1/users/erin").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn adm_02_the_key_of_another_operator_is_another_key() {
    let test = TestApp::start().await;
    let [root, other] =
        [0, rustix_uid()].map(|uid| Operator { router: api::admit(api::router(&test.app), uid).unwrap() });
    let first = keyed(&root, "/api/v1/users/alice/password", "k", &json!({})).await;
    assert_problem(&first, StatusCode::NOT_FOUND, "missing");
    test.user("alice", "correct horse battery").await;
    let first = keyed(&root, "/api/v1/users/alice/password", "k", &json!({})).await;
    assert_eq!(first.status, StatusCode::OK);
    let again = keyed(&other, "/api/v1/users/alice/password", "k", &json!({})).await;
    assert_eq!(again.status, StatusCode::OK);
    // Whoever runs the tests may be root.
    assert_eq!(again.body == first.body, rustix_uid() == 0);
}

fn rustix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid()
}

#[tokio::test]
async fn pc_61_two_at_once_under_a_key_do_it_once() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let dana = json!({ "username": "dana" });
    let all = futures_util::future::join_all((0..4).map(|_| keyed(&operator, USERS, "k", &dana))).await;
    for answer in &all {
        assert_same(answer, &all[0]);
    }
    assert_eq!(all[0].status, StatusCode::CREATED);
    assert_eq!(count(&test, Kind::UserCreated).await, 1);

    let rotate = "/api/v1/agents/ci-bot/rotate";
    let wish = json!({});
    let all = futures_util::future::join_all((0..4).map(|_| keyed(&operator, rotate, "r", &wish))).await;
    for answer in &all {
        assert_same(answer, &all[0]);
    }
    assert_eq!(all[0].status, StatusCode::OK, "{}", all[0].text());
    let agent: Value = operator.get("/api/v1/agents/ci-bot").await.json();
    assert_eq!(agent["live_secrets"], 2, "the old one and one new one");
}

#[tokio::test]
async fn pc_61_what_changed_nothing_is_tried_again_and_what_ended_is_told_again() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let body = json!({ "kind": "user", "id": "dana" });
    let nobody = keyed(&operator, "/api/v1/revocations", "k", &body).await;
    assert_problem(&nobody, StatusCode::NOT_FOUND, "missing");
    assert_eq!(operator.json(USERS, &json!({ "username": "dana" })).await.status, StatusCode::CREATED);
    let ended = keyed(&operator, "/api/v1/revocations", "k", &body).await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text());
    let recorded = count(&test, Kind::TokenRevoked).await;
    assert_same(&keyed(&operator, "/api/v1/revocations", "k", &body).await, &ended);
    assert_eq!(count(&test, Kind::TokenRevoked).await, recorded);
}

#[tokio::test]
async fn pc_34_a_late_repeat_of_an_apply_does_not_undo_what_came_after() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let here = |text: &str| text.replace("@DATA@", &test.folder.path().display().to_string());
    let apply = async |text: String, key: &str| {
        let request = Request::post("/api/v1/fleet/apply")
            .header(header::CONTENT_TYPE, "application/toml")
            .header("idempotency-key", key);
        operator.send(request.body(Body::from(text)).unwrap()).await
    };
    // The same as there is, and another.
    for (key, fleet) in [("same", FLEET.to_owned()), ("other", FLEET.replace("Team notes", "Mine"))] {
        let first = apply(here(&fleet), key).await;
        assert_eq!(first.status, StatusCode::OK, "{}", first.text());
        test.apply(&FLEET.replace("Team notes", "Theirs")).await.unwrap();
        assert_same(&apply(here(&fleet), key).await, &first);
        let export = operator.get("/api/v1/fleet").await;
        assert!(export.text().contains("Theirs"), "{key}");
    }
}

#[tokio::test]
async fn pc_44_a_kept_answer_is_sealed_lasts_a_day_and_outlives_a_restart() {
    let test = TestApp::start().await;
    let dana = json!({ "username": "dana" });
    let first = keyed(&Operator::of(&test), USERS, "k", &dana).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let (database, folder) = test.end().await;
    let test = TestApp::open("registration.dynamic = true", database, folder).await;
    test.advance(Duration::from_hours(23)).await;
    assert_same(&keyed(&Operator::of(&test), USERS, "k", &dana).await, &first);
    if !test.database.is_postgres() {
        let path = test.database.url().strip_prefix("sqlite:").unwrap().to_owned();
        let password = first.json::<Value>()["password"].as_str().unwrap().to_owned();
        for name in [path.clone(), format!("{path}-wal")] {
            let bytes = std::fs::read(name).unwrap_or_default();
            let is_there = bytes.windows(password.len()).any(|part| part == password.as_bytes());
            assert!(!is_there, "a password stands in the database");
        }
    }
}

#[tokio::test]
async fn pc_63_every_single_thing_has_a_tag_that_changes_with_it() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    operator.json(USERS, &json!({ "username": "dana" })).await;
    let clients: Value = operator.get("/api/v1/clients").await.json();
    let client = format!("/api/v1/clients/{}", clients["items"][0]["id"].as_str().unwrap());
    for path in [
        "/api/v1/users/dana",
        "/api/v1/agents/ci-bot",
        "/api/v1/servers/notes",
        "/api/v1/roles/team",
        &client,
    ] {
        let (one, other) = (operator.get(path).await, operator.get(path).await);
        assert!(one.header("etag").is_some_and(|tag| tag.starts_with('"')), "{path}");
        assert_eq!(one.header("etag"), other.header("etag"), "{path}");
    }
    let before = operator.get("/api/v1/users/dana").await;
    let edit = json!({ "groups": ["ops"] });
    let path = ("PATCH", "/api/v1/users/dana");
    assert_eq!(send(&operator, path, &[], &edit).await.status, StatusCode::OK);
    let after = operator.get("/api/v1/users/dana").await;
    assert_ne!(before.header("etag"), after.header("etag"));
}

#[tokio::test]
async fn pc_63_a_change_of_what_was_looked_at_or_none() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    operator.json(USERS, &json!({ "username": "dana" })).await;
    let clients: Value = operator.get("/api/v1/clients").await.json();
    let client = format!("/api/v1/clients/{}", clients["items"][0]["id"].as_str().unwrap());
    let tag = async |path: &str| operator.get(path).await.header("etag").unwrap().to_owned();
    let dana = "/api/v1/users/dana";
    let failed = StatusCode::PRECONDITION_FAILED;
    for (what, body) in [
        (("PATCH", dana), json!({ "groups": ["x"] })),
        (("POST", "/api/v1/users/dana/password"), json!({})),
        (("DELETE", dana), json!({})),
        (("POST", "/api/v1/agents/ci-bot/rotate"), json!({})),
        (("POST", "/api/v1/servers/notes/approve"), json!({ "digests": {} })),
    ] {
        let before = tag(dana).await;
        for wrong in ["\"x\"", "", "W/\"x\"", &format!("W/{before}"), "*, *"] {
            let answer = send(&operator, what, &[("if-match", wrong)], &body).await;
            assert_problem(&answer, failed, "changed");
        }
        assert_eq!(tag(dana).await, before, "nothing was changed");
    }
    // Those of the fleet file say so first, and a thing that is not there is not there.
    let answer = send(&operator, ("DELETE", &client), &[("if-match", "\"x\"")], &json!({})).await;
    assert_problem(&answer, StatusCode::CONFLICT, "conflict");
    let answer = send(&operator, ("DELETE", "/api/v1/users/nobody"), &[("if-match", "*")], &json!({})).await;
    assert_problem(&answer, StatusCode::NOT_FOUND, "missing");

    let good = tag("/api/v1/agents/ci-bot").await;
    let rotate = ("POST", "/api/v1/agents/ci-bot/rotate");
    let rotated = send(&operator, rotate, &[("if-match", &good)], &json!({})).await;
    assert_eq!(rotated.status, StatusCode::OK);
    let again = send(&operator, rotate, &[("if-match", &good)], &json!({})).await;
    assert_problem(&again, failed, "changed");
    // Of two at once that mean the same, both of which looked before either wrote, one is done.
    let good = tag("/api/v1/agents/ci-bot").await;
    let one = async || send(&operator, rotate, &[("if-match", &good)], &json!({})).await.status;
    let (first, second) = tokio::join!(one(), one());
    let mut both = [first, second];
    both.sort();
    assert_eq!(both, [StatusCode::OK, failed]);
    let list = format!("\"x\", {}", tag(dana).await);
    let done = send(&operator, ("PATCH", dana), &[("if-match", &list)], &json!({ "groups": ["x"] })).await;
    assert_eq!(done.status, StatusCode::OK);
    let done = send(&operator, ("DELETE", dana), &[("if-match", "*")], &json!({})).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn pc_63_the_document_names_the_headers() {
    let test = TestApp::start().await;
    let document: Value = Operator::of(&test).get("/api/openapi.json").await.json();
    let takes = |path: &str, method: &str, header: &str| {
        let parameters = document["paths"][path][method]["parameters"].as_array().cloned();
        parameters.unwrap_or_default().iter().any(|parameter| parameter["name"] == header)
    };
    assert!(takes("/api/v1/users", "post", "Idempotency-Key"));
    assert!(takes("/api/v1/fleet/apply", "post", "Idempotency-Key"));
    assert!(takes("/api/v1/fleet/apply", "post", "If-Match"));
    assert!(takes("/api/v1/users/{name}", "patch", "If-Match"));
    assert!(!takes("/api/v1/fleet/plan", "post", "Idempotency-Key"));
    let shown = &document["paths"]["/api/v1/users/{name}"]["get"]["responses"]["200"];
    assert!(shown["headers"]["ETag"].is_object());
}
