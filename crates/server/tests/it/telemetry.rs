//! Spans at a collector (PC-54), and what they never hold (PC-43).

use crate::app::{FLEET, TestApp, form};
use crate::oauth::actors::{NOTES, basic};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::{HeaderMap, Request as Outgoing, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// What came: path, headers, body.
type Seen = Arc<Mutex<Vec<(String, HeaderMap, Vec<u8>)>>>;

/// Keeps everything, and answers all of it with the same.
async fn recorder(answer: impl Fn(&[u8]) -> String + Clone + Send + Sync + 'static) -> (String, Seen) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let app = Router::new().fallback(move |request: Request| {
        let (kept, answer) = (Arc::clone(&kept), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes().to_vec();
            let says = answer(&body);
            kept.lock().unwrap().push((head.uri.path().to_owned(), head.headers, body));
            ([(header::CONTENT_TYPE, "application/json")], says)
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), seen)
}

fn upstream_says(body: &[u8]) -> String {
    let message: Value = serde_json::from_slice(body).unwrap();
    json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}).to_string()
}

struct World {
    test: TestApp,
    collector: Seen,
    upstream: Seen,
}

impl World {
    async fn start(more: &str) -> Self {
        let (collector_at, collector) = recorder(|_| String::new()).await;
        let (upstream_at, upstream) = recorder(upstream_says).await;
        let config = format!("telemetry.otlp = \"{collector_at}\"\n{more}");
        let fleet = FLEET.replace("http://127.0.0.1:9/mcp", &format!("{upstream_at}/mcp"));
        Self { test: TestApp::start_with(&config, &fleet).await, collector, upstream }
    }

    async fn token(&self) -> String {
        let credentials = self.test.credentials("ci-bot");
        let fields = [("grant_type", "client_credentials"), ("resource", NOTES)];
        let mut request = form("/oauth/token", &fields);
        let basic = basic(&credentials.client_id, &credentials.client_secret);
        request.headers_mut().insert(header::AUTHORIZATION, basic.parse().unwrap());
        let answer = self.test.send(request).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.json::<Value>()["access_token"].as_str().unwrap().to_owned()
    }

    async fn call(&self, token: &str, traceparent: Option<&str>, params: &Value) -> StatusCode {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let mut request = Outgoing::post("/mcp/notes?note=hidden-in-a-query")
            .header(header::CONTENT_TYPE, "application/json")
            .header("mcp-protocol-version", "2025-11-25")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        if let Some(traceparent) = traceparent {
            request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
        }
        self.test.send(request).await.status
    }

    /// Everything that the collector got.
    async fn delivered(&self) -> Vec<u8> {
        self.test.app.flush().await;
        let seen = self.collector.lock().unwrap();
        seen.iter().flat_map(|(path, _, body)| [path.as_bytes(), body].concat()).collect()
    }

    /// The `traceparent` that the upstream got last.
    fn passed_on(&self) -> Option<String> {
        let seen = self.upstream.lock().unwrap();
        let (_, headers, _) = seen.last().unwrap();
        headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned())
    }
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn pc_43_54_a_call_is_told_as_spans_without_arguments_tokens_or_queries() {
    let world = World::start("").await;
    let token = world.token().await;
    let params = json!({"name": "list_notes", "arguments": {"about": "hidden-in-arguments"}});
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(world.call(&token, Some(&traceparent), &params).await, StatusCode::OK);
    let refused = json!({"name": "create_note", "arguments": {}});
    assert_eq!(world.call(&token, None, &refused).await, StatusCode::FORBIDDEN);
    let hiding = json!({"name": "pcr_hidden-in-a-name", "arguments": {}});
    assert_eq!(world.call(&token, None, &hiding).await, StatusCode::FORBIDDEN);

    let passed_on = world.passed_on().unwrap();
    assert!(passed_on.starts_with(&format!("00-{TRACE}-")) && !passed_on.contains(PARENT), "{passed_on}");
    let told = world.delivered().await;
    let ours = hex(&passed_on[36..52]);
    for (what, there) in [
        ("path", &b"/v1/traces"[..]),
        ("name", b"tools/call list_notes"),
        ("server", b"notes"),
        ("parts", b"decide"),
        ("parts", b"upstream"),
        ("outcome", b"answered"),
        ("refusal", b"tools/call create_note"),
        ("reason", b"beyond_agent"),
        ("route", b"POST /oauth/token"),
        ("token request", b"issued"),
        ("service", b"portcullis"),
        ("trace", &hex(TRACE)),
        ("parent", &hex(PARENT)),
        ("span passed on", &ours),
    ] {
        assert!(holds(&told, there), "{what}: {:?}", String::from_utf8_lossy(&told));
    }
    let secret = world.test.credentials("ci-bot").client_secret;
    let signature = token.rsplit('.').next().unwrap();
    for absent in [&*token, signature, &*secret, "hidden-in", "eyJ", "pcr_", "pcs_", "Bearer", "Basic"] {
        assert!(!holds(&told, absent.as_bytes()), "one of the secrets is told");
    }
}

#[tokio::test]
async fn pc_54_a_message_says_itself_what_trace_it_is_part_of() {
    let world = World::start("").await;
    let token = world.token().await;
    let other = "4bf92f3577b34da6a3ce929d0e0e4736";
    let within = format!("00-{other}-00f067aa0ba902b7-01");
    let around = format!("00-{TRACE}-{PARENT}-01");
    let params = json!({"name": "list_notes", "arguments": {}, "_meta": {"traceparent": within}});
    assert_eq!(world.call(&token, Some(&around), &params).await, StatusCode::OK);
    assert!(world.passed_on().unwrap().starts_with(&format!("00-{other}-")));
    let (_, _, body) = world.upstream.lock().unwrap().last().unwrap().clone();
    assert!(holds(&body, within.as_bytes()), "the body is passed on as it came");
    // What cannot be read is no trace, and no reason to refuse.
    for bad in [json!("garbage"), json!(7), json!("00-00000000000000000000000000000000-0000000000000000-01")]
    {
        let params = json!({"name": "list_notes", "arguments": {}, "_meta": {"traceparent": bad}});
        assert_eq!(world.call(&token, Some(&around), &params).await, StatusCode::OK, "{bad}");
        assert!(world.passed_on().unwrap().starts_with(&format!("00-{TRACE}-")));
    }
}

#[tokio::test]
async fn pc_54_a_collector_that_is_away_hinders_nobody() {
    let test = TestApp::start_with("telemetry.otlp = \"http://127.0.0.1:9\"", FLEET).await;
    let answer = test.send(Outgoing::get("/oauth/jwks").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    test.app.flush().await;
}

#[tokio::test]
async fn pc_54_without_an_exporter_the_trace_is_passed_on_as_it_came() {
    let (upstream_at, upstream) = recorder(upstream_says).await;
    let fleet = FLEET.replace("http://127.0.0.1:9/mcp", &format!("{upstream_at}/mcp"));
    let test = TestApp::start_with("", &fleet).await;
    let world = World { test, collector: Seen::default(), upstream };
    let token = world.token().await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let params = json!({"name": "list_notes", "arguments": {}});
    assert_eq!(world.call(&token, Some(&traceparent), &params).await, StatusCode::OK);
    assert_eq!(world.passed_on(), Some(traceparent));
}

#[tokio::test]
async fn pc_43_54_the_collector_gets_its_secret_header_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "collector-key-1\n").unwrap();
    let more = format!("telemetry.otlp_headers = {{ x-api-key = \"file:{}\" }}", file.display());
    let world = World::start(&more).await;
    let token = world.token().await;
    assert_eq!(world.call(&token, None, &json!({"name": "list_notes"})).await, StatusCode::OK);
    let told = world.delivered().await;
    assert!(!holds(&told, b"collector-key-1"));
    let seen = world.collector.lock().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|(_, headers, _)| headers["x-api-key"] == "collector-key-1"));
    assert!(world.upstream.lock().unwrap().iter().all(|(_, headers, _)| !headers.contains_key("x-api-key")));
}
