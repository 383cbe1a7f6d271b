//! Clients that are pages in a browser: what they may call and read from which origin, and what no page may.

use crate::app::TestApp;
use axum::body::Body;
use http::{Method, Request, StatusCode};

const INSPECTOR: &str = "https://inspector.example.com";
const CONFIG: &str = r#"listen.allowed_origins = ["https://inspector.example.com"]
registration.dynamic = true"#;

fn from(origin: &str, method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).header("origin", origin).body(Body::empty()).unwrap()
}

/// As a browser asks before it sends what an SDK wants to send.
fn preflight(origin: &str, path: &str, headers: &str) -> Request<Body> {
    let mut request = from(origin, Method::OPTIONS, path);
    let set = request.headers_mut();
    set.insert("access-control-request-method", "POST".parse().unwrap());
    set.insert("access-control-request-headers", headers.parse().unwrap());
    request
}

#[tokio::test]
async fn http_01_a_page_of_an_allowed_origin_finds_its_way_in() {
    let test = TestApp::start_with(CONFIG, crate::app::FLEET).await;
    let wanted = "accept,authorization,content-type,last-event-id,mcp-method,mcp-name,mcp-param-region,mcp-protocol-version,mcp-session-id,traceparent,tracestate";
    let answer = test.send(preflight(INSPECTOR, "/mcp/notes", wanted)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.header("access-control-allow-origin"), Some(INSPECTOR));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let allowed = answer.header("access-control-allow-headers").unwrap().replace(' ', "");
    for name in wanted.split(',') {
        assert!(allowed.split(',').any(|allowed| allowed == name), "{name} is not in {allowed}");
    }
    // What it is refused, it can read, with what it needs to go on.
    let answer = test.send(from(INSPECTOR, Method::POST, "/mcp/notes")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("access-control-allow-origin"), Some(INSPECTOR));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["WWW-Authenticate", "Mcp-Session-Id", "Retry-After"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    // Then metadata, registration and token endpoint, which are anybody's.
    for path in [
        "/.well-known/oauth-protected-resource/mcp/notes",
        "/.well-known/oauth-authorization-server",
        "/oauth/jwks",
    ] {
        let answer = test.send(from(INSPECTOR, Method::GET, path)).await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (StatusCode::OK, Some("*")),
            "{path}"
        );
        let answer = test.send(preflight(INSPECTOR, path, "mcp-protocol-version")).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
    }
    for path in ["/oauth/token", "/oauth/register", "/oauth/revoke"] {
        let answer = test.send(preflight(INSPECTOR, path, "content-type")).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
    }
}

#[tokio::test]
async fn http_01_http_15_pages_of_other_origins_are_refused_and_told_nothing() {
    let test = TestApp::start_with(CONFIG, crate::app::FLEET).await;
    for foreign in ["https://evil.example", "null", "https://inspector.example.com.evil.example"] {
        for request in
            [from(foreign, Method::POST, "/mcp/notes"), preflight(foreign, "/mcp/notes", "authorization")]
        {
            let answer = test.send(request).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{foreign}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    // What people sign in with is no page's but our own, of an allowed origin neither.
    for path in [
        "/login",
        "/consent",
        "/account",
        "/console",
        "/oauth/authorize",
        "/oauth/introspect",
        "/api/v1/servers",
    ] {
        let answer = test.send(from(INSPECTOR, Method::GET, path)).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}
