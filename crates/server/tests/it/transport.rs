//! What holds for every request, whatever it asks for.

use crate::app::TestApp;
use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{Request, StatusCode};
use portcullis_server::listener::{BindError, Listener};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

fn with_host(path: &str, host: &str) -> Request<Body> {
    Request::get(path).header("host", host).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn as_http_02_disc_11_only_our_own_names_are_answered() {
    let test = TestApp::start().await;
    for ours in ["127.0.0.1:8080", "LOCALHOST:8080"] {
        assert_eq!(test.send(with_host("/nothing", ours)).await.status, StatusCode::NOT_FOUND, "{ours}");
    }
    for (other, status) in [
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1:8080.evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("evil@127.0.0.1:8080", StatusCode::MISDIRECTED_REQUEST),
        ("", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(test.send(with_host("/nothing", other)).await.status, status, "{other}");
    }
    let mut absolute = with_host("/x", "127.0.0.1:8080");
    *absolute.uri_mut() = "http://evil.example/nothing".parse().unwrap();
    assert_eq!(test.send(absolute).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_answer_is_careful() {
    let test = TestApp::start().await;
    for request in [with_host("/nothing", "127.0.0.1:8080"), with_host("/nothing", "evil.example")] {
        let answer = test.send(request).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
        assert_eq!(answer.header("strict-transport-security"), None, "not over plain http");
    }
}

/// A listener with one route, so that what is tested is the listener.
async fn listening() -> (std::net::SocketAddr, DropGuard) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let router = Router::new()
        .route("/", get(async || "served").post(async |body: String| body))
        .route("/unread", post(async || "not read"));
    tokio::spawn(listener.serve(router, 100, stop.clone(), Duration::from_secs(1)));
    (address, stop.drop_guard())
}

/// All answers until the server closes.
async fn raw(address: std::net::SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses early may close before it has read all.
    let _refused_early = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    let _reset = read.expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn http_04_length_and_encoding_together_are_refused_and_the_connection_ends() {
    let (address, _running) = listening().await;
    let good =
        raw(address, b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(good.starts_with("HTTP/1.1 200") && good.ends_with("ok"), "{good}");
    let chunked = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert!(raw(address, chunked).await.ends_with("ok"));
    let smuggled = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in [
        "Content-Length: 40\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: xchunked\r\nContent-Length: 2",
        "Transfer-Encoding: chunked, identity\r\nContent-Length: 2",
        "Transfer-Encoding: \tchunked\r\nContent-Length: 2",
        "Content-Length: 2\r\nContent-Length: 2",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: +2",
        "Content-Length: 2, 2",
        "Content-Length : 2",
        "X: a\r\n folded",
        "X: a\nY: b",
        "X: a\0b",
        "Host: b",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n2\r\nok\r\n0\r\n\r\n{smuggled}");
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head:?}: {answer}");
    }
    let no_host = raw(address, b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(no_host.starts_with("HTTP/1.1 400"), "{no_host}");
}

#[tokio::test]
async fn http_04_a_second_request_is_checked_like_the_first() {
    let (address, _running) = listening().await;
    let bad =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    // One after the other, as a client does.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut first = vec![0; 1024];
    let count = stream.read(&mut first).await.unwrap();
    assert!(first[..count].starts_with(b"HTTP/1.1 200"));
    stream.write_all(bad.as_bytes()).await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 400") && rest.matches("HTTP/1.1").count() == 1, "{rest}");
    // Both at once.
    let both = raw(address, format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{bad}{bad}").as_bytes()).await;
    assert_eq!(both.matches("HTTP/1.1").count(), 2, "{both}");
    assert!(both.contains("HTTP/1.1 400"), "{both}");
}

#[tokio::test]
async fn headers_over_the_limit_are_431() {
    let (address, _running) = listening().await;
    let fits =
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n", "a".repeat(30 * 1024));
    assert!(raw(address, fits.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let huge = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(33 * 1024));
    assert!(raw(address, huge.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(200));
    assert!(raw(address, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn http_08_nothing_is_upgraded() {
    let (address, _running) = listening().await;
    for upgrade in [
        "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings, close",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n\r\n");
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let (address, _running) = listening().await;
    let error = Listener::bind(address).await.unwrap_err();
    assert!(matches!(error, BindError::InUse(taken) if taken == address), "{error}");
    assert!(error.to_string().contains(&address.to_string()));
}

/// The next answer on a connection that stays.
async fn next(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"not read") && !answer.ends_with(b"served") {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "the connection ended after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..count]);
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_break_the_connection_in_silence() {
    let (address, _running) = listening().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    for _ in 0..3 {
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(b"later").await.unwrap();
        let answer = next(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("connection: close"), "{answer}");
    }
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(next(&mut stream).await.ends_with("served"));
    // Too much, or not sent before our word: the client is told that the connection ends.
    for rest in ["Content-Length: 10000000\r\n", "Content-Length: 5\r\nExpect: 100-continue\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("POST /unread HTTP/1.1\r\nHost: a\r\n{rest}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = next(&mut stream).await;
        assert!(answer.contains("connection: close"), "{answer}");
    }
}
