//! Peers that mean harm, at a real listener: half-open, trickling, never reading, resetting, flooding.

use crate::app::TestApp;
use crate::transport::raw;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use portcullis_server::listener::{Answers, Bounds, Listener};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Long enough for whoever is slow; nothing is decided by it.
const PATIENCE: Duration = Duration::from_mins(1);

async fn listening(answers: impl Answers, idle: Duration) -> (SocketAddr, DropGuard) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let bounds = Bounds { idle, ..Bounds::of(4000, Duration::from_secs(1)) };
    tokio::spawn(listener.serve(answers, bounds, stop.clone()));
    (address, stop.drop_guard())
}

/// An answer without end, which counts what is taken of it and says when nobody wants it any more.
struct Endless {
    taken: Arc<AtomicU64>,
    _left: mpsc::Sender<Infallible>,
}

/// Serves `/`, and at `/endless` the answer, once; what comes second ends when the answer is left, what comes third counts.
fn endless() -> (Router, mpsc::Receiver<Infallible>, Arc<AtomicU64>) {
    let (left, is_left) = mpsc::channel(1);
    let taken = Arc::new(AtomicU64::new(0));
    let (left, counted) = (Arc::new(Mutex::new(Some(left))), Arc::clone(&taken));
    let chunk = Bytes::from(vec![b'x'; 16 * 1024]);
    let answer = move || {
        let left = left.lock().unwrap().take().unwrap();
        let (endless, chunk) = (Endless { taken: Arc::clone(&counted), _left: left }, chunk.clone());
        let chunks = futures_util::stream::unfold(endless, move |endless| {
            endless.taken.fetch_add(chunk.len() as u64, Ordering::SeqCst);
            std::future::ready(Some((Ok::<_, Infallible>(chunk.clone()), endless)))
        });
        std::future::ready(Body::from_stream(chunks))
    };
    let router = Router::new().route("/", get(async || "served")).route("/endless", get(answer));
    (router, is_left, taken)
}

async fn is_left(mut left: mpsc::Receiver<Infallible>) {
    let nothing = tokio::time::timeout(PATIENCE, left.recv()).await.expect("the answer is given up");
    assert!(nothing.is_none());
}

#[tokio::test]
async fn http_09_half_open_connections_keep_nobody_else_out() {
    let (address, _running) =
        listening(Router::new().route("/", get(async || "served")), Duration::from_secs(15)).await;
    let mut half_open = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Half").await.unwrap();
        half_open.push(stream);
    }
    for _ in 0..20 {
        assert!(raw(address, GET).await.ends_with("served"));
    }
}

#[tokio::test]
async fn http_10_headers_that_trickle_are_cut() {
    let router = Router::new().route("/", get(async || "served"));
    let (address, _running) = listening(router, Duration::from_millis(200)).await;
    assert!(raw(address, GET).await.ends_with("served"));
    for begun in [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost: a\r\n", b"PRI * HTTP/2.0\r\n\r\nSM"] {
        let answer = raw(address, begun).await;
        assert!(!answer.contains("200"), "{answer}");
    }
}

#[tokio::test]
async fn http_11_three_thousand_headers_and_one_of_a_megabyte() {
    let (address, _running) =
        listening(Router::new().route("/", get(async || "served")), Duration::from_secs(15)).await;
    let many = (0..3000).map(|at| format!("X-{at}: a\r\n")).collect::<Vec<_>>().concat();
    let long = format!("X: {}\r\n", "a".repeat(1024 * 1024));
    for headers in [many, long] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let answer = raw(address, request.as_bytes()).await;
        // Whoever is still sending may lose the answer with the connection; served they are not.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn http_12_strm_08_an_answer_that_nobody_reads_stays_small_and_is_given_up() {
    let (router, left, taken) = endless();
    let (address, _running) = listening(router, Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    is_left(left).await;
    // What the kernels of both sides buffer, and little more.
    let taken = taken.load(Ordering::SeqCst);
    assert!(taken < 32 * 1024 * 1024, "{taken} bytes were taken from the answer");
    assert!(raw(address, GET).await.ends_with("served"));
}

#[tokio::test]
async fn strm_08_over_http_2_one_answer_that_nobody_reads_ends_alone() {
    let (router, left, taken) = endless();
    let (address, _running) = listening(router, Duration::from_millis(300)).await;
    let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let ask = |path: &str| http::Request::get(format!("http://a{path}")).body(Body::empty()).unwrap();
    let mut unread = sender.send_request(ask("/endless")).await.unwrap();
    let mut left = Box::pin(is_left(left));
    // Others on the connection are served meanwhile, and keep it.
    loop {
        let answer = sender.send_request(ask("/")).await.unwrap();
        assert_eq!(answer.status(), 200);
        tokio::select! {
            biased;
            () = &mut left => break,
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(sender.send_request(ask("/")).await.unwrap().status(), 200);
    let taken = taken.load(Ordering::SeqCst);
    // What the client said that it would take, and little more.
    assert!(taken < 4 * 1024 * 1024, "{taken} bytes were taken from the answer");
    // After its error a body says the same for ever.
    while let Some(frame) = http_body_util::BodyExt::frame(unread.body_mut()).await {
        if frame.is_err() {
            return;
        }
    }
    panic!("it was ended, not reset");
}

/// Frames of HTTP/2, by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET /` of `a`, as HPACK.
const REQUEST: &[u8] = &[0x82, 0x84, 0x86, 0x41, 0x01, b'a'];

fn begun() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// Every frame that comes until the connection ends, or what is looked for is there: its kind, and the code that it ends with.
async fn frames(address: SocketAddr, sent: Vec<u8>, wanted: (u8, u32)) -> Vec<(u8, u32)> {
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let sending = tokio::spawn(async move {
        // The server may end it before everything is sent.
        let _ended = write.write_all(&sent).await;
        write
    });
    let (mut answer, mut found) = (Vec::new(), Vec::new());
    while !found.contains(&wanted) {
        let more = tokio::time::timeout(PATIENCE, read.read_buf(&mut answer)).await;
        if !matches!(more.expect("the server does something"), Ok(1..)) {
            break;
        }
        found = read_frames(&answer);
    }
    drop(read);
    sending.abort();
    found
}

fn read_frames(mut answer: &[u8]) -> Vec<(u8, u32)> {
    let mut found = Vec::new();
    while answer.len() >= 9 {
        let length = u32::from_be_bytes([0, answer[0], answer[1], answer[2]]) as usize;
        let Some(payload) = answer.get(9..9 + length) else { break };
        let code = if answer[3] == GO_AWAY { payload.get(4..8) } else { payload.get(..4) };
        found.push((answer[3], code.map_or(0, |code| u32::from_be_bytes(code.try_into().unwrap()))));
        answer = &answer[9 + length..];
    }
    found
}

/// RFC 9113 s7.
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn http_13_rapid_reset_ends_the_connection() {
    let router = Router::new().route("/", get(async || "served"));
    let (address, _running) = listening(router, Duration::from_millis(500)).await;
    let mut flood = begun();
    for number in 0..10_000_u32 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, REQUEST));
        flood.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    let found = frames(address, flood, (GO_AWAY, ENHANCE_YOUR_CALM)).await;
    assert!(found.contains(&(GO_AWAY, ENHANCE_YOUR_CALM)), "{found:?}");
}

#[tokio::test]
async fn http_13_headers_that_never_end_end_the_connection() {
    let router = Router::new().route("/", get(async || "served"));
    let (address, _running) = listening(router, Duration::from_secs(15)).await;
    let mut flood = begun();
    flood.extend(frame(HEADERS, END_STREAM, 1, REQUEST));
    // A literal header that is not indexed, over and over.
    let header: Vec<u8> = [&[0x00, 0x01, b'x', 0x7f, 0x81, 0x01][..], &[b'a'; 256]].concat();
    let some = header.repeat(60);
    for _ in 0..1000 {
        flood.extend(frame(CONTINUATION, 0, 1, &some));
    }
    let found = frames(address, flood, (GO_AWAY, ENHANCE_YOUR_CALM)).await;
    assert!(found.iter().any(|(kind, _)| *kind == GO_AWAY), "{found:?}");
}

#[tokio::test]
async fn http_13_requests_beyond_the_bound_of_a_connection_are_refused() {
    let waits = async || {
        std::future::pending::<()>().await;
        "never"
    };
    let (address, _running) = listening(Router::new().route("/", get(waits)), Duration::from_secs(15)).await;
    let mut flood = begun();
    for number in 0..2000_u32 {
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, REQUEST));
    }
    let found = frames(address, flood, (GO_AWAY, ENHANCE_YOUR_CALM)).await;
    let is_refused = |frame: &(u8, u32)| *frame == (RESET, REFUSED_STREAM) || frame.0 == GO_AWAY;
    assert!(found.iter().any(is_refused), "{found:?}");
}

/// A whole server at a real listener.
async fn real() -> (TestApp, SocketAddr, DropGuard) {
    let test = TestApp::start().await;
    let (address, running) = listening(test.front.clone(), Duration::from_secs(15)).await;
    (test, address, running)
}

/// A call of `notes` over HTTP/1.1; its upstream is not there.
fn call(token: &str, more: &str) -> String {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    format!(
        "POST /mcp/notes HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n{more}\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn token(test: &TestApp) -> String {
    let agent = test.credentials("ci-bot");
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", &agent.client_id),
        ("client_secret", &agent.client_secret),
        ("resource", "http://127.0.0.1:8080/mcp/notes"),
    ];
    let answer = test.post("/oauth/token", &fields).await;
    let token: serde_json::Value = answer.json();
    token["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn http_16_a_refused_request_is_answered_before_its_body_is_asked_for() {
    let (_test, address, _running) = real().await;
    let head = call("nonsense", "Expect: 100-continue\r\n");
    let head = &head[..head.find("\r\n\r\n").unwrap() + 4];
    let answer = raw(address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn http_17_each_request_of_a_connection_is_judged_by_its_own_token() {
    let (test, address, _running) = real().await;
    let good = token(&test).await;
    // All at once, and the same with each after the answer before.
    let all =
        [call(&good, ""), call("nonsense", ""), call(&good, ""), call("other", "Connection: close\r\n")];
    let answers = raw(address, all.concat().as_bytes()).await;
    let statuses = |answers: &str| -> Vec<String> {
        answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect()
    };
    assert_eq!(statuses(&answers), ["502", "401", "502", "401"], "{answers}");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut found = Vec::new();
    for one in &all {
        stream.write_all(one.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&bytes[..count]);
        }
        found.extend(statuses(&String::from_utf8(answer).unwrap()));
    }
    assert_eq!(found, ["502", "401", "502", "401"]);
}

/// Whether an answer with a stated length is there.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    body.len() >= length.parse().unwrap()
}
