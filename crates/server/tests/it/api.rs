//! The admin API (PC-34, PC-63): through its router, admitted as the socket's accept loop admits.

mod door;
mod fleet;
mod nouns;
mod once;
mod people;
mod policy;
mod revocations;
mod socket;

use crate::app::{Answer, TestApp};
use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode, header};
use portcullis_server::api;
use serde_json::Value;
use tower::ServiceExt as _;

/// Root, or whoever runs the tests: the accept loop takes both.
const ROOT: u32 = 0;

pub(crate) struct Operator {
    router: Router,
}

impl Operator {
    pub(crate) fn of(test: &TestApp) -> Self {
        Self { router: api::admit(api::router(&test.app), ROOT).unwrap() }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        answer(self.router.clone(), request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn json(&self, path: &str, body: &Value) -> Answer {
        self.send(json(path, body)).await
    }

    pub(crate) async fn toml(&self, path: &str, text: &str, if_match: Option<&str>) -> Answer {
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/toml");
        if let Some(tag) = if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        self.send(request.body(Body::from(text.to_owned())).unwrap()).await
    }
}

fn json(path: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

async fn answer(router: Router, request: Request<Body>) -> Answer {
    let (head, body) = router.oneshot(request).await.unwrap().into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: to_bytes(body, 16 * 1024 * 1024).await.unwrap(),
    }
}

/// problem+json of this kind.
#[track_caller]
pub(crate) fn assert_problem(answer: &Answer, status: StatusCode, kind: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body: Value = answer.json();
    assert_eq!(body["type"], format!("urn:portcullis:problem:{kind}"));
    assert_eq!(body["status"], status.as_u16());
}

#[tokio::test]
async fn adm_01_every_route_refuses_whoever_did_not_come_through_the_socket() {
    let test = TestApp::start().await;
    let bare = api::router(&test.app);
    let before = test.app.store.read().await.unwrap().reader().registry().await.unwrap();
    let addresses = api::addresses();
    assert!(addresses.len() >= 4);
    for (method, path) in addresses {
        for content_type in ["application/json", "application/toml"] {
            let request = Request::builder().method(method).uri(path.replace(['{', '}'], ""));
            let request = request
                .header(header::CONTENT_TYPE, content_type)
                .header(header::AUTHORIZATION, "Bearer x")
                .header("x-uid", "0")
                .body(Body::from("{}"))
                .unwrap();
            let answer = answer(bare.clone(), request).await;
            assert_problem(&answer, StatusCode::UNAUTHORIZED, "no_operator");
        }
    }
    let after = test.app.store.read().await.unwrap().reader().registry().await.unwrap();
    assert_eq!(after, before);
}

#[tokio::test]
async fn adm_01_another_user_is_no_operator() {
    let test = TestApp::start().await;
    // Nobody's id, whoever runs the tests.
    assert!(api::admit(api::router(&test.app), u32::MAX - 1).is_none());
    assert!(api::admit(api::router(&test.app), ROOT).is_some());
}

#[tokio::test]
async fn pc_63_bodies_that_cannot_be_read_are_refused_in_words() {
    let test = TestApp::start().await;
    let operator = Operator::of(&test);
    let path = "/api/v1/policy/explain";
    let good = r#"{"agent":"ci-bot","server":"notes","tool":"list_notes"}"#;
    let send = async |content_type: &str, body: &str| {
        let request = Request::post(path).header(header::CONTENT_TYPE, content_type);
        operator.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    assert_eq!(send("application/json", good).await.status, StatusCode::OK);
    let unsupported = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    assert_problem(&send("text/plain", good).await, unsupported, "media_type");
    for bad in [
        "",
        "{",
        "[]",
        r#"{"agent":"a","agent":"ci-bot","server":"notes","tool":"list_notes"}"#,
        r#"{"agent":"ci-bot","server":"notes","tool":"list_notes","admin":true}"#,
        r#"{"agent":"ci-bot","user":"alice","server":"notes","tool":"list_notes"}"#,
        r#"{"agent":"ci-bot","server":"notes","tool":"a","prompt":"b"}"#,
        r#"{"agent":"ci-bot","server":"notes"}"#,
        r#"{"server":"notes","tool":"a"}"#,
    ] {
        assert_problem(&send("application/json", bad).await, StatusCode::BAD_REQUEST, "malformed");
    }
    assert_problem(&operator.get("/api/v1/nothing").await, StatusCode::NOT_FOUND, "missing");
    assert_problem(&operator.get(path).await, StatusCode::METHOD_NOT_ALLOWED, "method");
}
