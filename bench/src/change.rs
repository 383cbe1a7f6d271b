//! One changed agent: from the moment that an operator sends the fleet file to the first call that is decided by it.

use crate::message::Connection;
use crate::stub;
use anyhow::{Context as _, Result, bail};
use http::Uri;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The socket of the admin API
    #[arg(long, value_name = "FILE")]
    socket: PathBuf,
    /// The fleet that is applied, under which the call is allowed
    #[arg(long, value_name = "FILE")]
    fleet: PathBuf,
    /// The fleet under which the call is refused
    #[arg(long, value_name = "FILE")]
    changed: PathBuf,
    /// What is called, with the tool `read_item`
    #[arg(long)]
    url: Uri,
    /// An access token in its first line
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Also be the upstream, at this address
    #[arg(long, value_name = "ADDRESS")]
    upstream: SocketAddr,
    #[arg(long, default_value_t = 10)]
    rounds: usize,
}

/// Milliseconds, the median of the rounds and the worst.
#[derive(Serialize)]
struct Found {
    /// From sending the unchanged file to the answer.
    unchanged: (f64, f64),
    /// From sending the changed file to the answer.
    answered: (f64, f64),
    /// From sending the changed file to the answer of the first call that is decided by it.
    decided: (f64, f64),
    calls: usize,
}

/// The newest call.
#[derive(Clone, Copy)]
struct Call {
    answered: Instant,
    allowed: bool,
    number: usize,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let listener = TcpListener::bind(arguments.upstream).await?;
    tokio::spawn(stub::serve_all(listener));
    let fleet = std::fs::read_to_string(&arguments.fleet)?;
    let changed = std::fs::read_to_string(&arguments.changed)?;
    let now = Instant::now();
    let (calls, mut newest) = watch::channel(Call { answered: now, allowed: true, number: 0 });
    let mut caller = tokio::spawn(call(request(&arguments)?, arguments.url.clone(), calls));
    tokio::select! {
        ended = &mut caller => ended??,
        found = rounds(&arguments, &mut newest, (&fleet, &changed)) => {
            caller.abort();
            println!("{}", serde_json::to_string(&found?)?);
        }
    }
    Ok(())
}

/// Applies the one and the other in turn.
async fn rounds(
    arguments: &Arguments,
    newest: &mut watch::Receiver<Call>,
    (fleet, changed): (&str, &str),
) -> Result<Found> {
    let (mut unchanged, mut answered, mut decided) = (Vec::new(), Vec::new(), Vec::new());
    newest.wait_for(|call| call.number > 0 && call.allowed).await.context("the caller ended")?;
    for round in 0..arguments.rounds * 2 {
        let allowed = !round.is_multiple_of(2);
        let text = if allowed { fleet } else { changed };
        let start = Instant::now();
        // The watch keeps the newest only, and the first that is decided anew stays until we ask if nobody calls on.
        let first = first_decided(newest.clone(), allowed);
        let (answer, first) = tokio::join!(apply(&arguments.socket, text), first);
        let (answer, first) = (answer?, first?);
        answered.push(answer - start);
        decided.push(first.answered - start);
        let start = Instant::now();
        unchanged.push(apply(&arguments.socket, text).await? - start);
    }
    let calls = newest.borrow().number;
    let [unchanged, answered, decided] = [unchanged, answered, decided].map(middle_and_worst);
    Ok(Found { unchanged, answered, decided, calls })
}

async fn first_decided(mut newest: watch::Receiver<Call>, allowed: bool) -> Result<Call> {
    let call = newest.wait_for(|call| call.allowed == allowed).await.context("the caller ended")?;
    Ok(*call)
}

/// So often it is called: finer than what is measured, and below the usual rates.
const EVERY: Duration = Duration::from_millis(2);

/// Calls over and over, one at a time.
async fn call(request: Vec<u8>, url: Uri, calls: watch::Sender<Call>) -> Result<()> {
    let address = url.authority().context("the URL names no host")?.to_string();
    let mut connection = Connection::new(TcpStream::connect(address).await?)?;
    let mut due = tokio::time::interval(EVERY);
    for number in 1.. {
        due.tick().await;
        connection.stream.write_all(&request).await?;
        let answer = connection.read().await?.context("no answer")?;
        let allowed = answer.head.starts_with(b"HTTP/1.1 200");
        if !allowed && !answer.head.starts_with(b"HTTP/1.1 403") {
            bail!("neither allowed nor refused: {}", String::from_utf8_lossy(answer.head));
        }
        calls.send_replace(Call { answered: Instant::now(), allowed, number });
    }
    Ok(())
}

fn request(arguments: &Arguments) -> Result<Vec<u8>> {
    let tokens = std::fs::read_to_string(&arguments.tokens).context("cannot read the token")?;
    let token = tokens.lines().next().context("no token")?;
    let host = arguments.url.authority().context("the URL names no host")?;
    let path = arguments.url.path();
    let body = r#"{"jsonrpc":"2.0","id":1000,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}},"name":"read_item","arguments":{}}}"#;
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: read_item\r\nUser-Agent: bench\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    Ok(text.into_bytes())
}

/// Sends a fleet file as `portcullis apply` does; when the answer was there.
async fn apply(socket: &Path, fleet: &str) -> Result<Instant> {
    let mut connection = Connection::over(UnixStream::connect(socket).await?);
    let length = fleet.len();
    let head = format!(
        "POST /api/v1/fleet/apply HTTP/1.1\r\nHost: admin\r\nContent-Type: application/toml\r\nContent-Length: {length}\r\n\r\n"
    );
    connection.stream.write_all(head.as_bytes()).await?;
    connection.stream.write_all(fleet.as_bytes()).await?;
    let answer = connection.read().await?.context("no answer")?;
    if !answer.head.starts_with(b"HTTP/1.1 200") {
        bail!("not applied: {}", String::from_utf8_lossy(answer.body));
    }
    Ok(Instant::now())
}

fn middle_and_worst(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    (at(times.len() / 2), at(times.len().saturating_sub(1)))
}
