//! Sessions of the 2025 revisions belong to who began them: MCP "Session Management".

use crate::world::{Seen, World, json, legacy, request_id, respond, tool};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Response;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// Begins session `s-1` at `initialize`, and has a stream for GET.
fn with_sessions(seen: &Seen) -> Response<Body> {
    match (seen.method.as_str(), request_id(seen)) {
        ("GET", _) => respond(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\n"),
        ("DELETE", _) => respond(204, "text/plain", ""),
        (_, None) => respond(202, "text/plain", ""),
        (_, Some(id)) => {
            let mut response = json(200, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
            if seen.body.windows(10).any(|part| part == b"initialize") {
                response.headers_mut().insert("mcp-session-id", "s-1".parse().unwrap());
            }
            response
        }
    }
}

async fn begun() -> World {
    let world = World::new().await;
    world.upstream.answers(with_sessions);
    let answered = world.served(legacy(&world.token(), INITIALIZE).without("mcp-protocol-version")).await;
    assert_eq!(answered.header("mcp-session-id"), "s-1");
    world
}

#[tokio::test]
async fn a_session_serves_its_principal_by_any_of_its_tokens() {
    let world = begun().await;
    let renewed = world.sign(|claims| claims.exp = claims.exp + std::time::Duration::from_mins(1));
    for token in [world.token(), renewed] {
        world.served(legacy(&token, PING).header("mcp-session-id", "s-1")).await;
        assert_eq!(world.upstream.last().headers["mcp-session-id"], "s-1");
        for body in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":"elicit-1","result":{"action":"accept"}}"#,
        ] {
            let answered = world.send(legacy(&token, body).header("mcp-session-id", "s-1")).await;
            assert_eq!(answered.status, 202);
            assert_eq!(world.upstream.last().body, body.as_bytes());
        }
    }
}

#[tokio::test]
async fn foreign_and_unknown_sessions_are_404() {
    let world = begun().await;
    let mine = world.token();
    world.served(legacy(&mine, PING).header("mcp-session-id", "s-1")).await;
    let other = world.user_token("notes:read");
    for (token, session) in [(&other, "s-1"), (&mine, "s-2"), (&mine, "S-1"), (&mine, "")] {
        for verb in ["POST", "GET", "DELETE"] {
            let ask = legacy(token, PING).header("mcp-session-id", session).verb(verb);
            assert_eq!(world.refused(ask, 404).await.code(), -31404, "{verb} {session}");
        }
    }
    let ops = world.sign(|claims| {
        claims.aud = "https://as.test/mcp/ops".into();
        claims.scope = "ops:read".parse().unwrap();
    });
    let elsewhere = legacy(&ops, PING).header("mcp-session-id", "s-1").to("/mcp/ops");
    world.refused(elsewhere, 404).await;
    let twice = legacy(&mine, PING).header("mcp-session-id", "s-1").also("mcp-session-id", "s-1");
    world.refused(twice, 400).await;
}

#[tokio::test]
async fn an_upstream_cannot_give_one_session_to_two_principals() {
    let world = begun().await;
    let other = world.user_token("notes:read");
    let answered = world.send(legacy(&other, INITIALIZE)).await;
    assert_eq!((answered.status.as_u16(), answered.header("mcp-session-id")), (502, ""));
    world.served(legacy(&world.token(), PING).header("mcp-session-id", "s-1")).await;
}

#[tokio::test]
async fn get_and_delete_belong_to_sessions() {
    let world = begun().await;
    let token = world.token();
    let get = legacy(&token, "").verb("GET").header("mcp-session-id", "s-1");
    let answered = world.served(get.clone()).await;
    assert_eq!(answered.header("content-type"), "text/event-stream");
    assert_eq!(world.upstream.last().headers["accept"], "application/json, text/event-stream");
    let modern = get.clone().header("mcp-protocol-version", "2026-07-28");
    assert_eq!(world.refused(modern, 405).await.header("allow"), "POST, OPTIONS");
    let bare = get.clone().without("mcp-session-id").without("mcp-protocol-version");
    world.refused(bare, 405).await;
    world.refused(get.clone().without("authorization"), 401).await;
    let delete = get.clone().verb("DELETE");
    world.refused(delete.clone().without("mcp-session-id"), 400).await;
    assert_eq!(world.send(delete.clone()).await.status, 204);
    assert_eq!(world.upstream.last().method, "DELETE");
    world.refused(delete, 404).await;
    world.refused(get, 404).await;
}

#[tokio::test]
async fn a_session_that_the_upstream_ended_is_forgotten() {
    let world = begun().await;
    let ask = legacy(&world.token(), PING).header("mcp-session-id", "s-1");
    world.served(ask.clone()).await;
    world.upstream.answers(|_| respond(404, "text/plain", "gone"));
    assert_eq!(world.send(ask.clone()).await.status, 404);
    world.upstream.answers(with_sessions);
    world.refused(ask, 404).await;
}

#[tokio::test]
async fn rpc_20_the_stateless_revision_ignores_sessions() {
    let world = begun().await;
    let ask = tool(&world.token(), "list_notes").header("mcp-session-id", "s-9").header("last-event-id", "5");
    world.served(ask).await;
    let headers = world.upstream.last().headers;
    assert!(!headers.contains_key("mcp-session-id") && !headers.contains_key("last-event-id"));
}

#[tokio::test]
async fn hdr_01_bear_01_without_a_body_nothing_that_would_repeat_it_reaches_the_upstream() {
    let world = begun().await;
    let token = world.token();
    let wrapped = format!("=?base64?{}?=", STANDARD.encode(&token));
    for verb in ["GET", "DELETE"] {
        let ask = legacy(&token, "").verb(verb).header("mcp-session-id", "s-1");
        let ask =
            ask.header("mcp-method", "tools/call").header("mcp-name", "wipe").also("mcp-name", "list_notes");
        let ask = ask.header("mcp-param-path", "/etc/passwd").header("mcp-param-token", &wrapped);
        let answered = world.send(ask.header("last-event-id", "5")).await;
        assert!(answered.status.is_success(), "{verb}: {}", answered.text());
        let seen = world.upstream.last();
        assert_eq!(seen.method, verb);
        assert_eq!(seen.headers["mcp-protocol-version"], "2025-11-25");
        assert_eq!(seen.headers.contains_key("last-event-id"), verb == "GET");
        for name in seen.headers.keys().map(http::HeaderName::as_str) {
            let is_left = name == "mcp-method" || name == "mcp-name" || name.starts_with("mcp-param-");
            assert!(!is_left, "{verb}: {name}");
        }
    }
}

#[tokio::test]
async fn hdr_02_only_a_stream_of_a_session_is_gone_on_with() {
    let world = begun().await;
    let ask = legacy(&world.token(), PING).header("mcp-session-id", "s-1").header("last-event-id", "5");
    world.served(ask).await;
    assert!(!world.upstream.last().headers.contains_key("last-event-id"));
}
