//! The load: so many connections, each with one call under way, until so many calls are made.

use crate::message::Connection;
use crate::stub;
use anyhow::{Context as _, Result, bail};
use http::Uri;
use serde::Serialize;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is called
    #[arg(long)]
    url: Uri,
    /// What is sent
    #[arg(long, value_enum)]
    what: What,
    /// How often
    #[arg(long)]
    calls: usize,
    /// Over how many connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Access tokens, one a line; used in turn
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Also be the upstream, at this address. Then nobody sleeps: a subject that has to wake its peers would pay for that,
    /// and the faster subject less, because its peers are busy anyway
    #[arg(long, value_name = "ADDRESS")]
    upstream: Option<SocketAddr>,
    /// Calls per second, each begun at its time and measured from then, however long those before it take; without, each
    /// connection makes one after the other
    #[arg(long, value_name = "CALLS")]
    pace: Option<NonZeroU32>,
    /// Begin with this one
    #[arg(long, default_value_t = 0)]
    skip: usize,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// `tools/call` with a body of 20 KiB
    Big,
    /// `tools/call` with a body of 450 bytes
    Call,
    /// `tools/list`
    List,
}

impl What {
    fn method(self) -> &'static str {
        match self {
            Self::Big | Self::Call => "tools/call",
            Self::List => "tools/list",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Big | Self::Call => "Mcp-Name: read_item\r\n",
            Self::List => "",
        }
    }

    fn length(self) -> usize {
        match self {
            Self::Big => 20 * 1024,
            Self::Call => 450,
            Self::List => 0,
        }
    }
}

/// What one run found.
#[derive(Serialize)]
struct Found {
    calls: usize,
    seconds: f64,
    p50_us: u128,
    p99_us: u128,
}

struct Plan {
    address: String,
    path: String,
    what: What,
    tokens: Vec<String>,
    skip: usize,
    calls: usize,
    begun: AtomicUsize,
    start: Instant,
    interval: Duration,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let tokens = std::fs::read_to_string(&arguments.tokens).context("cannot read the tokens")?;
    let plan = Arc::new(Plan {
        address: arguments.url.authority().context("the URL names no host")?.to_string(),
        path: arguments.url.path().to_owned(),
        what: arguments.what,
        tokens: tokens.lines().map(str::to_owned).collect(),
        skip: arguments.skip,
        calls: arguments.calls,
        begun: AtomicUsize::new(0),
        start: Instant::now(),
        interval: arguments.pace.map_or(Duration::ZERO, |pace| Duration::from_secs(1) / pace.get()),
    });
    if let Some(listen) = arguments.upstream {
        let listener = TcpListener::bind(listen).await?;
        tokio::spawn(stub::serve_all(listener));
        tokio::spawn(stay_awake());
    }
    let mut connections = JoinSet::new();
    for number in 0..arguments.connections {
        connections.spawn(Arc::clone(&plan).connection(number));
    }
    let mut times = Vec::with_capacity(plan.calls);
    while let Some(done) = connections.join_next().await {
        times.extend(done??);
    }
    let seconds = plan.start.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).map_or(0, Duration::as_micros);
    let found = Found { calls: times.len(), seconds, p50_us: at(50), p99_us: at(99) };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

/// Asks for news over and over instead of waiting for it.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

impl Plan {
    async fn connection(self: Arc<Self>, number: usize) -> Result<Vec<Duration>> {
        let mut connection = Connection::new(TcpStream::connect(&self.address).await?)?;
        let body = body(self.what, number);
        let mut times = Vec::new();
        loop {
            let turn = self.begun.fetch_add(1, Ordering::Relaxed);
            if turn >= self.calls {
                return Ok(times);
            }
            let token = self.tokens.get((self.skip + turn) % self.tokens.len().max(1)).context("no token")?;
            let request = self.request(token, &body);
            let sent = self.time_of(turn).await;
            connection.stream.write_all(&request).await?;
            let answer = connection.read().await?.context("no answer")?;
            times.push(sent.elapsed());
            let beginning = &answer.body[..answer.body.len().min(256)];
            if !answer.head.starts_with(b"HTTP/1.1 200") || !contains(beginning, br#""result""#) {
                bail!(
                    "call {turn} was refused: {}{}",
                    String::from_utf8_lossy(answer.head),
                    String::from_utf8_lossy(beginning)
                );
            }
        }
    }

    /// When a call begins, once it is that time; now, if nobody waits for one.
    async fn time_of(&self, turn: usize) -> Instant {
        if self.interval.is_zero() {
            return Instant::now();
        }
        let due = self.start + self.interval * u32::try_from(turn).unwrap_or(u32::MAX);
        // Sleeps are as long as milliseconds.
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        due
    }

    fn request(&self, token: &str, body: &str) -> Vec<u8> {
        let Self { address, path, what, .. } = self;
        let (method, name, length) = (what.method(), what.name(), body.len());
        format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
             Mcp-Method: {method}\r\n{name}User-Agent: bench\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// What long bodies are made of: text, with the line ends that text has.
const LINE: &str = r#","The quick brown fox jumps over the lazy dog, and the dog does not mind at all.\nNobody knows why it should.""#;

/// Ids are distinct among calls under way, and have four digits for the stub.
fn body(what: What, number: usize) -> String {
    let id = 1000 + number;
    let method = what.method();
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;
    let envelope = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{meta}"#);
    if what.length() == 0 {
        return format!("{envelope}}}}}");
    }
    let call = format!(
        r#"{envelope},"name":"read_item","arguments":{{"folder":"inbox","limit":25,"unread":true,"fields":["#
    );
    let mut items = String::from("\"a\"");
    let item = if what.length() > 10_000 { LINE } else { ",\"words\"" };
    while call.len() + items.len() + item.len() < what.length() {
        items.push_str(item);
    }
    format!("{call}{items}]}}}}}}")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_about_the_stated_length() {
        for what in [What::Call, What::Big, What::List] {
            let body = body(what, 7);
            let message: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(message["id"], 1007);
            assert!(what.length() == 0 || body.len().abs_diff(what.length()) <= LINE.len(), "{}", body.len());
        }
    }
}
