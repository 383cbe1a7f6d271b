//! WebSocket, where a server takes it: the token at the handshake, each message decided, the end with a reason.

use crate::lines::{ASKS, INITIALIZE, INITIALIZED, LIST, arrived, call, world};
use crate::world::World;
use futures_util::{SinkExt as _, StreamExt as _};
use portcullis_domain::principal::{Revocation, RevokedTarget};
use portcullis_domain::registry::{OtherTransport, ServerLimits};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// The gateway on a port of its own.
async fn served(world: &World) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = world.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn handshake(token: &str) -> Request {
    let mut request = "ws://as.test/mcp/notes/ws".into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request.headers_mut().insert("sec-websocket-protocol", "mcp".parse().unwrap());
    request
}

async fn connect(address: SocketAddr, request: Request) -> Result<Socket, u16> {
    let stream = TcpStream::connect(address).await.unwrap();
    match client_async(request, stream).await {
        Ok((stream, response)) => {
            assert_eq!(response.headers()["sec-websocket-protocol"], "mcp");
            Ok(Socket(stream))
        }
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => unreachable!("{error}"),
    }
}

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn begun(world: &World, token: &str) -> Self {
        let address = served(world).await;
        let mut socket = connect(address, handshake(token)).await.unwrap();
        socket.say(INITIALIZE).await;
        assert_eq!(socket.hear().await["result"]["protocolVersion"], "2025-11-25");
        socket.say(INITIALIZED).await;
        assert_eq!(socket.hear().await, serde_json::from_str::<Value>(ASKS).unwrap());
        socket
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await;
        next.expect("nothing came").map(Result::unwrap)
    }

    async fn hear(&mut self) -> Value {
        let text = self.next().await.unwrap().into_text().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The code and the reason of the end.
    async fn end(&mut self) -> (u16, String) {
        loop {
            let came = self.next().await.unwrap();
            if let Message::Close(Some(frame)) = came {
                return (frame.code.into(), frame.reason.to_string());
            }
            assert!(came.is_ping() || came.is_pong(), "{came:?}");
        }
    }
}

#[tokio::test]
async fn pc_01_websocket_carries_a_session_and_each_message_is_decided() {
    let world = world().await;
    let token = world.token();
    let mut socket = Socket::begun(&world, &token).await;
    socket.say(LIST).await;
    assert_eq!(
        socket.hear().await,
        json!({"jsonrpc": "2.0", "id": 2, "result": {"tools": [{"name": "list_notes"}]}})
    );
    let seen = world.upstream.last();
    assert_eq!(
        (seen.body.as_ref(), &seen.headers["mcp-session-id"]),
        (LIST.as_bytes(), &"s-1".parse().unwrap())
    );
    assert!(!format!("{:?}", seen.headers).contains(&token), "PC-05");
    socket.say(&call(3, "list_notes")).await;
    assert_eq!(socket.hear().await["method"], "notifications/progress");
    assert_eq!(socket.hear().await["id"], 3);
    let count = world.upstream.count();
    for (message, id, code) in [
        (call(4, "wipe"), json!(4), -31403),
        (call(5, "create_note"), json!(5), -31403),
        (r#"{"jsonrpc":"2.0","id":6,"method":"com.example/x"}"#.to_owned(), json!(6), -32601),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"ping"}"#.to_owned(), Value::Null, -32600),
        ("{".to_owned(), Value::Null, -32700),
        (INITIALIZE.to_owned(), json!(1), -32600),
    ] {
        socket.say(&message).await;
        let refused = socket.hear().await;
        assert_eq!(
            (&refused["id"], refused["error"]["code"].as_i64()),
            (&id, Some(code)),
            "{message}: {refused}"
        );
    }
    // Nobody is told about a notification that is refused, and it goes nowhere.
    socket.say(r#"{"jsonrpc":"2.0","method":"com.example/seen"}"#).await;
    assert_eq!(world.upstream.count(), count);
    socket.say(r#"{"jsonrpc":"2.0","id":"e-1","result":{"action":"accept"}}"#).await;
    arrived(&world, count + 1).await;
    assert!(world.upstream.last().body.starts_with(br#"{"jsonrpc":"2.0","id":"e-1""#));
}

#[tokio::test]
async fn pc_01_the_handshake_needs_what_every_request_needs() {
    let world = world().await;
    let token = world.token();
    let address = served(&world).await;
    assert!(connect(address, handshake(&token)).await.is_ok());
    let with = |name: &'static str, value: &str| {
        let mut request = handshake(&token);
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let without = |name: &str| {
        let mut request = handshake(&token);
        request.headers_mut().remove(name);
        request
    };
    let to = |target: &str| {
        let mut request = handshake(&token);
        *request.uri_mut() = format!("ws://as.test{target}").parse().unwrap();
        request
    };
    let before = world.upstream.count();
    for (name, request, status) in [
        ("no token", without("authorization"), 401),
        ("garbage", with("authorization", "Bearer x"), 401),
        ("in the address", to(&format!("/mcp/notes/ws?access_token={token}")), 400),
        ("another name for it", to(&format!("/mcp/notes/ws?t={token}")), 400),
        ("in the subprotocol", with("sec-websocket-protocol", &format!("mcp, {token}")), 400),
        ("no such subprotocol", with("sec-websocket-protocol", "graphql-ws"), 426),
        ("another version", with("sec-websocket-version", "8"), 426),
        ("another upgrade", with("upgrade", "h2c"), 426),
        ("another origin", with("origin", "https://evil.example"), 403),
        ("another host", with("host", "evil.example"), 421),
        ("no such server", to("/mcp/nothing/ws"), 404),
        ("not switched on", to("/mcp/ops/ws"), 404),
        ("another path", to("/mcp/notes/ws/"), 404),
        ("the usual endpoint", to("/mcp/notes"), 405),
        (
            "nothing allowed",
            {
                let none = world.sign(|claims| claims.scope = "notes:other".parse().unwrap());
                with("authorization", &format!("Bearer {none}"))
            },
            403,
        ),
    ] {
        assert_eq!(connect(address, request).await.err(), Some(status), "{name}");
        assert_eq!(world.upstream.count(), before, "{name}");
    }
}

#[tokio::test]
async fn strm_01_02_03_a_websocket_is_closed_with_a_reason_when_its_token_ends() {
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
    for (name, change, code) in [
        ("revoked", revoke, 3000),
        ("narrowed", narrow, 3000),
        ("expired", expire, 3000),
        ("off", switch_off, 1001),
    ] {
        let world = world().await;
        let mut socket = Socket::begun(&world, &world.token()).await;
        let count = world.upstream.count();
        change(&world);
        // Said after the end of the token, whoever is quicker.
        let _may_be_closed = socket.0.send(Message::text(call(9, "list_notes"))).await;
        let (closed, reason) = socket.end().await;
        assert_eq!((closed, reason.is_empty()), (code, false), "{name}: {reason}");
        let calls = world.upstream.count() - count;
        assert!(world.upstream.newest(calls).iter().all(|seen| seen.method == "DELETE"), "{name}");
    }
}

#[tokio::test]
async fn strm_03_without_news_a_websocket_does_not_say_that_its_token_ended() {
    let world = world().await;
    let mut socket = Socket::begun(&world, &world.token()).await;
    world.advance(Duration::from_secs(31));
    socket.say(&call(9, "list_notes")).await;
    let (closed, reason) = socket.end().await;
    assert_eq!(closed, 1013, "{reason}");
    assert!(reason.contains("news"), "{reason}");
}

#[tokio::test]
async fn http_08_frames_that_are_no_messages_end_the_connection() {
    let frame = |opcode: OpCode, is_final: bool, payload: &'static [u8]| {
        let mut frame = Frame::ping(payload);
        let header = frame.header_mut();
        (header.opcode, header.is_final) = (opcode, is_final);
        header.mask = Some([1, 2, 3, 4]);
        Message::Frame(frame)
    };
    for (name, messages, code) in [
        ("binary", vec![Message::binary(INITIALIZE.as_bytes())], 1003),
        ("a control frame in parts", vec![frame(OpCode::Control(Control::Ping), false, b"x")], 1002),
        ("an end without a beginning", vec![frame(OpCode::Data(Data::Continue), true, b"x")], 1002),
        (
            "a beginning within",
            vec![frame(OpCode::Data(Data::Text), false, b"{"), frame(OpCode::Data(Data::Text), true, b"}")],
            1002,
        ),
        ("not UTF-8", vec![frame(OpCode::Data(Data::Text), true, b"\xff\xfe")], 1002),
    ] {
        let world = world().await;
        let mut socket = Socket::begun(&world, &world.token()).await;
        let count = world.upstream.count();
        for message in messages {
            socket.0.send(message).await.unwrap();
        }
        assert_eq!(socket.end().await.0, code, "{name}");
        arrived(&world, count + 1).await;
        assert_eq!(world.upstream.last().method, "DELETE", "{name}: nothing but the end of the session");
    }
}

#[tokio::test]
async fn rpc_13_a_message_in_parts_is_one_message_and_bounded() {
    let world = World::with(
        |settings| settings.limits.body_bytes = 1000,
        |snapshot| {
            snapshot.servers[0].other_transports = [OtherTransport::Websocket].into();
        },
    )
    .await;
    crate::lines::serve_sessions(&world);
    let mut socket = Socket::begun(&world, &world.token()).await;
    let part = |opcode: Data, is_final: bool, payload: &[u8]| {
        Message::Frame(Frame::message(Bytes::copy_from_slice(payload), OpCode::Data(opcode), is_final))
    };
    let (first, rest) = LIST.as_bytes().split_at(20);
    socket.0.send(part(Data::Text, false, first)).await.unwrap();
    socket.0.send(Message::Ping(Bytes::new())).await.unwrap();
    socket.0.send(part(Data::Continue, true, rest)).await.unwrap();
    loop {
        match socket.next().await {
            Some(Message::Pong(_)) => {}
            Some(Message::Text(text)) => break assert!(text.contains("list_notes"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    for _ in 0..3 {
        let _may_be_closed = socket.0.send(part(Data::Text, false, &[b' '; 900])).await;
        let _may_be_closed = socket.0.send(part(Data::Continue, true, &[b' '; 900])).await;
    }
    assert_eq!(socket.end().await.0, 1009);
}

#[tokio::test]
async fn strm_04_pings_without_end_end_the_connection() {
    let world = world().await;
    let mut socket = Socket::begun(&world, &world.token()).await;
    for _ in 0..200 {
        if socket.0.send(Message::Ping(Bytes::new())).await.is_err() {
            break;
        }
    }
    assert_eq!(socket.end().await.0, 1008);
}

#[tokio::test]
async fn pc_53_each_message_counts_against_the_limits() {
    let world = World::with(
        |settings| settings.limits.calls_per_minute.principal = NonZeroU32::new(8),
        |snapshot| {
            snapshot.servers[0].other_transports = [OtherTransport::Websocket].into();
        },
    )
    .await;
    crate::lines::serve_sessions(&world);
    let mut socket = Socket::begun(&world, &world.token()).await;
    let mut refused = 0;
    for id in 0..10 {
        socket.say(&call(id, "list_notes")).await;
        loop {
            let heard = socket.hear().await;
            if heard["id"] == id {
                refused += usize::from(heard["error"]["code"] == -31429);
                break;
            }
        }
    }
    assert_eq!(refused, 10 + 3 - 8, "the handshake and two messages came before");
}

#[tokio::test]
async fn shutdown_says_goodbye_to_a_websocket() {
    let world = world().await;
    let mut socket = Socket::begun(&world, &world.token()).await;
    let gateway = world.gateway.clone();
    let closing = tokio::spawn(async move { gateway.shutdown(Duration::from_secs(30)).await });
    assert_eq!(socket.end().await.0, 1001);
    drop(socket);
    closing.await.unwrap();
}

/// A world with other limits, whose `notes` takes WebSocket.
async fn limited(
    settings: impl FnOnce(&mut portcullis_gateway::Limits),
    server: impl FnOnce(&mut ServerLimits),
) -> World {
    let world = World::with(
        |told| settings(&mut told.limits),
        |snapshot| {
            snapshot.servers[0].other_transports = [OtherTransport::Websocket].into();
            server(&mut snapshot.servers[0].limits);
        },
    )
    .await;
    crate::lines::serve_sessions(&world);
    world
}

/// The beginning of a masked text frame, and `sent` of its `length` bytes.
fn begun(length: u64, sent: usize) -> Vec<u8> {
    let mut bytes = vec![0x81, 0x80 | 127];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.resize(bytes.len() + sent, b' ');
    bytes
}

#[tokio::test]
async fn rpc_15_a_server_takes_no_longer_messages_here_than_elsewhere() {
    let world = limited(|_| (), |limits| limits.body = NonZeroU32::new(1000)).await;
    let mut socket = Socket::begun(&world, &world.token()).await;
    let long = |length: usize| format!("{LIST}{}", " ".repeat(length - LIST.len()));
    socket.say(&long(1000)).await;
    assert_eq!(socket.hear().await["id"], 2);
    let count = world.upstream.count();
    socket.say(&long(1001)).await;
    assert_eq!(socket.end().await.0, 1009);
    assert!(world.upstream.newest(world.upstream.count() - count).iter().all(|seen| seen.method == "DELETE"));
}

#[tokio::test]
async fn http_12_a_message_that_does_not_become_whole_ends_the_connection() {
    let world = limited(|limits| limits.body_timeout = Duration::from_millis(300), |_| ()).await;
    for ping in [false, true] {
        let mut socket = Socket::begun(&world, &world.token()).await;
        socket.say(LIST).await;
        assert_eq!(socket.hear().await["id"], 2, "what is whole is served");
        if ping {
            let part = Frame::message(Bytes::from_static(b"{"), OpCode::Data(Data::Text), false);
            socket.0.send(Message::Frame(part)).await.unwrap();
            socket.0.send(Message::Ping(Bytes::new())).await.unwrap();
            assert!(socket.next().await.unwrap().is_pong());
        } else {
            socket.0.get_mut().write_all(&begun(500, 100)).await.unwrap();
        }
        assert_eq!(socket.end().await, (3008, "the message did not arrive in time".to_owned()));
        drop(socket);
        crate::lines::serve_sessions(&world);
    }
}

#[tokio::test]
async fn dos_05_messages_that_are_coming_take_room_as_bodies_do() {
    const KIB: u64 = 1024;
    let small = |limits: &mut portcullis_gateway::Limits| {
        limits.memory = 1024 * 1024;
        limits.body_bytes = 1024 * 1024;
        limits.answer_bytes = 1024 * 1024;
    };
    let world = limited(small, |_| ()).await;
    let mut one = Socket::begun(&world, &world.token()).await;
    one.0.get_mut().write_all(&begun(700 * KIB, 10)).await.unwrap();
    let taken = async {
        while world.gateway.figures().room_taken != 700 * KIB {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), taken).await.expect("it takes no room");
    let mut other = connect(served(&world).await, handshake(&world.token())).await.unwrap();
    other.0.get_mut().write_all(&begun(700 * KIB, 10)).await.unwrap();
    assert_eq!(other.end().await.0, 1013);
    drop((one, other));
    let given_back = async {
        while world.gateway.figures().room_taken != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), given_back).await.expect("the room was not given back");
}

#[tokio::test]
async fn pc_53_what_one_connection_has_under_way_is_bounded_and_said_to_be() {
    let world = limited(|_| (), |_| ()).await;
    let mut socket = Socket::begun(&world, &world.token()).await;
    world.upstream.answers(|_| {
        let waits = futures_util::stream::pending::<Result<String, std::convert::Infallible>>();
        let body = axum::body::Body::from_stream(waits);
        http::Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
    });
    for id in 100..165 {
        socket.say(&call(id, "list_notes")).await;
    }
    let refused = socket.hear().await;
    assert_eq!((&refused["id"], &refused["error"]["data"]["limit"]), (&json!(164), &json!("line_at_once")));
    assert_eq!(world.gateway.figures().servers["notes"].outcomes["too_many_on_line"], 1);
}
