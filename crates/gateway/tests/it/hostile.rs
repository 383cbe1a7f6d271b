//! Upstreams that mean harm, byte by byte: each costs its caller one clear JSON-RPC error within the time, and leaves nothing
//! behind.

use crate::world::{Answered, World, tool};
use portcullis_domain::registry::{Placement, Upstream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Talk = Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>;
type Script = fn(TcpStream) -> Talk;

/// What is left of a time-out when everything else takes no time.
const SOON: Duration = Duration::from_millis(300);

/// A server that talks to each connection as it is told; counts whole requests.
struct Raw {
    address: std::net::SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Raw {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    if read_request(&mut stream).await {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let _it_may_have_left = script(stream).await;
                    }
                });
            }
        });
        Self { address, requests }
    }

    async fn world(&self) -> World {
        let address = self.address;
        World::with(
            |settings| {
                settings.limits.upstream_timeout = SOON;
                settings.limits.upstream_idle = SOON;
            },
            move |snapshot| {
                if let Placement::Gateway { upstream, .. } = &mut snapshot.servers[0].placement {
                    *upstream = Upstream::Url(format!("http://{address}/mcp"));
                }
            },
        )
        .await
    }
}

/// Whether a whole request came.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    let mut some = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                return true;
            }
        }
        match stream.read(&mut some).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => read.extend_from_slice(&some[..count]),
        }
    }
}

/// Says this, and closes.
macro_rules! says {
    ($text:expr) => {
        |mut stream| Box::pin(async move { stream.write_all($text.as_bytes()).await })
    };
}

/// Says this, and then nothing for as long as anybody listens.
macro_rules! says_and_hangs {
    ($text:expr) => {
        |mut stream| {
            Box::pin(async move {
                stream.write_all($text.as_bytes()).await?;
                let mut rest = [0; 64];
                while stream.read(&mut rest).await? > 0 {}
                Ok(())
            })
        }
    };
}

/// Says this first, and then that again and again.
macro_rules! says_for_ever {
    ($first:expr, $again:expr) => {
        |mut stream| {
            Box::pin(async move {
                stream.write_all($first.as_bytes()).await?;
                loop {
                    stream.write_all($again.as_bytes()).await?;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        }
    };
}

/// One call; whatever comes, it is a JSON-RPC error of ours, in time, with nothing of the upstream in it.
async fn called(what: &str, world: &World) -> Answered {
    let began = tokio::time::Instant::now();
    let answered = world.send(tool(&world.token(), "list_notes")).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{what}: {:?}", began.elapsed());
    let everything = format!("{:?} {}", answered.headers, answered.text());
    assert!(!everything.contains("inside"), "{what}: {everything}");
    let mut names: Vec<&str> = answered.headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| {
        !["cache-control", "content-length", "content-type", "x-accel-buffering"].contains(name)
    });
    assert_eq!(names, Vec::<&str>::new(), "{what}");
    answered
}

/// Waits until nothing of the calls is left: no task, no slot, no stream.
async fn nothing_is_left(what: &str, world: &World, tasks_before: usize) {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    // A pool of connections has one task of its own from its first idle connection on.
    let tasks_before = tasks_before + 1;
    let gone = async {
        loop {
            let figures = world.gateway.figures();
            if alive() <= tasks_before && (figures.calls, figures.streams) == (0, 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), gone).await;
    assert!(waited.is_ok(), "{what}: {} tasks are left of {tasks_before}", alive());
}

#[tokio::test]
async fn ups_03_whatever_an_upstream_does_is_one_clear_error_in_time_and_leaves_nothing() {
    let cases: Vec<(&str, u16, Script)> = vec![
        ("closes", 502, says!("")),
        ("hangs", 504, says_and_hangs!("")),
        ("hangs within the headers", 504, says_and_hangs!("HTTP/1.1 200 OK\r\nx-inside: 1\r\n")),
        (
            "hangs after the headers",
            504,
            says_and_hangs!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
            ),
        ),
        ("trickles headers", 504, says_for_ever!("HTTP/1.1 200 OK\r\n", "x-inside: 1\r\n")),
        (
            "trickles JSON",
            504,
            says_for_ever!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{\"inside\":\"",
                "x"
            ),
        ),
        ("garbage", 502, says!("inside\u{0}\u{1}\r\n\r\ninside")),
        ("another protocol", 502, says!("SSH-2.0-inside\r\n")),
        ("HTTP/0.9", 502, says!("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"inside\":1}}")),
        ("no such version", 502, says!("HTTP/7.7 200 OK\r\ncontent-length: 6\r\n\r\ninside")),
        (
            "closes within JSON",
            502,
            says!(
                "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"inside"
            ),
        ),
        (
            "broken chunks",
            502,
            says!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\ninside\r\n0\r\n\r\n"),
        ),
        (
            "two lengths",
            502,
            says!("HTTP/1.1 200 OK\r\ncontent-length: 6\r\ncontent-length: 7\r\n\r\ninside"),
        ),
        (
            "a NUL in a header",
            502,
            says!("HTTP/1.1 200 OK\r\nx-a: in\u{0}side\r\ncontent-length: 6\r\n\r\ninside"),
        ),
        (
            "a session id that is a header",
            502,
            says!(
                "HTTP/1.1 200 OK\r\nmcp-session-id: a\rset-cookie: inside=1\r\ncontent-length: 2\r\n\r\n{}"
            ),
        ),
        ("interim answers for ever", 504, says_for_ever!("", "HTTP/1.1 100 Continue\r\n\r\n")),
        ("hints for ever", 504, says_for_ever!("", "HTTP/1.1 103 Early Hints\r\nlink: inside\r\n\r\n")),
        ("switches protocols", 502, says!("HTTP/1.1 101 Switching Protocols\r\nupgrade: inside\r\n\r\n")),
        (
            "compressed",
            502,
            says!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\ninside"),
        ),
        (
            "its own challenge and cookie",
            502,
            says!(
                "HTTP/1.1 401 No\r\nwww-authenticate: Bearer inside\r\nset-cookie: inside=1\r\ncontent-length: 0\r\n\r\n"
            ),
        ),
        (
            "redirects",
            502,
            says!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/inside\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "a very long header",
            502,
            says!(format!("HTTP/1.1 200 OK\r\nx-inside: {}\r\n\r\n", "x".repeat(1 << 20))),
        ),
        (
            "very many headers",
            502,
            says!(format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-inside: 1\r\n".repeat(1000))),
        ),
    ];
    for (what, status, script) in cases {
        let upstream = Raw::start(script).await;
        let world = upstream.world().await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for asked in 1..=3 {
            let answered = called(what, &world).await;
            assert_eq!(answered.status.as_u16(), status, "{what}: {}", answered.text());
            assert_eq!(answered.code(), if status == 504 { -31504 } else { -31502 }, "{what}");
            assert_eq!(answered.json()["id"], 1, "{what}");
            assert!(answered.text().contains("server notes"), "{what}");
            assert_eq!(upstream.requests.load(Ordering::SeqCst), asked, "{what}: UPS-10, it was asked once");
        }
        nothing_is_left(what, &world, tasks).await;
    }
}

#[tokio::test]
async fn ups_03_a_stream_that_breaks_or_falls_silent_ends_with_an_error_to_its_request() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    const EVENT: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n";
    let cases: Vec<(&str, Script)> = vec![
        ("closes at once", says!(HEAD)),
        ("closes before the answer", says!(format!("{HEAD}{EVENT}"))),
        ("closes within an event", says!(format!("{HEAD}{EVENT}data: {{\"inside"))),
        ("falls silent", says_and_hangs!(format!("{HEAD}{EVENT}"))),
        ("falls silent within an event", says_and_hangs!(format!("{HEAD}{EVENT}data: inside"))),
    ];
    for (what, script) in cases {
        let upstream = Raw::start(script).await;
        let world = upstream.world().await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for _ in 0..3 {
            let answered = called(what, &world).await;
            assert_eq!(answered.status, 200, "{what}");
            let text = answered.text();
            let last = text.trim_end().rsplit("data: ").next().unwrap();
            let last: serde_json::Value = serde_json::from_str(last).unwrap_or_default();
            assert_eq!(
                (&last["id"], &last["error"]["code"]),
                (&1.into(), &(-31502).into()),
                "{what}: {text}"
            );
        }
        nothing_is_left(what, &world, tasks).await;
    }
}

#[tokio::test]
async fn ups_03_an_answer_to_a_question_that_nobody_asked_yet_is_nobodys() {
    const GOOD: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}";
    const POISON: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"inside\":1}}";
    let upstream = Raw::start(says_and_hangs!(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{GOOD}HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{POISON}",
        GOOD.len(),
        POISON.len()
    )))
    .await;
    let world = upstream.world().await;
    for _ in 0..5 {
        assert_eq!(called("poison", &world).await.text(), GOOD);
    }
}

#[tokio::test]
async fn ups_10_a_kept_connection_that_closes_costs_no_call_and_doubles_none() {
    const GOOD: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}";
    // It promises to stay, and closes.
    let closing =
        Raw::start(says!(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{GOOD}", GOOD.len()))).await;
    let world = closing.world().await;
    for number in 1..=50 {
        assert_eq!(called("closing", &world).await.text(), GOOD);
        assert_eq!(closing.requests.load(Ordering::SeqCst), number);
    }
    // It takes a second call on the same connection, and closes: that one may have been done.
    let taking: Script = |mut stream| {
        Box::pin(async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{GOOD}", GOOD.len());
            stream.write_all(head.as_bytes()).await?;
            read_request(&mut stream).await;
            Ok(())
        })
    };
    let taking = Raw::start(taking).await;
    let world = taking.world().await;
    assert_eq!(called("first", &world).await.text(), GOOD);
    let answered = called("second", &world).await;
    assert_eq!((answered.status.as_u16(), answered.code()), (502, -31502));
    assert_eq!(
        taking.requests.load(Ordering::SeqCst),
        1,
        "it came on the connection that was there, and not again"
    );
}
