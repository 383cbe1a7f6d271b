//! Servers under a host name of their own, or at a path of their own (PC-30).

use crate::app::{Answer, FLEET, TestApp};
use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;

const HOST: &str = "docs.example";

async fn start() -> TestApp {
    let own = r#"
[[server]]
name = "docs"
canonical_uri = "https://docs.example"
upstream = { url = "http://127.0.0.1:9/docs" }
[server.scopes]
"docs:read" = "Read docs"
[[server.rule]]
tools = ["get"]
scopes = ["docs:read"]

[[server]]
name = "wiki"
canonical_uri = "https://wiki.example/oauth/token"
upstream = { url = "http://127.0.0.1:9/wiki" }

[[server]]
name = "odd"
canonical_uri = "http://127.0.0.1:8080/tools/odd"
upstream = { url = "http://127.0.0.1:9/odd" }
"#;
    TestApp::start_with("", &format!("{FLEET}{own}")).await
}

async fn at(test: &TestApp, method: Method, host: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("host", host);
    test.send(request.header("content-type", "application/json").body(Body::from("{}")).unwrap()).await
}

fn metadata_of(answer: &Answer) -> String {
    let challenge = answer.header("www-authenticate").unwrap();
    let (_, rest) = challenge.split_once("resource_metadata=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn pc_30_a_server_is_served_under_its_own_name_with_metadata_of_its_own() {
    let test = start().await;
    for host in [HOST, "DOCS.example", "docs.example:443"] {
        let answer = at(&test, Method::POST, host, "/").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{host}");
        assert_eq!(metadata_of(&answer), "https://docs.example/.well-known/oauth-protected-resource");
    }
    let document = at(&test, Method::GET, HOST, "/.well-known/oauth-protected-resource").await;
    let document: Value = document.json();
    assert_eq!(document["resource"], "https://docs.example");
    assert_eq!(document["authorization_servers"][0], "http://127.0.0.1:8080");
    let wiki = at(&test, Method::POST, "wiki.example", "/oauth/token").await;
    assert_eq!(metadata_of(&wiki), "https://wiki.example/.well-known/oauth-protected-resource/oauth/token");
    let odd = at(&test, Method::POST, "127.0.0.1:8080", "/tools/odd").await;
    assert_eq!(metadata_of(&odd), "http://127.0.0.1:8080/.well-known/oauth-protected-resource/tools/odd");
}

#[tokio::test]
async fn pc_30_nothing_of_the_authority_shows_under_another_name() {
    let test = start().await;
    assert_eq!(at(&test, Method::GET, "127.0.0.1:8080", "/login").await.status, StatusCode::OK);
    for path in
        ["/login", "/oauth/jwks", "/oauth/authorize", "/console", "/.well-known/oauth-authorization-server"]
    {
        let answer = at(&test, Method::GET, HOST, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.text());
        assert_eq!(answer.header("set-cookie"), None);
    }
    let token = at(&test, Method::POST, HOST, "/oauth/token").await;
    assert_eq!(token.status, StatusCode::MISDIRECTED_REQUEST, "the wiki's path under the name of docs");
}

#[tokio::test]
async fn http_14_a_server_answers_under_its_name_only() {
    let test = start().await;
    for (host, path) in [
        (HOST, "/mcp/notes"),
        (HOST, "/tools/odd"),
        ("127.0.0.1:8080", "/oauth/token"),
        ("wiki.example", "/"),
    ] {
        let answer = at(&test, Method::POST, host, path).await;
        assert!(answer.header("www-authenticate").is_none(), "{host}{path}");
        assert!(answer.status.is_client_error(), "{host}{path}: {}", answer.status);
    }
    let stranger = at(&test, Method::POST, "evil.example", "/").await;
    assert_eq!(stranger.status, StatusCode::MISDIRECTED_REQUEST);
    test.apply(FLEET).await.unwrap();
    let gone = at(&test, Method::POST, HOST, "/").await;
    assert_eq!(gone.status, StatusCode::MISDIRECTED_REQUEST, "the name is ours no more");
}

#[tokio::test]
async fn http_01_pages_of_other_origins_may_not_call_it() {
    let test = start().await;
    let from = async |origin: &str| {
        let request = Request::post("/").header("host", HOST).header("origin", origin);
        test.send(request.header("content-type", "application/json").body(Body::from("{}")).unwrap())
            .await
            .status
    };
    assert_eq!(from("https://docs.example").await, StatusCode::UNAUTHORIZED, "asked for a token, as anybody");
    for other in ["https://evil.example", "http://docs.example", "https://wiki.example", "null"] {
        assert_eq!(from(other).await, StatusCode::FORBIDDEN, "{other}");
    }
}
