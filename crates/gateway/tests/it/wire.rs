//! The router behind a real connection: what bytes before, between and after requests could change, and do not.

use crate::world::{META, World};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn listening(world: &World) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = world.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Everything that is answered to `bytes`; their last request asks for the end of the connection.
async fn answers(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect()
}

fn body(tool: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}",{META}}}}}"#)
}

/// The head of a call, without its end.
fn head(tool: &str, token: Option<&str>) -> String {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "POST /mcp/notes HTTP/1.1\r\nHost: as.test\r\nContent-Type: application/json\r\nAccept: application/json, \
         text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n{authorization}"
    )
}

fn whole(tool: &str, token: Option<&str>, more: &str) -> String {
    let body = body(tool);
    format!("{}Content-Length: {}\r\n{more}\r\n{body}", head(tool, token), body.len())
}

#[tokio::test]
async fn http_17_each_request_of_a_connection_is_judged_alone() {
    let world = World::new().await;
    let address = listening(&world).await;
    let (good, expired) = (
        world.token(),
        world.sign(|claims| claims.exp = crate::world::NOW - std::time::Duration::from_hours(1)),
    );
    let last = "Connection: close\r\n";
    let pipelined = [
        whole("list_notes", Some(&good), ""),
        whole("list_notes", None, ""),
        whole("list_notes", Some(&expired), ""),
        whole("create_note", Some(&good), ""),
        whole("list_notes", Some(&good), last),
    ]
    .concat();
    let answer = answers(address, &pipelined).await;
    assert_eq!(statuses(&answer), ["200", "401", "401", "403", "200"], "{answer}");
    assert_eq!(world.upstream.count(), 2, "the others reached nobody");
}

#[tokio::test]
async fn http_07_nobody_is_connected_through_to_anything() {
    let world = World::new().await;
    let address = listening(&world).await;
    let token = world.token();
    let upstream = world.upstream.address.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap();
    for target in ["evil.example:443", "as.test:443", "127.0.0.1:22", upstream] {
        for (host, authorization) in
            [(target, String::new()), ("as.test", format!("Authorization: Bearer {token}\r\n"))]
        {
            let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n");
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut line = [0; 12];
            stream.read_exact(&mut line).await.unwrap();
            assert!(line.starts_with(b"HTTP/1.1 4"), "{target}: {}", String::from_utf8_lossy(&line));
        }
    }
    // Said of a server's own address, as HTTP/2 could.
    for target in ["/mcp/notes", "/mcp/notes/ws", "https://as.test/mcp/notes"] {
        let ask = crate::world::tool(&token, "list_notes").verb("CONNECT").to(target);
        let answered = world.send(ask).await;
        assert!(answered.status.is_client_error(), "{target}: {}", answered.status);
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn bear_05_a_token_after_the_body_is_none() {
    let world = World::new().await;
    let address = listening(&world).await;
    let (token, body) = (world.token(), body("list_notes"));
    let chunked = |authorized: Option<&str>, trailer: &str| {
        let head = head("list_notes", authorized);
        let length = body.len();
        format!(
            "{head}Connection: close\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n\
             {length:x}\r\n{body}\r\n0\r\n{trailer}\r\n"
        )
    };
    let answer = answers(address, &chunked(Some(&token), "")).await;
    assert_eq!(statuses(&answer), ["200"], "{answer}");
    let trailer = format!("Authorization: Bearer {token}\r\n");
    let answer = answers(address, &chunked(None, &trailer)).await;
    assert_eq!(statuses(&answer), ["401"], "{answer}");
    // Nor does one there take the place of the one that counts.
    let answer =
        answers(address, &chunked(Some(&token), "Authorization: Bearer other\r\nMcp-Name: wipe\r\n")).await;
    assert_eq!(statuses(&answer), ["200"], "{answer}");
    assert_eq!(world.upstream.count(), 2);
    assert!(!world.upstream.last().headers.values().any(|value| value == "wipe"));
}

#[tokio::test]
async fn http_16_a_refused_request_is_not_asked_for_its_body() {
    let world = World::new().await;
    let address = listening(&world).await;
    let token = world.token();
    let expecting = |token: Option<&str>, body: &str| {
        let head = head("list_notes", token);
        format!(
            "{head}Connection: close\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = answers(address, &expecting(Some(&token), &body("list_notes"))).await;
    assert_eq!(statuses(&answer), ["100", "200"], "{answer}");
    for refused in [None, Some("x")] {
        let head = head("list_notes", refused);
        let huge = format!("{head}Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n");
        let answer = answers(address, &huge).await;
        assert_eq!(statuses(&answer), ["401"], "{answer}");
    }
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn rpc_21_two_callers_with_one_id_get_their_own_answers() {
    let world = World::new().await;
    world.upstream.answers(|seen| {
        let message: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        let answer =
            serde_json::json!({ "jsonrpc": "2.0", "id": message["id"], "result": message["params"]["name"] });
        crate::world::json(200, &answer.to_string())
    });
    let (agent, person) = (world.token(), world.user_token("notes:read notes:write"));
    let calls = (0..20).map(|number| {
        let (token, tool) = if number % 2 == 0 { (&agent, "list_notes") } else { (&person, "create_note") };
        let ask = crate::world::tool(token, tool);
        let world = &world;
        async move { (tool, world.send(ask).await.json()) }
    });
    for (tool, answer) in futures_util::future::join_all(calls).await {
        assert_eq!((&answer["id"], &answer["result"]), (&1.into(), &tool.into()));
    }
}

#[tokio::test]
async fn hdr_05_nothing_of_a_message_changes_where_it_goes() {
    let world = World::new().await;
    let token = world.user_token("notes:read notes:write");
    world.served(crate::world::tool(&token, "list_notes")).await;
    let registered = world.upstream.last().target;
    let read = |uri: &str| {
        let params = format!(r#"{{"uri":"{uri}",{META}}}"#);
        crate::world::request(&token, "resources/read", &params).header("mcp-name", uri)
    };
    for uri in ["note://public/../../admin", "note://public/%0d%0aX-Admin: 1"] {
        let answered = world.refused(read(uri), 403).await;
        assert!(answered.text().contains("can be read in more than one way"), "{uri}: {}", answered.text());
    }
    for uri in ["note://public/?x=1#y", "note://public/X-Admin: 1", "note://public/@evil.test/"] {
        world.served(read(uri)).await;
        let seen = world.upstream.last();
        assert_eq!(seen.target, registered, "{uri}");
        assert_eq!(seen.headers.get("x-admin"), None, "{uri}");
        assert!(!seen.headers["host"].to_str().unwrap().contains("evil"), "{uri}");
    }
    let crlf =
        crate::world::tool(&token, "list_notes").also("mcp-param-a", "=?base64?MS4xDQpYLUFkbWluOiAx?=");
    world.refused(crlf, 400).await;
}
