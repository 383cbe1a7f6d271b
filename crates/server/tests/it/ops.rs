//! Health, readiness and metrics (PC-54).

use crate::app::{Answer, START, TestApp, config_at};
use crate::oauth::actors::{NOTES, basic};
use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode, header};
use portcullis_server::app::App;
use portcullis_server::clock::Clock;
use portcullis_server::config::Ops;
use portcullis_server::entropy::Entropy;
use portcullis_server::listener::BindError;
use portcullis_server::ops;
use portcullis_store::testing::TestDatabase;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt as _;

async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, 16 * 1024 * 1024).await.unwrap();
    Answer { status: head.status, headers: head.headers, body }
}

async fn ops(test: &TestApp, path: &str) -> Answer {
    let request = Request::get(path).header("host", "127.0.0.1:9464").body(Body::empty()).unwrap();
    ask(&ops::router(&test.app), request).await
}

#[tokio::test]
async fn pc_54_ready_says_why_not() {
    let test = TestApp::start().await;
    assert_eq!(ops(&test, "/healthz").await.status, StatusCode::OK);
    let ready = ops(&test, "/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    let said: Value = ready.json();
    assert_eq!(said["ready"], true);
    assert_eq!(said["reasons"], json!([]));
    assert_eq!((&said["feed_age_seconds"], &said["signing_keys"]), (&json!(0), &json!(1)));

    test.app.clock.advance(Duration::from_mins(1));
    let stale = ops(&test, "/readyz").await;
    assert_eq!(stale.status, StatusCode::SERVICE_UNAVAILABLE);
    let said: Value = stale.json();
    assert_eq!(said["reasons"], json!(["the gateway waits for news; until then it refuses calls"]));
    assert_eq!(said["feed_age_seconds"], 60);

    test.app.catch_up().await;
    assert_eq!(ops(&test, "/readyz").await.status, StatusCode::OK, "again");
    test.app.store.close().await;
    let gone = ops(&test, "/readyz").await;
    assert_eq!(gone.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(gone.json::<Value>()["reasons"], json!(["the database does not answer"]));
    assert_eq!(ops(&test, "/healthz").await.status, StatusCode::OK, "alive, so nobody restarts it for that");
}

#[tokio::test]
async fn pc_54_a_full_record_of_calls_is_not_ready() {
    let (database, folder) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
    std::fs::create_dir(folder.path().join("spool")).unwrap();
    std::fs::write(folder.path().join("spool/0000000001.jsonl"), vec![b'\n'; 1024 * 1024]).unwrap();
    let config = config_at("audit.spool_bytes = 1048576", &database, folder.path());
    let app = App::open(config, Clock::fixed(START), Entropy::insecure_seeded(1)).await.unwrap();
    let request = Request::get("/readyz").header("host", "localhost:9464").body(Body::empty()).unwrap();
    let full = ask(&ops::router(&app), request).await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE);
    let said: Value = full.json();
    assert_eq!(said["reasons"], json!(["the record of calls is full; calls are refused"]));
    assert_eq!(said["spool_limit_bytes"], 1_048_576);
}

async fn call(test: &TestApp, token: Option<&str>, tool: &str) -> StatusCode {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
    let mut request = Request::post("/mcp/notes")
        .header(header::CONTENT_TYPE, "application/json")
        .header("mcp-protocol-version", "2025-11-25")
        .body(Body::from(body.to_string()))
        .unwrap();
    if let Some(token) = token {
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    }
    test.send(request).await.status
}

async fn token_for(test: &TestApp, secret: &str) -> Answer {
    let id = test.credentials("ci-bot").client_id;
    let fields = [("grant_type", "client_credentials"), ("resource", NOTES)];
    let mut request = crate::app::form("/oauth/token", &fields);
    request.headers_mut().insert(header::AUTHORIZATION, basic(&id, secret).parse().unwrap());
    test.send(request).await
}

#[tokio::test]
async fn pc_54_metrics_count_what_happened_and_name_nobody() {
    let test = TestApp::start().await;
    let secret = test.credentials("ci-bot").client_secret;
    let answer = token_for(&test, &secret).await;
    assert_eq!(answer.status, StatusCode::OK);
    let token = answer.json::<Value>()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(token_for(&test, "wrong").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(call(&test, None, "list_notes").await, StatusCode::UNAUTHORIZED);
    assert_eq!(call(&test, Some(&token), "create_note").await, StatusCode::FORBIDDEN);
    assert_eq!(call(&test, Some(&token), "list_notes").await, StatusCode::BAD_GATEWAY);

    let page = ops(&test, "/metrics").await;
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let metrics = page.text();
    for line in [
        "portcullis_token_requests_total{grant=\"client_credentials\",outcome=\"issued\"} 1",
        "portcullis_token_requests_total{grant=\"client_credentials\",outcome=\"client_authentication\"} 1",
        "portcullis_http_requests_total{endpoint=\"token\",status=\"2xx\"} 1",
        "portcullis_http_requests_total{endpoint=\"token\",status=\"4xx\"} 1",
        "portcullis_http_requests_total{endpoint=\"gateway\",status=\"5xx\"} 1",
        "portcullis_gateway_strangers_refused_total{reason=\"no_token\",server=\"notes\"} 1",
        "portcullis_gateway_calls_total{server=\"notes\",outcome=\"upstream_unreachable\"} 1",
        "portcullis_gateway_decision_seconds_count{server=\"notes\"} 1",
        "portcullis_gateway_upstream_seconds_bucket{server=\"notes\",le=\"+Inf\"} 1",
        "portcullis_gateway_upstream_resting{server=\"notes\"} 0",
        "portcullis_gateway_calls_under_way 0",
        "portcullis_gateway_fresh 1",
        "portcullis_spool_limit_bytes 1073741824",
        "portcullis_build_info{version=\"0.1.0\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    let refused =
        metrics.lines().find(|line| line.contains("server=\"notes\"") && line.contains("beyond_agent"));
    assert!(refused.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    for private in [secret.as_str(), token.as_str(), "ci-bot", "list_notes", "create_note", "wrong"] {
        assert!(!metrics.contains(private), "a metric tells who did what");
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn pc_54_strangers_cannot_make_labels() {
    let test = TestApp::start().await;
    let lines = async || ops(&test, "/metrics").await.text().lines().count();
    call(&test, None, "x").await;
    test.get("/mcp/a0").await;
    test.post("/oauth/token", &[("grant_type", "a0")]).await;
    test.get("/a0").await;
    let before = lines().await;
    for n in 1..20 {
        test.get(&format!("/mcp/a{n}")).await;
        test.post("/oauth/token", &[("grant_type", &format!("a{n}"))]).await;
        test.get(&format!("/a{n}?x=y")).await;
    }
    assert_eq!(lines().await, before);
}

#[tokio::test]
async fn http_15_the_ops_listener_has_no_name_that_a_site_could_have() {
    let test = TestApp::start().await;
    let router = ops::router(&test.app);
    let with = |host: &str| Request::get("/metrics").header("host", host).body(Body::empty()).unwrap();
    for good in ["127.0.0.1:9464", "[::1]:9464", "10.1.2.3", "localhost:9464", "portcullis:9464"] {
        assert_eq!(ask(&router, with(good)).await.status, StatusCode::OK, "{good}");
    }
    for bad in ["evil.example", "127.0.0.1.evil.example:9464", "localhost.evil.example", "a@b.example", ""] {
        let answer = ask(&router, with(bad)).await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{bad}");
        assert!(!answer.text().contains("portcullis_"), "{bad}");
    }
    let mut twice = with("127.0.0.1:9464");
    twice.headers_mut().append("host", "127.0.0.1:9464".parse().unwrap());
    assert_eq!(ask(&router, twice).await.status, StatusCode::MISDIRECTED_REQUEST);
    let mut page = with("127.0.0.1:9464");
    page.headers_mut().insert(header::ORIGIN, "https://evil.example".parse().unwrap());
    assert_eq!(ask(&router, page).await.status, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(test.get("/metrics").await.status, StatusCode::NOT_FOUND, "not on the public listener");
    assert_eq!(test.get("/readyz").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pc_54_a_taken_port_stops_only_who_chose_it() {
    let first = ops::bind(Ops::At("127.0.0.1:0".parse().unwrap())).await.unwrap().unwrap();
    let taken = first.address();
    assert!(ops::bind(Ops::Usual(taken)).await.unwrap().is_none());
    assert!(matches!(ops::bind(Ops::At(taken)).await, Err(BindError::InUse(_))));
    assert!(ops::bind(Ops::Off).await.unwrap().is_none());
}
