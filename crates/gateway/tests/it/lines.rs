//! HTTP+SSE of 2024-11-05, where a server takes it: another way for the same messages, and no other way around anything.

use crate::world::{Answered, Ask, Seen, World, json, request_id, respond};
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Response;
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::registry::{OtherTransport, Placement, Upstream, UpstreamCredential, UpstreamTls};
use portcullis_gateway::Program;
use serde_json::{Value, json as value};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
pub(crate) const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
pub(crate) const ASKS: &str = r#"{"jsonrpc":"2.0","id":"e-1","method":"elicitation/create","params":{}}"#;

pub(crate) fn call(id: u32, tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
    )
}

/// A world whose `notes` takes every transport.
pub(crate) async fn world() -> World {
    let world = World::with(
        |_| (),
        |snapshot| {
            snapshot.servers[0].other_transports =
                [OtherTransport::HttpSse, OtherTransport::Websocket].into();
        },
    )
    .await;
    serve_sessions(&world);
    world
}

/// An upstream of 2025-11-25: sessions, a stream of its own that asks one thing, a list of which only one tool is for the
/// agent, and calls that are answered in a stream.
pub(crate) fn serve_sessions(world: &World) {
    let (asks, asked) = mpsc::unbounded_channel::<Bytes>();
    asks.send(Bytes::from(format!(": hello\n\nid: 1\ndata: {ASKS}\n\n"))).unwrap();
    let own = Mutex::new(Some((asks, asked)));
    world.upstream.answers(move |seen| match (seen.method.as_str(), method(seen).as_deref()) {
        ("GET", _) => match own.lock().unwrap().take() {
            None => respond(405, "text/plain", ""),
            Some((open, asked)) => {
                let chunks = futures_util::stream::unfold((open, asked), |(open, mut asked)| async move {
                    let chunk = asked.recv().await?;
                    Some((Ok::<_, std::convert::Infallible>(chunk), (open, asked)))
                });
                let body = Body::from_stream(chunks);
                Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
            }
        },
        ("DELETE", _) => respond(204, "text/plain", ""),
        (_, Some("initialize")) => {
            let result = r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"u","version":"1"}}"#;
            let mut response = json(200, &answer(seen, result));
            response.headers_mut().insert("mcp-session-id", "s-1".parse().unwrap());
            response
        }
        (_, Some("tools/list")) => json(200, &answer(seen, r#"{"tools":[{"name":"list_notes"},{"name":"wipe"}]}"#)),
        (_, Some("tools/call")) => {
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#;
            let events = format!("data: {progress}\n\ndata: {}\n\n", answer(seen, r#"{"content":[]}"#));
            respond(200, "text/event-stream", &events)
        }
        (_, Some(_)) if request_id(seen).is_some() => json(200, &answer(seen, "{}")),
        _ => respond(202, "text/plain", ""),
    });
}

fn method(seen: &Seen) -> Option<String> {
    let message: Value = serde_json::from_slice(&seen.body).ok()?;
    message["method"].as_str().map(str::to_owned)
}

fn answer(seen: &Seen, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, request_id(seen).unwrap())
}

/// Returns when the upstream has got `count` requests in all.
pub(crate) async fn arrived(world: &World, count: usize) {
    let wait = async {
        while world.upstream.count() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("nothing arrived");
}

fn sse(token: &str) -> Ask {
    Ask::post(token, "").verb("GET").to("/mcp/notes/sse").header("accept", "text/event-stream")
}

struct Line {
    events: axum::body::BodyDataStream,
    address: String,
}

impl Line {
    async fn open(world: &World, token: &str) -> Self {
        let response = world.open(sse(token)).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        let mut line = Self { events: response.into_body().into_data_stream(), address: String::new() };
        let first = line.event().await.unwrap();
        let address = first.strip_prefix("event: endpoint\ndata: ").unwrap().trim_end();
        let id = address.strip_prefix("/mcp/notes/sse?session_id=").unwrap();
        assert!(id.len() >= 32, "unguessable");
        address.clone_into(&mut line.address);
        line
    }

    /// With a session begun, and what the server asked by itself heard.
    async fn begun(world: &World, token: &str) -> Self {
        let mut line = Self::open(world, token).await;
        assert_eq!(line.say(world, token, INITIALIZE).await.status, 202);
        assert_eq!(line.hear().await["result"]["protocolVersion"], "2025-11-25");
        assert_eq!(line.say(world, token, INITIALIZED).await.status, 202);
        assert_eq!(line.hear().await, serde_json::from_str::<Value>(ASKS).unwrap());
        line
    }

    fn ask(&self, token: &str, body: &str) -> Ask {
        Ask::post(token, body).to(&self.address)
    }

    async fn say(&self, world: &World, token: &str, body: &str) -> Answered {
        world.send(self.ask(token, body)).await
    }

    async fn event(&mut self) -> Option<String> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.events.next());
        let chunk = next.await.expect("nothing came")?;
        Some(String::from_utf8(chunk.unwrap().to_vec()).unwrap())
    }

    async fn hear(&mut self) -> Value {
        let event = self.event().await.expect("the line ended");
        let data = event.strip_prefix("event: message\ndata: ").expect(&event);
        serde_json::from_str(data.trim_end()).unwrap()
    }
}

#[tokio::test]
async fn pc_01_http_sse_carries_a_session_as_streamable_http_does() {
    let world = world().await;
    let token = world.token();
    let mut line = Line::begun(&world, &token).await;
    assert_eq!(line.say(&world, &token, LIST).await.status, 202);
    assert_eq!(
        line.hear().await,
        value!({"jsonrpc": "2.0", "id": 2, "result": {"tools": [{"name": "list_notes"}]}})
    );
    let seen = world.upstream.last();
    assert_eq!(
        (&seen.headers["mcp-session-id"], &seen.headers["mcp-protocol-version"]),
        (&"s-1".parse().unwrap(), &"2025-11-25".parse().unwrap())
    );
    assert_eq!(seen.body, LIST, "the original bytes");
    assert!(!format!("{:?}", seen.headers).contains(&token), "PC-05");
    assert_eq!(line.say(&world, &token, &call(3, "list_notes")).await.status, 202);
    assert_eq!(line.hear().await["method"], "notifications/progress");
    assert_eq!(line.hear().await["id"], 3);
    // By another token of the same principal.
    let renewed = world.sign(|claims| claims.exp = claims.exp + Duration::from_mins(1));
    let reply = r#"{"jsonrpc":"2.0","id":"e-1","result":{"action":"accept"}}"#;
    assert_eq!(line.say(&world, &renewed, reply).await.status, 202);
    assert_eq!(world.upstream.last().body, reply);
}

#[tokio::test]
async fn pc_23_a_refusal_stands_on_the_line_and_nothing_goes_upstream() {
    let world = world().await;
    let token = world.user_token("notes:read");
    let mut line = Line::begun(&world, &token).await;
    let before = world.upstream.count();
    for (tool, code, says) in [("create_note", -31403, "notes:write"), ("nothing_like_it", -31403, "")] {
        assert_eq!(line.say(&world, &token, &call(7, tool)).await.status, 202);
        let refused = line.hear().await;
        assert_eq!((refused["id"].as_i64(), refused["error"]["code"].as_i64()), (Some(7), Some(code)));
        assert!(refused["error"]["message"].as_str().unwrap().contains(says), "{refused}");
    }
    let unknown = r#"{"jsonrpc":"2.0","id":8,"method":"com.example/x"}"#;
    assert_eq!(line.say(&world, &token, unknown).await.status, 202);
    assert_eq!(line.hear().await["error"]["code"], -32601);
    let modern = r#"{"jsonrpc":"2.0","id":9,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    assert_eq!(line.say(&world, &token, modern).await.status, 202);
    let refused = line.hear().await;
    assert_eq!(refused["error"]["code"], -32022);
    assert_eq!(refused["error"]["data"]["supported"][0], "2025-11-25");
    assert_eq!(line.say(&world, &token, INITIALIZE).await.status, 202);
    assert_eq!(line.hear().await["error"]["code"], -32600, "one session");
    assert_eq!(world.upstream.count(), before);
    let refusals: Vec<_> =
        world.records().into_iter().filter(|record| record["outcome"] == "refused").collect();
    assert_eq!(refusals.len(), 5, "{refusals:?}");
}

#[tokio::test]
async fn pc_01_each_message_needs_a_token_of_whoever_opened_the_line() {
    let world = world().await;
    let token = world.token();
    let mut line = Line::begun(&world, &token).await;
    assert_eq!(line.say(&world, &token, LIST).await.status, 202);
    line.hear().await;
    let good = line.ask(&token, LIST);
    let of = |token: &str| line.ask(token, LIST);
    let expired = world.sign(|claims| claims.exp = claims.iat - Duration::from_mins(1));
    let of_ops = world.sign(|claims| claims.aud = "https://as.test/mcp/ops".into());
    for (name, ask, status) in [
        ("no token", good.clone().without("authorization"), 401),
        ("garbage", good.clone().header("authorization", "Bearer x"), 401),
        ("another scheme", good.clone().header("authorization", "Basic eDp5"), 401),
        ("two", good.clone().also("authorization", "Bearer x"), 400),
        ("expired", of(&expired), 401),
        ("of another server", of(&of_ops), 401),
        ("another principal", of(&world.user_token("notes:read")), 404),
        ("token in the address", good.clone().to(&format!("{}&access_token={token}", line.address)), 400),
        ("no line", good.clone().to("/mcp/notes/sse"), 404),
        ("an empty one", good.clone().to("/mcp/notes/sse?session_id="), 404),
        ("another one", good.clone().to(&format!("{}0", line.address)), 404),
        (
            "in other letters",
            good.clone().to(&line
                .address
                .to_uppercase()
                .replace("/MCP/NOTES/SSE?SESSION_ID", "/mcp/notes/sse?session_id")
                .replace('0', "1")),
            404,
        ),
        ("two ids", good.clone().to(&format!("{}&session_id=x", line.address)), 404),
        ("at another server", good.clone().to(&line.address.replace("notes", "ops")), 404),
        ("another path", good.clone().to(&line.address.replace("/sse", "/sse/")), 404),
        ("another origin", good.clone().header("origin", "https://evil.example"), 403),
        ("another host", good.clone().header("host", "evil.example"), 421),
        ("a form", good.clone().header("content-type", "text/plain"), 415),
        ("packed", good.clone().header("content-encoding", "gzip"), 415),
        ("another verb", good.clone().verb("DELETE"), 405),
    ] {
        let before = world.upstream.count();
        let answered = world.send(ask).await;
        assert_eq!(answered.status, status, "{name}: {}", answered.text());
        assert_eq!(world.upstream.count(), before, "{name}");
    }
    assert_eq!(line.say(&world, &token, LIST).await.status, 202);
    line.hear().await;
}

#[tokio::test]
async fn rpc_07_to_13_bodies_are_read_as_strictly_on_a_line() {
    let world = world().await;
    let token = world.token();
    let line = Line::begun(&world, &token).await;
    let before = world.upstream.count();
    for body in [
        "",
        "{",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_notes","name":"wipe"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_notes","Name":"wipe"}}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}"#,
        &format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"list_notes","arguments":{{"x":"{token}"}}}}}}"#
        ),
    ] {
        assert_eq!(line.say(&world, &token, body).await.status, 400, "{body}");
    }
    assert_eq!(world.upstream.count(), before);
}

#[tokio::test]
async fn http_08_without_the_switch_there_is_no_other_transport() {
    let world = World::new().await;
    let token = world.token();
    for path in ["/mcp/notes/sse", "/mcp/notes/ws", "/mcp/notes/sse?session_id=x"] {
        for verb in ["GET", "POST", "OPTIONS"] {
            world.refused(sse(&token).to(path).verb(verb), 404).await;
        }
    }
    let upgrade = |path: &str| {
        let ask = sse(&token).to(path).header("connection", "upgrade").header("upgrade", "websocket");
        ask.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    world.refused(upgrade("/mcp/notes/ws"), 404).await;
    world.refused(upgrade("/mcp/notes"), 405).await;
    // Direct servers are not spoken to through us at all.
    let direct = World::with(
        |_| (),
        |snapshot| {
            snapshot.servers[2].other_transports =
                [OtherTransport::HttpSse, OtherTransport::Websocket].into();
        },
    )
    .await;
    direct.refused(sse(&token).to("/mcp/far/sse"), 404).await;
}

#[tokio::test]
async fn pc_30_a_server_right_below_another_stands_before_the_line_of_that_one() {
    let below = "https://as.test/mcp/notes/sse";
    let world = World::with(
        |_| (),
        |snapshot| {
            snapshot.servers[0].other_transports = [OtherTransport::HttpSse].into();
            snapshot.servers[1].canonical_uri = below.parse().unwrap();
            snapshot.agents[0].access.insert("ops".parse().unwrap(), "ops:read".parse().unwrap());
        },
    )
    .await;
    let token = world.sign(|claims| {
        claims.aud = below.into();
        claims.scope = "ops:read".parse().unwrap();
    });
    world.served(Ask::post(&token, INITIALIZE).to("/mcp/notes/sse")).await;
    world.refused(sse(&world.token()), 401).await;
}

#[tokio::test]
async fn pc_01_opening_a_line_needs_what_being_connected_needs() {
    let world = world().await;
    let token = world.token();
    drop(Line::open(&world, &token).await);
    let challenged = world.refused(sse(&token).without("authorization"), 401).await;
    assert!(challenged.challenge().contains("resource_metadata"), "{}", challenged.challenge());
    world.refused(sse(&token).header("origin", "https://evil.example"), 403).await;
    world.refused(sse(&token).header("origin", "null"), 403).await;
    world.refused(sse(&token).header("host", "evil.example"), 421).await;
    world.refused(sse(&world.sign(|claims| claims.scope = "notes:other".parse().unwrap())), 403).await;
    world.refused(sse(&token).to(&format!("/mcp/notes/sse?access_token={token}")), 400).await;
}

#[tokio::test]
async fn strm_01_02_03_a_line_ends_with_what_it_stands_on() {
    type Change = fn(&World);
    let revoke: Change = |world| {
        world.revoke(Revocation {
            target: RevokedTarget::Client("cli_agent".parse().unwrap()),
            at: world.now(),
            until: world.now() + Duration::from_mins(15),
        });
    };
    let narrow: Change = |world| {
        let mut snapshot = world.snapshot.clone();
        snapshot.number += 1;
        snapshot.agents[0].access.clear();
        world.feed_snapshot(&snapshot);
    };
    let switch_off: Change = |world| {
        let mut snapshot = world.snapshot.clone();
        snapshot.number += 1;
        snapshot.servers[0].other_transports.clear();
        world.feed_snapshot(&snapshot);
    };
    let expire: Change = |world| {
        world.advance(Duration::from_mins(16));
        world.feed_snapshot(&world.snapshot);
    };
    for (name, change) in
        [("revoked", revoke), ("narrowed", narrow), ("off", switch_off), ("expired", expire)]
    {
        let world = world().await;
        let mut line = Line::begun(&world, &world.token()).await;
        change(&world);
        assert_eq!(line.event().await, None, "{name}");
        let fresh = world.sign(|_| ());
        assert!(line.say(&world, &fresh, LIST).await.status.is_client_error(), "{name}");
    }
}

#[tokio::test]
async fn strm_05_when_the_caller_leaves_its_session_ends_upstream() {
    let world = world().await;
    let line = Line::begun(&world, &world.token()).await;
    let address = line.address.clone();
    let count = world.upstream.count();
    drop(line);
    arrived(&world, count + 1).await;
    let last = world.upstream.last();
    assert_eq!((last.method.as_str(), &last.headers["mcp-session-id"]), ("DELETE", &"s-1".parse().unwrap()));
    world.refused(Ask::post(&world.token(), LIST).to(&address), 404).await;
}

#[tokio::test]
async fn strm_04_lines_count_against_what_a_principal_may_have_open() {
    let world = World::with(
        |settings| settings.limits.calls_at_once.streams = 2,
        |snapshot| snapshot.servers[0].other_transports = [OtherTransport::HttpSse].into(),
    )
    .await;
    let token = world.token();
    let first = Line::open(&world, &token).await;
    let _second = Line::open(&world, &token).await;
    world.refused(sse(&token), 429).await;
    drop(first);
    drop(Line::open(&world, &token).await);
}

#[tokio::test]
async fn pc_02_a_program_is_served_over_http_sse_by_a_child_of_its_own() {
    const SCRIPT: &str = r#"while read -r line; do
        case "$line" in
            *initialize\"*) printf '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}\n' ;;
            *tools/list*) printf '{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"list_notes"},{"name":"wipe"}]}}\n' ;;
            *initialized*) printf '{"jsonrpc":"2.0","id":"e-1","method":"elicitation/create","params":{}}\n' ;;
        esac
    done"#;
    let world = World::with(
        |settings| {
            let run = ["/bin/sh", "-c", SCRIPT].map(str::to_owned).to_vec();
            settings.programs.insert("notes-local".into(), Program { run, ..Program::default() });
        },
        |snapshot| {
            snapshot.servers[0].other_transports = [OtherTransport::HttpSse].into();
            snapshot.servers[0].placement = Placement::Gateway {
                upstream: Upstream::Command("notes-local".into()),
                credential: UpstreamCredential::Assertion,
                tls: UpstreamTls::default(),
            };
        },
    )
    .await;
    let token = world.token();
    let mut line = Line::begun(&world, &token).await;
    assert_eq!(line.say(&world, &token, LIST).await.status, 202);
    assert_eq!(line.hear().await["result"]["tools"], value!([{"name": "list_notes"}]));
    assert_eq!(line.say(&world, &token, &call(3, "wipe")).await.status, 202);
    assert_eq!(line.hear().await["error"]["code"], -31403);
    assert_eq!(world.gateway.figures().programs, 1);
    drop(line);
    let gone = async {
        while world.gateway.figures().programs > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the program stays");
}
