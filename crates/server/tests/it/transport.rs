//! What holds for every request, whatever it asks for.

use crate::app::TestApp;
use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use portcullis_gateway::ClientAddress;
use portcullis_server::listener::forwarded::{ForwardedHeader, TrustedProxies};
use portcullis_server::listener::{Answers, BindError, Bounds, Listener};
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
        ("a b", StatusCode::BAD_REQUEST),
        ("evil.example/", StatusCode::BAD_REQUEST),
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
    let router = Router::new()
        .route("/", get(async || "served").post(async |body: String| body))
        .route("/unread", post(async || "not read"));
    listening_with(router, Bounds::of(100, Duration::from_secs(1))).await
}

async fn listening_with(answers: impl Answers, bounds: Bounds) -> (std::net::SocketAddr, DropGuard) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    tokio::spawn(listener.serve(answers, bounds, stop.clone()));
    (address, stop.drop_guard())
}

/// All answers until the server closes.
pub(crate) async fn raw(address: std::net::SocketAddr, request: &[u8]) -> String {
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
async fn http_04_a_body_that_looks_like_a_head_hides_nothing() {
    let (address, _running) = listening().await;
    // What is sent after our word, and then a request whose head would be looked for in it.
    let decoy = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bad =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let good = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let size = decoy.len();
    let bodies = [
        (format!("Content-Length: {size}"), decoy.to_owned()),
        ("Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{decoy}\r\n0\r\n\r\n")),
    ];
    // What is good and was sent ahead is served; what is not ends the connection.
    for ((framing, body), (ahead, served)) in
        bodies.iter().flat_map(|body| [(body, ("", 1)), (body, (good, 2))])
    {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut word = [0; 25];
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(format!("{body}{ahead}{bad}{good}").as_bytes()).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        let count = |status| rest.matches(status).count();
        assert_eq!((count("HTTP/1.1 200"), count("HTTP/1.1 400")), (served, 1), "{framing}: {rest}");
    }
}

#[tokio::test]
async fn http_11_headers_over_the_limit_are_431() {
    let (address, _running) = listening().await;
    let fits =
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n", "a".repeat(30 * 1024));
    assert!(raw(address, fits.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let huge = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(33 * 1024));
    assert!(raw(address, huge.as_bytes()).await.starts_with("HTTP/1.1 431"));
    for (count, status) in [(100, 200), (101, 431)] {
        let others = "X: a\r\n".repeat(count - 2);
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{others}\r\n");
        let answer = raw(address, many.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{count}: {answer}");
    }
}

/// Answers with an upgrade, and then says back what is said to it, until it is left.
async fn echo(mut request: Request<Body>) -> axum::response::Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
        tokio::io::copy(&mut read, &mut write).await
    });
    let response =
        http::Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
    response.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn http_08_what_is_answered_with_an_upgrade_keeps_its_place_until_it_ends() {
    let router = Router::new().route("/", get(async || "served")).route("/up", get(echo));
    let bounds = Bounds { of_one_address: 1, ..Bounds::of(10, Duration::from_secs(1)) };
    let (address, _running) = listening_with(router, bounds).await;
    let mut upgraded = TcpStream::connect(address).await.unwrap();
    let asking = b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    upgraded.write_all(asking).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(upgraded.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    // Neither a request nor bound by what requests are bound by.
    let said = [b"POST / HTTP/1.1\n\n".as_slice(), &vec![b'x'; 100_000]].concat();
    let (mut read, mut write) = upgraded.into_split();
    let saying = tokio::spawn(async move {
        write.write_all(&said).await.unwrap();
        (said, write)
    });
    let mut heard = vec![0; 100_017];
    read.read_exact(&mut heard).await.unwrap();
    let (said, write) = saying.await.unwrap();
    assert!(heard == said);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(address, request).await, "", "there is no second place");
    drop((read, write));
    let free = async { while raw(address, request).await.is_empty() {} };
    tokio::time::timeout(Duration::from_secs(10), free).await.expect("its place stays taken");
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

/// HTTP/2, with a peer that answers every PING. What comes second ends with the connection.
async fn http2(
    address: std::net::SocketAddr,
    window: u32,
) -> (hyper::client::conn::http2::SendRequest<Body>, tokio::task::JoinHandle<()>) {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(stream)
        .await
        .unwrap();
    let ended = tokio::spawn(async move {
        let _ended = connection.await;
    });
    (sender, ended)
}

/// Ends because the server ends it: nobody else does.
async fn is_ended(connection: tokio::task::JoinHandle<()>) {
    let ended = tokio::time::timeout(Duration::from_secs(20), connection).await;
    ended.expect("the server ends the connection").unwrap();
}

#[tokio::test]
async fn an_answer_to_head_has_a_length_and_no_body_over_http2_either() {
    let test = TestApp::start().await;
    let (address, _running) =
        listening_with(test.front.clone(), Bounds::of(100, Duration::from_secs(1))).await;
    let (mut asking, _open) = http2(address, 65_535).await;
    for (url, status) in [
        ("http://127.0.0.1:8080/.well-known/oauth-protected-resource/mcp/notes", StatusCode::OK),
        ("http://127.0.0.1:8080/mcp/notes", StatusCode::METHOD_NOT_ALLOWED),
        ("http://127.0.0.1:8080/nothing", StatusCode::NOT_FOUND),
        ("http://evil.example/mcp/notes", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let request = Request::head(url).body(Body::empty()).unwrap();
        let answer = asking.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status, "{url}");
        assert_ne!(answer.headers()["content-length"], "0", "{url}");
        assert!(answer.collect().await.unwrap().to_bytes().is_empty(), "{url}");
    }
}

fn ask(path: &str) -> Request<Body> {
    Request::get(format!("http://a{path}")).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn dos_07_an_http2_connection_without_requests_ends_and_one_with_a_quiet_stream_stays() {
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    let told = release.clone();
    let quiet = async move || {
        Body::from_stream(futures_util::stream::once(async move {
            told.notified().await;
            Ok::<_, std::convert::Infallible>("at last")
        }))
    };
    let router = Router::new()
        .route("/", get(async || "served"))
        .route("/long", get(async || vec![b'x'; 1_000_000]))
        .route("/quiet", get(quiet));
    let idle = Duration::from_millis(100);
    let (address, _running) =
        listening_with(router, Bounds { idle, ..Bounds::of(100, Duration::from_secs(1)) }).await;
    let (mut patient, _open) = http2(address, 65_535).await;
    let stream = patient.send_request(ask("/quiet")).await.unwrap();
    // In the meantime several others come, are served, stay, and are ended, one after the other.
    for _ in 0..4 {
        let (mut asking, ended) = http2(address, 65_535).await;
        assert_eq!(asking.send_request(ask("/")).await.unwrap().status(), StatusCode::OK);
        is_ended(ended).await;
    }
    // Who asks for a lot and takes none of it has no claim either.
    let (mut hoarding, ended) = http2(address, 1).await;
    let untaken = hoarding.send_request(ask("/long")).await.unwrap();
    is_ended(ended).await;
    drop(untaken);
    release.notify_one();
    let body = http_body_util::BodyExt::collect(stream.into_body()).await.unwrap();
    assert_eq!(body.to_bytes(), "at last");
}

#[tokio::test]
async fn dos_07_one_address_cannot_take_every_connection() {
    let router = Router::new().route("/", get(async || "served"));
    let (address, _running) = listening_with(router, Bounds::of(12, Duration::from_secs(1))).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(next(&mut stream).await.ends_with("served"));
        held.push(stream);
    }
    let good = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(address, good).await, "", "a quarter, and no more");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(address).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(next(&mut other).await.ends_with("served"), "others are served");
}

/// Says whose request it is, through a listener that believes these proxies.
async fn whose(proxies: &[&str], bounds: Bounds) -> (std::net::SocketAddr, DropGuard) {
    let networks = proxies.iter().map(|text| TrustedProxies::network(text).unwrap()).collect();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let listener = listener.behind(TrustedProxies::new(networks, ForwardedHeader::XForwardedFor));
    let address = listener.address();
    let stop = CancellationToken::new();
    let say = async |request: Request<Body>| {
        format!("{} served", request.extensions().get::<ClientAddress>().unwrap().0)
    };
    let router = Router::new().route("/", get(say));
    tokio::spawn(listener.serve(router, bounds, stop.clone()));
    (address, stop.drop_guard())
}

#[tokio::test]
async fn hdr_06_a_client_s_address_is_a_trusted_proxy_s_word_or_the_peer_s() {
    let bounds = Bounds::of(100, Duration::from_secs(1));
    let ask = async |address, more: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n");
        raw(address, request.as_bytes()).await
    };
    let (behind, _running) = whose(&["127.0.0.1", "10.0.0.0/8"], bounds).await;
    for (more, client) in [
        ("X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9"),
        ("X-Forwarded-For: 127.0.0.1, 203.0.113.9, 10.1.1.1\r\n", "203.0.113.9"),
        ("X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9"),
        ("Forwarded: for=198.51.100.1\r\nX-Real-IP: 198.51.100.1\r\n", "127.0.0.1"),
        ("", "127.0.0.1"),
    ] {
        let answer = ask(behind, more).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("\r\n\r\n{client} served")),
            "{more}: {answer}"
        );
    }
    let unclear = ask(behind, "X-Forwarded-For: 203.0.113.9, unknown\r\n").await;
    assert!(unclear.starts_with("HTTP/1.1 400"), "{unclear}");

    let (alone, _running) = whose(&["10.0.0.0/8"], bounds).await;
    for more in
        ["X-Forwarded-For: 203.0.113.9\r\n", "X-Forwarded-For: unknown\r\n", "Forwarded: for=10.0.0.1\r\n"]
    {
        let answer = ask(alone, more).await;
        assert!(answer.ends_with("\r\n\r\n127.0.0.1 served"), "{more}: {answer}");
    }
}

#[tokio::test]
async fn dos_07_a_trusted_proxy_has_more_connections_but_not_all() {
    let (address, _running) = whose(&["127.0.0.1"], Bounds::of(16, Duration::from_secs(1))).await;
    let mut held = Vec::new();
    for _ in 0..14 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(next(&mut stream).await.ends_with("127.0.0.1 served"));
        held.push(stream);
    }
    assert_eq!(
        raw(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await,
        "",
        "seven eighths"
    );
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(address).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(next(&mut other).await.ends_with("127.0.0.2 served"), "others are served");
}
